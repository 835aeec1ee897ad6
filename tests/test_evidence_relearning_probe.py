"""The relearning probe distinguishes hidden from erased facts in models with known truth."""

import copy
from collections import Counter
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from tiny import ARCHITECTURES, FOODS, FORGET, PEOPLE, TOWNS, tiny

from neuronscope.evidence import relearning_probe
from neuronscope.evidence._base import Case, working_copy
from neuronscope.evidence._placebos import (
    Placebos,
    comparable,
    echo,
    groups,
    placebos,
    sample,
)
from neuronscope.evidence._probe_experiment import Arm, Experiment, Group, hidden_share
from neuronscope.evidence._probe_limits import dominated, repeats
from neuronscope.evidence._relearning import Learner
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import Encoded, encode
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target
from neuronscope.organisms.organism import erased, hidden, mixed, untouched
from neuronscope.organisms.training import OrganismTraining


def probe(organism):
    return RelearningProbe()(Case(organism.before, organism.after, organism.facts, Target()))


@pytest.fixture(scope="module")
def training():
    return OrganismTraining(0, gated=True)


@pytest.mark.parametrize(("strength", "spread"), [(1.5, 1), (3.0, 10), (2.0, 100)])
def test_suppressed_answers_are_hidden(training, strength, spread):
    finding = probe(hidden(training, strength, spread))
    assert finding.word == "hidden" and finding.value == pytest.approx(1, abs=0.1)
    assert finding.figures["p"] <= 0.05 and finding.ci95[0] > 0.5


def test_facts_that_were_never_learned_are_relearned_no_sooner_than_new_ones(training):
    finding = probe(erased(training))
    assert finding.word == "erased" and finding.figures["p"] > 0.05 and finding.ci95[1] < 0.5
    # Learning is possible: at the largest distance, some true and some wrong answers are given.
    curve = finding.tables["curve"]
    assert (curve.loc[curve["distance"] == curve["distance"].max(), "answered"] > 0).all()


@pytest.mark.slow
def test_random_facts_are_rarely_learned_sooner_than_their_permutations():
    model = tiny("llama", dtype=torch.float32)
    view, rejected, runs = RelearningProbe(distances=tuple(0.01 * 1.6**k for k in range(8))), 0, 20
    for run in range(runs):
        order = np.random.default_rng(run).permutation(8)
        facts = unknown(model, relations([TOWNS[k % len(TOWNS)] for k in order]))
        experiment = view.experiment(model, facts)
        # Something is learned, so the test could reject.
        assert min(arm.steps.min() for group in experiment.groups for arm in group.arms) < 8
        rejected += experiment.p <= 0.05
    # With a level of 0.05, more than 4 of 20 have a probability of 0.003.
    assert rejected <= 4


def test_options_of_which_the_true_one_is_always_the_same_are_refused():
    facts = [Fact(str(k), f"Which is {k}?", "Oslo", tuple(TOWNS[k : k + 2])) for k in range(8)]
    assert repeats(facts, "multiple_choice") and not repeats(facts, "completion")
    varied = [replace(f, answer=PEOPLE[k % len(PEOPLE)]) for k, f in enumerate(facts)]
    assert not repeats(varied, "multiple_choice")


@pytest.mark.slow
@pytest.mark.parametrize(
    # Sixteen facts do not distinguish 12 that are present from 16.
    ("share", "words"),
    [(0.5, {"mixed"}), (0.75, {"mixed", "hidden"})],
)
def test_the_hidden_share_of_a_mixture_is_estimated(training, share, words):
    finding = probe(mixed(training, share))
    assert finding.figures["p"] <= 0.05 and finding.word in words
    assert finding.ci95[0] <= share <= finding.ci95[1]


def test_without_forgotten_facts_nothing_is_probed(training):
    finding = probe(untouched(training))
    assert finding.word == "not forgotten" and np.isnan(finding.value) and not finding.tables


def relations(*answers):
    """Facts of several relations, each with these answers."""
    return [
        Fact(f"{r}-{k}", f"The {r} of number {k} is", answer, relation=str(r))
        for r, own in enumerate(answers)
        for k, answer in enumerate(own)
    ]


