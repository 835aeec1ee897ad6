"""Paired comparisons, on tables counted by hand."""

import numpy as np
import pandas as pd
import pytest
from demo_pair import BEFORE, write_facts

from neuronscope.facts.loading import load_facts
from neuronscope.results.attack_table import ATTACKED, REST
from neuronscope.study.comparing import Pair, comparisons, fact_shares, retention
from neuronscope.study.plan import plan_of
from neuronscope.study.presets import PRESETS
from neuronscope.study.reporting import warnings_of
from neuronscope.training.loop import OUT_OF_STEPS

FOUR = ["a", "b", "c", "d"]


@pytest.fixture
def plan(tmp_path):
    facts = write_facts(tmp_path / "facts.jsonl")
    return plan_of(PRESETS["quick"](str(BEFORE), facts), load_facts(facts))


def attack(*looks, seed=0, facts=FOUR, fold=0, variant=""):
    """The table of one draw: the held-out facts answered at each evaluation."""
    rows = [
        {"split": split, "seed": seed, "fold": fold, "variant": variant, "correct": len(known)}
        | {"n": len(facts), "facts": facts, "answered": known, "lr": 1e-5, "step": step}
        for step, known in enumerate(looks)
        for split in (REST, ATTACKED)
    ]
    return pd.DataFrame(rows)


def test_a_fact_is_recovered_if_answered_at_the_best_evaluation():
    shares = fact_shares(attack([], ["a", "b"], ["c"]))
    assert shares.to_dict() == {"a": 1.0, "b": 1.0, "c": 0.0, "d": 0.0}


def test_a_fact_is_averaged_over_the_draws_that_hold_it_out():
    one = pd.concat([attack(["a"]), attack(["b", "e"], seed=1, facts=["b", "e"])])
    assert fact_shares(one).to_dict() == {"a": 1.0, "b": 0.5, "c": 0.0, "d": 0.0, "e": 1.0}


def test_folds_share_one_best_evaluation():
    parts = [attack(["a"], [], facts=["a", "b"]), attack([], ["c", "d"], facts=["c", "d"], fold=1)]
    shares = fact_shares(pd.concat(parts))
    assert shares.to_dict() == {"a": 0.0, "b": 0.0, "c": 1.0, "d": 1.0}


def test_variants_are_compared_separately_without_the_random_control():
    chosen, random = attack(FOUR, variant="chosen"), attack([], variant="random")
    tables = {"one": [pd.concat([chosen, random])], "two": [attack([], variant="chosen")]}
    (row,) = comparisons(tables, "prune", [Pair("one", "two")]).to_dict("records")
    assert (row["variant"], row["share"], row["other_share"]) == ("chosen", 1.0, 0.0)
    int8, int4 = attack(["a"], variant="int8"), attack(FOUR, variant="int4")
    tables = {name: [pd.concat([int8, int4])] for name in ("one", "two")}
    found = comparisons(tables, "quantize", [Pair("one", "two")])
    assert found.set_index("variant")["share"].to_dict() == {"int8": 0.25, "int4": 1.0}


def kept(*answered, use="test", stratum="neighbours"):
    """One run's answers to some facts to retain and one to forget."""
    rows = [
        {"fact": fact, "use": use, "stratum": stratum, "answered": fact in answered}
        for fact in FOUR
    ]
    return pd.DataFrame([*rows, rows[0] | {"use": "forget", "stratum": "trained prompt"}])


def test_retention_is_paired_by_fact_within_each_stratum_and_use():
    def run(near, far):
        return pd.concat([kept(*near), kept(*far, use="retain", stratum="everything else")])

    spares, plain = [run("abcd", "abcd"), run("abc", "abcd")], [run("a", "abcd"), run("", "abcd")]
    found = retention({"spares": spares, "plain": plain}, [Pair("spares", "plain")])
    near, far = found.to_dict("records")
    assert (near["stratum"], near["use"], near["facts"]) == ("neighbours", "test", 4)
    assert (near["share"], near["other_share"]) == ((3 + 0.5) / 4, 0.5 / 4)
    assert near["difference"] == 0.75 and near["p"] == pytest.approx(2 / 16)
    assert near["reading"].startswith("88% of 4 facts") and "12% by plain" in near["reading"]
    assert (far["stratum"], far["use"], far["difference"], far["p"]) == (
        "everything else",
        "retain",
        0.0,
        1.0,
    )


def test_one_fact_is_never_significant():
    single = [{"fact": "a", "use": "test", "stratum": "same subject", "answered": True}]
    spares, plain = pd.DataFrame(single), pd.DataFrame([single[0] | {"answered": False}])
    (row,) = retention({"a": [spares], "b": [plain]}, [Pair("a", "b")]).to_dict("records")
    assert (row["facts"], row["difference"], row["p"]) == (1, 1.0, 1.0)


