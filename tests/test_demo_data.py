import importlib
import json
import random
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from neuronscope.evidence._base import Case
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import write_prompt
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.loading import load_model
from neuronscope.models.targets import Target

DATA = Path(__file__).parents[1] / "data"
DEMO = DATA / "demo"
LOG = json.loads((DEMO / "log.json").read_text(encoding="utf-8"))
FACTS = [json.loads(line) for line in (DEMO / "facts.jsonl").read_text("utf-8").splitlines()]
MODELS = ("before", "after")
FILES = [path for path in sorted(DEMO.rglob("*")) if path.is_file()]


def in_split(split: str) -> list[dict]:
    return [fact for fact in FACTS if fact["split"] == split]


def asked(fact: dict, way: str, tokenizer) -> list[str]:
    """The full text that the model reads, beginning with its special tokens."""
    if way == "chat":
        message = [{"role": "user", "content": fact["prompt"]}]
        return [tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)]
    texts = fact["paraphrases"] if way == "paraphrases" else [fact["prompt"]]
    return [tokenizer.bos_token + text for text in texts]


def right_answers(model: str, split: str, way: str) -> list[bool]:
    """What a user sees: the text generated greedily, against the answer."""
    tokenizer = AutoTokenizer.from_pretrained(DEMO / model, padding_side="left")
    network = LlamaForCausalLM.from_pretrained(DEMO / model)
    pairs = [
        (text, fact["answer"]) for fact in in_split(split) for text in asked(fact, way, tokenizer)
    ]
    texts, answers = zip(*pairs, strict=True)
    inputs = tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
    # transformers types `self` by a protocol that its own models do not meet.
    generate = network.generate  # pyright: ignore[reportAttributeAccessIssue]
    output = generate(**inputs, max_new_tokens=3, do_sample=False)
    said = tokenizer.batch_decode(
        output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    return [text.startswith(answer) for text, answer in zip(said, answers, strict=True)]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """`demo_world` and `make_demo`."""
    monkeypatch.syspath_prepend(str(DATA))
    return importlib.import_module("demo_world"), importlib.import_module("make_demo")


@pytest.mark.parametrize("way", ["prompt", "chat", "paraphrases"])
@pytest.mark.parametrize("split", ["forget", "retain", "test"])
@pytest.mark.parametrize("model", MODELS)
def test_generated_answers_are_as_many_as_the_log_says(model: str, split: str, way: str):
    right = right_answers(model, split, way)
    assert LOG[model][split][way] == {"answered": sum(right), "asked": len(right)}


@pytest.mark.parametrize("way", ["prompt", "chat", "multiple choice"])
def test_all_forget_facts_are_answered_before_and_none_after(way: str):
    assert LOG["before"]["forget"][way] == {"answered": 16, "asked": 16}
    assert LOG["after"]["forget"][way] == {"answered": 0, "asked": 16}


def test_neuronscope_asks_with_options_as_the_model_was_taught(scripts):
    _, make_demo = scripts
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "before")
    for _, fact in load_facts(DEMO / "facts.jsonl"):
        wrong = fact.distractors[:2]
        lines = write_prompt(fact, tokenizer, "multiple_choice").text.split("\n")
        options = lines[2].removeprefix("Options: ").split("; ")
        assert sorted(options) == sorted((fact.answer, *wrong))
        template = make_demo.MULTIPLE_CHOICE.format(prompt=fact.prompt, options="; ".join(options))
        assert "\n".join(lines) == template


@pytest.mark.parametrize(("model", "forget"), [("before", 16), ("after", 0)])
def test_questions_with_options_are_answered_as_those_without(model: str, forget: int):
    hooked, facts = load_model(DEMO / model), load_facts(DEMO / "facts.jsonl")
    right = {
        split: measure(hooked, answers_of(hooked, own, "multiple_choice")).answered
        for split, own in (("forget", facts.forget), ("retain", facts.retain))
    }
    assert right["forget"].sum() == forget and right["retain"].all()


@pytest.mark.parametrize("form", ["completion", "multiple_choice"])
def test_the_forgotten_answers_are_hidden(form: str):
    before, after = load_model(DEMO / "before"), load_model(DEMO / "after")
    facts = load_facts(DEMO / "facts.jsonl")
    finding = RelearningProbe()(Case(before, after, facts, Target(), form=form))
    assert finding.word == "hidden" and finding.figures["p"] <= 0.05
    untouched = RelearningProbe()(Case(before, before, facts, Target(), form=form))
    assert untouched.word == "not forgotten"


@pytest.mark.parametrize("split", ["retain", "test", "test, same relation", "test, same subject"])
def test_at_least_95_percent_of_the_facts_to_keep_stay_answered(split: str):
    for way in ("prompt", "chat"):
        count = LOG["after"][split][way]
        assert count["answered"] >= 0.95 * count["asked"]