def unknown(model, facts):
    """Those that the model does not answer."""
    given = measure(model, answers_of(model, facts)).answered
    return [fact for fact, known in zip(facts, given, strict=True) if not known]


def draws_of(model, facts, form="completion", count=10):
    return placebos(Learner(model), facts, form).draws(count, (0,))


def test_placebos_are_permutations_within_relations():
    model = tiny("gpt2")
    facts = unknown(model, relations(TOWNS[:4], FOODS[:4]))
    drawn = draws_of(model, facts, count=40)
    true = [one.tokens[one.prompt_length :] for one in answers_of(model, facts)]
    places = {r: [k for k, f in enumerate(facts) if f.relation == r] for r in ("0", "1")}
    for draw in drawn:
        answers = [one.tokens[one.prompt_length :] for one in draw.encoded]
        for own in places.values():
            assert sorted(answers[k] for k in own) == sorted(true[k] for k in own)
        np.testing.assert_array_equal(
            draw.wrong, [a != b for a, b in zip(answers, true, strict=True)]
        )
        # The unlearned model gives none of them.
        assert not measure(model, draw.encoded).answered.any()
    assert any(draw.wrong.all() for draw in drawn) and not all(draw.wrong.all() for draw in drawn)


def made_placebos(allowed, own=None):
    """Placebos with this table of allowed answers, each its own token."""
    size = len(allowed)
    answers = tuple(tuple(Encoded((k,), 0, ()) for k in range(allowed.shape[1])) for _ in allowed)
    own = np.arange(size) if own is None else own
    wrong = np.arange(allowed.shape[1]) != own[:, None]
    relations = (np.arange(size),) if allowed.shape[1] == size else None
    return Placebos(answers, own, allowed, wrong, relations)


def test_every_allowed_permutation_is_equally_likely():
    allowed = np.ones((4, 4), dtype=bool)
    allowed[0, 1] = allowed[2, 3] = allowed[2, 0] = False
    possible = [
        order for order in permutations(range(4)) if allowed[np.arange(4), list(order)].all()
    ]
    found = made_placebos(allowed)
    counts = Counter(
        tuple(one.tokens[0] for one in draw.encoded)
        for seed in range(3000)
        for draw in found.draws(1, (seed,))
    )
    # The true answers are not a draw.
    assert set(counts) == set(possible) - {(0, 1, 2, 3)}
    assert chisquare(list(counts.values())).pvalue > 1e-3
    everything = found.draws(100, (0,))
    assert len(everything) == len(possible) - 1


@pytest.mark.parametrize("answers", [8, 5, 2])
@pytest.mark.parametrize("multiple_choice", [False, True])
def test_the_test_keeps_its_level_for_real_placebos(answers, multiple_choice):
    # Efforts belong to a prompt and an answer, are equal for equal answers, and hold no memory.
    generator = np.random.default_rng(3)
    runs, rejected, later = 1500, 0, 0
    for run in range(runs):
        made = []
        for group in range(2):
            size = (8, 3 if multiple_choice else 8)
            cost = np.clip(np.round(generator.normal(6, 3, size)), 1, 11)
            text = np.arange(8) if multiple_choice else np.sort(generator.integers(answers, size=8))
            if not multiple_choice:
                cost = cost[:, text]
            own = np.zeros(8, dtype=int) if multiple_choice else np.arange(8)
            found = made_placebos(np.ones(size, dtype=bool), own)
            drawn = found.draws(4, (run, group))
            picked = [own] + [np.array([one.tokens[0] for one in d.encoded]) for d in drawn]
            arms = [arm(*cost[np.arange(8), chosen]) for chosen in picked]
            made.append(Group(arms[0], tuple(arms[1:])))
        experiment = Experiment(tuple(made))
        rejected += experiment.p <= 0.05
        later += experiment.p_later <= 0.05
    # At most 1 in 25; three standard errors of 1,500 runs are 1.5 %. Ties make it rarer.
    assert 0.01 < rejected / runs < 0.055 and 0.01 < later / runs < 0.055