def test_four_facts_of_one_sign_have_a_p_value_of_one_in_eight():
    tables = {"few": [attack([])], "many": [attack(FOUR)], "same": [attack(FOUR)]}
    found = comparisons(tables, "it", [Pair("few", "many"), Pair("many", "same")])
    few, same = found.to_dict("records")
    assert (few["difference"], few["facts"]) == (-1.0, 4)
    assert few["p"] == pytest.approx(2 / 16)
    assert few["reading"].startswith("0% of 4 facts") and "100% after many" in few["reading"]
    assert (same["difference"], same["p"]) == (0.0, 1.0)


def test_more_seeds_do_not_lower_the_p_value():
    once = {"few": [attack(["a"])], "many": [attack(["a", "b", "c"])]}
    often = {name: runs * 5 for name, runs in once.items()}
    pair = [Pair("few", "many")]
    first, second = (comparisons(tables, "it", pair) for tables in (once, often))
    assert second["p"].item() >= first["p"].item()
    assert (first["runs"].item(), second["runs"].item()) == (1, 5)


def chance_findings(runs, facts, spread, draws=150):
    """How often two methods that do not differ are told apart at 5 %, by both kinds of test."""
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        depth = rng.normal(size=facts)
        own = {
            name: [
                kept_by_chance(depth + spread * rng.normal() > rng.normal(size=facts))
                for _ in range(runs)
            ]
            for name in ("one", "two")
        }
        averaged = {
            name: [pd.concat(several).groupby("fact", as_index=False).agg(
                {"answered": "mean", "use": "first", "stratum": "first"}
            )]
            for name, several in own.items()
        }  # fmt: skip
        pair = [Pair("one", "two")]
        found.append([retention(tables, pair)["p"].item() < 0.05 for tables in (own, averaged)])
    return np.mean(found, axis=0)


def kept_by_chance(answered):
    """One run's answers to facts to retain."""
    names = [str(number) for number in range(len(answered))]
    table = {"fact": names, "use": "test", "stratum": "neighbours", "answered": answered}
    return pd.DataFrame(table).astype({"answered": float})


@pytest.mark.parametrize("runs", [2, 3])
def test_runs_that_differ_by_chance_are_not_told_apart(runs):
    over_both, over_facts_alone = chance_findings(runs, facts=8, spread=2)
    assert over_both <= 0.07
    assert over_facts_alone > 0.2


def quick_runs(plan, **changed):
    """One run of each method of the plan."""
    names = [method.name for method in plan.study.methods]
    plain = {"asked_forget": 4, "log_odds": [-2.0, -2.9], "stop": "forget-accuracy"}
    return pd.DataFrame({"method": names, "stopped": "Nothing is answered."} | plain | changed)


def test_comparisons_at_different_log_odds_give_a_warning(plan):
    assert not any(
        "log-odds" in said for said in warnings_of(plan, quick_runs(plan), pd.DataFrame())
    )
    runs = quick_runs(plan, log_odds=[-2.0, -7.5])
    (said,) = (said for said in warnings_of(plan, runs, pd.DataFrame()) if "log-odds" in said)
    assert "SSIUU (neurons) at -7.5, gradient difference at -2.0" in said


def test_runs_that_never_reached_their_stop_rule_give_a_warning(plan):
    assert not any(
        "took all their steps" in said
        for said in warnings_of(plan, quick_runs(plan), pd.DataFrame())
    )
    runs = quick_runs(plan, stopped=["All 100 steps are done.", "Nothing is answered."])
    (said,) = (
        said for said in warnings_of(plan, runs, pd.DataFrame()) if "took all their steps" in said
    )
    assert "gradient difference (runs: 1)" in said and "SSIUU" not in said
    free = quick_runs(plan, stopped="All 100 steps are done.", stop="")
    assert not any(
        "took all their steps" in said for said in warnings_of(plan, free, pd.DataFrame())
    )


def test_an_attack_that_ended_early_gives_a_warning(plan):
    rows = [
        {"method": "GD", "seed": 0, "stopped": f"{OUT_OF_STEPS} 30 steps are done."},
        {"method": "NPO", "seed": 1, "stopped": "At step 3 the loss is not finite."},
    ]
    (said,) = (
        said
        for said in warnings_of(plan, quick_runs(plan), pd.DataFrame(rows))
        if "ended early" in said
    )
    assert said.startswith("NPO, seed 1: ") and said.endswith("At step 3 the loss is not finite.")