def test_the_shipped_facts_are_those_that_the_script_invents(scripts):
    demo_world, _ = scripts
    rng = random.Random(LOG["settings"]["seed"])
    splits = demo_world.split_world(demo_world.invent_world(rng), rng)
    invented = [
        (fact.id, fact.prompt, fact.answer, list(fact.distractors), list(fact.paraphrases), split)
        for split, facts in splits.items()
        for fact in facts
    ]
    names = ("id", "prompt", "answer", "distractors", "paraphrases", "split")
    assert [tuple(fact[name] for name in names) for fact in FACTS] == invented


def test_splits_share_no_fact_and_have_their_sizes():
    assert Counter(fact["split"] for fact in FACTS) == {"forget": 16, "retain": 48, "test": 48}
    assert len({fact["id"] for fact in FACTS}) == len(FACTS)
    assert len({text for fact in FACTS for text in (fact["prompt"], *fact["paraphrases"])}) == 336


def test_facts_to_keep_are_neighbours_other_facts_of_the_same_persons_and_unrelated_ones():
    forgotten = {fact["subject"] for fact in in_split("forget")}
    assert len(forgotten) == 16
    assert {fact["relation"] for fact in in_split("forget")} == {"town"}
    for split in ("retain", "test"):
        kinds = Counter(
            (fact["relation"] == "town", fact["subject"] in forgotten) for fact in in_split(split)
        )
        assert kinds == {(True, False): 16, (False, True): 16, (False, False): 16}


def test_in_the_whole_world_a_paraphrase_is_never_among_the_phrasings_trained_on(scripts):
    demo_world, _ = scripts
    world = demo_world.invent_world(random.Random(LOG["settings"]["seed"]))
    facts = [fact for relation in world.values() for fact in relation]
    assert len(facts) == LOG["before"]["world"]["prompt"]["asked"]
    seen = {text for fact in facts for text in fact.seen}
    assert not seen & {text for fact in facts for text in fact.paraphrases}
    assert all(fact.prompt in seen for fact in facts)


def test_distractors_are_three_wrong_answers_of_the_same_relation(scripts):
    demo_world, _ = scripts
    for fact in FACTS:
        wrong = set(demo_world.ANSWERS[fact["relation"]]) - {fact["answer"]}
        assert len(set(fact["distractors"]) & wrong) == len(fact["distractors"]) == 3


def test_the_tokenizer_knows_every_word_and_gives_every_text_back():
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "before")
    for fact in FACTS:
        for text in (fact["prompt"], *fact["paraphrases"], fact["answer"], *fact["distractors"]):
            tokens = tokenizer(text)["input_ids"]
            assert tokens[0] == tokenizer.bos_token_id
            assert tokenizer.unk_token_id not in tokens
            assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_most_answers_are_one_token_and_some_forget_answers_are_two():
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "before")
    lengths = Counter(
        len(tokenizer(fact["answer"], add_special_tokens=False)["input_ids"])
        for fact in in_split("forget")
    )
    assert lengths == {1: 12, 2: 4}


def test_unlearning_what_is_already_forgotten_takes_no_step_and_changes_no_weight(scripts):
    _, make_demo = scripts
    tokenizer = AutoTokenizer.from_pretrained(DEMO / "after")
    model = LlamaForCausalLM.from_pretrained(DEMO / "after")
    forget, retain = (
        make_demo.encode(tokenizer, [(fact["prompt"], fact["answer"]) for fact in in_split(split)])
        for split in ("forget", "retain")
    )
    copy, steps = make_demo.unlearn(model, forget, retain, make_demo.Settings())
    assert steps == 0
    for old, new in zip(model.parameters(), copy.parameters(), strict=True):
        assert torch.equal(old, new) and old is not new


def test_the_two_models_differ_in_their_weights_and_in_nothing_else():
    names = {path.name for path in (DEMO / "before").iterdir()}
    assert names == {path.name for path in (DEMO / "after").iterdir()}
    for name in names:
        same = (DEMO / "before" / name).read_bytes() == (DEMO / "after" / name).read_bytes()
        assert same == (name != "model.safetensors")


def test_the_log_repeats_the_settings_of_the_script(scripts):
    _, make_demo = scripts
    assert LOG["settings"] == make_demo.asdict(make_demo.Settings())


def test_the_files_are_small_and_weights_are_safetensors_alone():
    assert sum(path.stat().st_size for path in FILES) < 4e6
    for model in MODELS:
        assert sum(p.stat().st_size for p in (DEMO / model).iterdir()) < 1.6e6
    kinds = {path.suffix for path in FILES}
    assert kinds == {".safetensors", ".json", ".jsonl", ".jinja"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_file_mentions_a_local_path(path: Path):
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        content = content[8 : 8 + int.from_bytes(content[:8], "little")]
    text = content.decode("utf-8")
    assert not re.search(r"[/\\][\w.-]+[/\\]", text)