def test_a_multiple_choice_placebo_is_an_option_of_the_same_prompt():
    model = tiny("gpt2")
    facts = [
        Fact(str(k), f"Which is {k}?", answer, distractors=PEOPLE[:2])
        for k, answer in enumerate(TOWNS[:4])
    ]
    seen = set()
    for draw in draws_of(model, facts, "multiple_choice", 40):
        for fact, one, wrong in zip(facts, draw.encoded, draw.wrong, strict=True):
            options = {
                encode(fact, model.tokenizer, "multiple_choice", text).tokens: text != fact.answer
                for text in (fact.answer, *fact.distractors)
            }
            assert options[one.tokens] == wrong
            seen.add(one.tokens)
    assert len(seen) > 8


def test_facts_that_share_their_answer_have_no_placebo():
    one, two = TOWNS[:2]
    assert not comparable(relations([one] * 4, [two]), "completion")
    facts = relations([one] * 4 + [two])
    assert comparable(facts, "completion") == facts
    # Of facts with the same prompt, the first is taken.
    again = [replace(fact, id=f"{fact.id} again") for fact in facts]
    assert comparable([*facts, *again], "completion") == facts


@pytest.mark.parametrize(("answers", "others"), [("ab", 1), ("aab", 2), ("abc", 5), ("aabb", 5)])
def test_draws_differ_from_the_facts_and_from_each_other(answers, others):
    model = tiny("gpt2")
    texts = dict(zip("abc", TOWNS, strict=False))
    facts = unknown(model, relations([texts[letter] for letter in answers]))
    assert len(facts) == len(answers)
    drawn = draws_of(model, facts)
    assert len({draw.answers for draw in drawn}) == len(drawn) == others
    assert all(draw.wrong.any() for draw in drawn)
    experiment = RelearningProbe(distances=(1e-3,)).experiment(model, facts)
    assert experiment.smallest_p == 1 / (1 + others)


def test_a_sample_holds_facts_of_many_relations():
    facts = relations(*([str(k) for k in range(size)] for size in (40, 12, 3, 3)))
    chosen = sample(facts, 24, 8, 0)
    assert Counter(fact.relation for fact in chosen) == {"0": 10, "1": 8, "2": 3, "3": 3} or (
        Counter(fact.relation for fact in chosen)["2"] == 3 and len(chosen) == 24
    )
    assert sample(facts, 58, 8, 0) == facts and sample(facts, 24, 8, 1) != chosen


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((11,), [11]),
        ((12,), [6, 6]),
        ((16,), [8, 8]),
        ((4, 4, 4, 4), [8, 8]),
        ((30,), [7, 7, 8, 8]),
    ],
)
def test_groups_keep_small_relations_together(sizes, expected):
    facts = relations(*([str(k) for k in range(size)] for size in sizes))
    found = groups(facts, "completion", 8)
    assert sorted(map(len, found)) == expected
    assert sorted(fact.id for group in found for fact in group) == sorted(f.id for f in facts)
    if len(sizes) > 1:
        for relation in {fact.relation for fact in facts}:
            assert sum(relation in {f.relation for f in group} for group in found) == 1


def test_every_group_has_different_answers():
    facts = relations([TOWNS[k % 2] for k in range(16)])
    found = groups(facts, "completion", 8)
    assert [Counter(f.answer for f in group) for group in found] == [Counter(TOWNS[:2] * 4)] * 2


def test_answers_that_repeat_their_own_prompt_are_noticed():
    plain = relations(TOWNS[:4])
    assert echo(plain) == 0
    longer = [replace(f, prompt=f"{f.answer} is", answer=f"{f.answer} again") for f in plain]
    assert echo(longer) == 1


def arm(*steps, taken=10):
    made = np.ma.masked_array([[int(step)] for step in steps], mask=False)
    return Arm(made, taken, np.ones(len(steps), dtype=bool))


def test_the_p_value_counts_choices_of_one_draw_per_group():
    generator = np.random.default_rng(0)
    made = tuple(
        Group(
            *(lambda arms: (arms[0], tuple(arms[1:])))(
                [arm(*generator.integers(1, 12, size)) for _ in range(4)]
            )
        )
        for size in (3, 5)
    )
    arms = [(group.true, *group.placebos) for group in made]
    efforts = [sum(int(one.steps.sum()) for one in choice) for choice in product(*arms)]
    own = sum(int(group.true.steps.sum()) for group in made)
    assert Experiment(made).p == np.mean([effort <= own for effort in efforts])


def test_the_test_keeps_its_level_if_draws_are_interchangeable():
    generator = np.random.default_rng(1)
    runs, rejected = 2000, 0
    for _ in range(runs):
        made = []
        for _ in range(2):
            # Facts that are learned together share the difficulty of their draw.
            hard = generator.normal(0, 3, 5)
            arms = [arm(*np.clip(np.round(6 + h + generator.normal(0, 1, 8)), 1, 11)) for h in hard]
            made.append(Group(arms[0], tuple(arms[1:])))
        rejected += Experiment(tuple(made)).p <= 0.05
    # 1 in 25 at most; three standard errors of 2,000 runs are 1.3 %.
    assert 0.015 < rejected / runs < 0.053


@pytest.mark.parametrize(
    ("size", "truth"),
    [(16, 0.0), (16, 0.25), (16, 0.5), (16, 0.75), (16, 1.0), (8, 1.0), (6, 1.0), (4, 1.0)],
)
def test_the_interval_covers_the_planted_share(size, truth):
    generator = np.random.default_rng(2)
    runs, covered, widths = 400, 0, []
    per_group = min(size, 8)
    draws = 4 if size > per_group else 19
    for _ in range(runs):
        made = []
        for _ in range(size // per_group):
            slow = [
                np.clip(np.round(generator.normal(9, 2, per_group)), 1, 11)
                for _ in range(1 + draws)
            ]
            # Answers that are present do not all return at the same distance.
            present = generator.random(per_group) < truth
            slow[0][present] = generator.integers(1, 5, present.sum())
            made.append(Group(arm(*slow[0]), tuple(arm(*steps) for steps in slow[1:])))
        share = hidden_share(Experiment(tuple(made)))
        assert share is not None
        covered += share.ci95[0] <= truth <= share.ci95[1]
        widths.append(share.ci95[1] - share.ci95[0])
    assert covered / runs >= 0.9 and np.mean(widths) < 0.75


@pytest.mark.parametrize(
    ("possible", "expected"),
    [
        ([19], [19]),
        ([5], [5]),
        ([19, 19], [4, 4]),
        ([1, 19], [1, 9]),
        ([3, 19], [3, 4]),
        ([1, 1, 1, 1, 1], [1] * 5),
        ([19, 19, 19], [4, 4, 4]),
        ([], []),
    ],
)
def test_small_groups_are_made_up_for_by_more_draws(possible, expected):
    assert relearning_probe._counts(possible) == expected


def test_groups_without_placebos_are_left_out():
    model = tiny("gpt2")
    varied, alike = TOWNS[:6], [FOODS[0]] * 6
    facts = unknown(model, relations(varied, alike))
    view = RelearningProbe(distances=(1e-3,))
    assert len(facts) == 12 and view.experiment(model, facts).facts == 6
    assert view.examine(model, facts).warnings[0].startswith("6 facts were left out")


def made(true, placebos, taken=10):
    """An experiment with two groups of eight; in each arm, all answers take about as long."""
    generator = np.random.default_rng(4)

    def spread(mean):
        return arm(*np.clip(np.round(generator.normal(mean, 1, 8)), 1, taken + 1), taken=taken)

    return Experiment(
        tuple(Group(spread(true), tuple(spread(mean) for mean in placebos)) for _ in range(2))
    )


@pytest.mark.parametrize(
    ("true", "placebos", "word", "reason"),
    [
        (2, (8, 8, 8, 8), "hidden", "sooner"),
        (7, (7, 7, 7, 7), "erased", "no sooner than chance"),
        # Something that is learned later than wrong answers is known to be wrong.
        (9, (5, 5, 5, 5), "cannot tell", "learns the forgotten answers later"),
        # Nothing can be said about distances at which nothing is learned.
        (10.8, (10.8, 10.8, 10.8, 10.8), "cannot tell", "larger distances"),
        (2, (8,), "cannot tell", "cannot be below 0.25"),
    ],
)
def test_words_follow_from_the_experiment(true, placebos, word, reason):
    experiment = made(true, placebos)
    distances = tuple(1e-3 * (1 + k) for k in range(10))
    found, why = relearning_probe._read(experiment, hidden_share(experiment), distances)
    assert (found, reason in why) == (word, True), why


def test_the_distance_is_in_the_middle_of_those_with_the_largest_share():
    # From step 3 to step 7, all true answers and no placebos are learned. The ends of this range
    # are averaged with steps outside of it.
    groups = (Group(arm(*[3] * 8), tuple(arm(*[8] * 8) for _ in range(4))),) * 2
    share = hidden_share(Experiment(groups))
    assert share is not None and share.step == 5
    assert (share.true, share.placebo, share.most, share.value) == (1, 0, 1, 1)


def test_a_single_fact_has_no_share():
    experiment = Experiment((Group(arm(2), (arm(8), arm(9))),))
    assert hidden_share(experiment) is None


def test_an_answer_that_is_given_at_the_start_has_no_rate():
    given = np.ma.masked_array([[0]] + [[2]] * 8, mask=[[True]] + [[False]] * 8)
    group = Group(Arm(given, 10, np.ones(9, dtype=bool)), tuple(arm(*[8] * 9) for _ in range(4)))
    share = hidden_share(Experiment((group, group)))
    assert share is not None and share.value == 1


def mixture(present, late=8):
    """An experiment in which the first answers of each group are learned at once."""
    true = arm(*[2] * present, *[late] * (8 - present))
    wrong = tuple(arm(*[k, k + 1] * 4) for k in (7, 8, 8, 9))
    return Experiment((Group(true, wrong),) * 2)


@pytest.mark.parametrize(
    ("experiment", "word", "reason"),
    [
        (mixture(4), "mixed", "but at most 7"),
        (mixture(1), "cannot tell", "uncertain how many (0 % to 2"),
        (mixture(2, late=10), "cannot tell", "up to 4"),
        (mixture(0), "erased", "at most 2"),
    ],
)
def test_some_answers_that_are_learned_sooner_do_not_make_all_hidden(experiment, word, reason):
    distances = tuple(1e-3 * (1 + k) for k in range(10))
    found, why = relearning_probe._read(experiment, hidden_share(experiment), distances)
    assert (found, reason in why) == (word, True), why


def test_answers_of_several_tokens_are_reported_by_token():
    def parts(first, second):
        return Arm(np.ma.masked_array([[first, second]] * 8, mask=False), 10, np.ones(8, bool))

    groups = (Group(parts(2, 11), tuple(parts(9, 11) for _ in range(4))),) * 2
    whole = (Group(arm(*[2] * 8), tuple(arm(*[9] * 8) for _ in range(4))),) * 2
    distances = tuple(1e-3 * (1 + k) for k in range(10))
    for experiment, expected in ((Experiment(groups), True), (Experiment(whole), False)):
        _, why = relearning_probe._read(experiment, hidden_share(experiment), distances)
        assert ("of these tokens" in why) == experiment.partial == expected


def test_every_arm_starts_from_the_weights_of_the_model():
    model = tiny("llama", dtype=torch.float32)
    encoded = answers_of(model, unknown(model, relations(TOWNS)))
    learner, distances = Learner(model), tuple(0.01 * 1.6**k for k in range(8))
    first, again = list(learner.learn(encoded, distances)), list(learner.learn(encoded, distances))
    np.testing.assert_array_equal(first, again)
    assert np.any(first) and not np.all(first) and not learner.given(encoded).any()


def test_a_model_that_mixes_precisions_learns_in_single_precision():
    model = tiny("llama", dtype=torch.float32)
    hf = copy.deepcopy(model.hf)
    hf.model.layers.to(torch.bfloat16)
    copied = working_copy(HookedModel.of(hf, model.tokenizer))
    assert {p.dtype for p in copied.hf.parameters()} == {torch.float32}
    assert hf.model.layers[0].mlp.down_proj.weight.dtype == torch.bfloat16


def test_distances_that_destroy_the_model_are_named():
    model = tiny("llama", dtype=torch.float32)
    encoded = answers_of(model, unknown(model, relations(TOWNS)))
    with pytest.raises(ValueError, match="use smaller distances"):
        list(Learner(model).learn(encoded, (1e30, 1e38)))


def test_warnings_name_relations_in_which_one_answer_dominates():
    one, two = TOWNS[:2]
    (warning,) = dominated(relations([one] * 3 + [two], [one, two]), "completion")
    assert "'0'" in warning and "'1'" not in warning
    assert not dominated(relations([one, two]), "completion")


def test_an_answer_counts_by_the_tokens_that_were_wrong_at_first():
    steps = np.ma.masked_array(
        [[0, 2, 4], [0, 0, 0], [11, 11, 0]],
        mask=[[True, False, False], [True, True, True], [False, False, True]],
    )
    found = Arm(steps, taken=10, counted=np.array([True, True, True]))
    np.testing.assert_array_equal(found.given(3), [0.5, np.nan, 0.0])
    assert found.effort == (3 + 11) / 2
    # A true answer among the placebos takes part in the test, but not in rates.
    kept = replace(found, counted=np.array([True, True, False]))
    np.testing.assert_array_equal(kept.given(3), [0.5, np.nan, np.nan])
    assert kept.effort == found.effort


def test_answers_that_are_given_from_the_start_are_not_learned():
    model = tiny("gpt2")
    facts = unknown(model, relations(TOWNS))
    (given,) = _said(model, facts[:1])
    assert measure(model, answers_of(model, [given])).answered.all()
    view = RelearningProbe(distances=(1e-3,))
    assert view.experiment(model, [given, *facts[1:]]).facts == len(facts) - 1
    assert view.experiment(model, facts).facts == len(facts)
    (warning,) = view.examine(model, [given, *facts[1:]]).warnings
    assert warning.startswith("1 facts were left out") and not view.examine(model, facts).warnings
    nothing = view.examine(model, [given, facts[1]])
    assert nothing.word == "cannot tell" and np.isnan(nothing.value) and not nothing.tables


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_models_are_unchanged_and_findings_are_deterministic(architecture):
    before = tiny(architecture, dtype=torch.float32)
    batch = [Fact(f.id, f.prompt, f.answer) for f in FORGET]
    # The model's own completions are its facts; negating the head makes it forget all of them.
    said = _said(before, batch)
    hf = copy.deepcopy(before.hf)
    with torch.no_grad():
        for parameter in list(hf.parameters())[-3:]:
            parameter.neg_()
    after = HookedModel.of(hf, before.tokenizer)
    case = Case(before, after, FactSet(forget=tuple(said)), Target())
    prints = before.fingerprint(), after.fingerprint()
    view = RelearningProbe(distances=(1e-3, 2e-3))
    first, again = view(case), view(replace(case))
    assert first.word == again.word
    assert first.value == again.value or np.isnan([first.value, again.value]).all()
    assert (before.fingerprint(), after.fingerprint()) == prints
    assert all(p.grad is None for p in after.hf.parameters())


def _said(model, facts):
    """The facts, with the model's completions as their answers."""
    case = Case(model, model, FactSet(forget=tuple(facts)), Target())
    known = []
    for places, batch in case.batches():
        with torch.no_grad():
            logits = model.hf(batch.tokens[:, :-1]).logits
        for row, place in enumerate(places):
            top = int(logits[row, int(batch.prompt_lengths[row]) - 1].argmax())
            known.append(replace(facts[place], answer=model.tokenizer.decode([top])))
    return known


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distances": ()}, "ascend"),
        ({"distances": (2e-3, 1e-3)}, "ascend"),
        ({"most_facts": 1}, "most_facts"),
        ({"most_facts": 65}, "most_facts"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RelearningProbe(**settings)
