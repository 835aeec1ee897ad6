import csv
import json
import random
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from fact_files import FAITHUN, FRANCE, FULL, QUESTIONS, SPAIN, error_of, lines, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuronscope._discover import method_class, method_names
from neuronscope.facts.documents import parse_document
from neuronscope.facts.fact import Fact
from neuronscope.facts.formats._base import FactFormat
from neuronscope.facts.loading import gather, load_facts


def test_every_file_of_the_folder_is_one_format():
    folder = Path(__file__).parents[1] / "neuronscope" / "facts/formats"
    files = {file.stem for file in folder.iterdir() if re.fullmatch(r"[a-z]\w*\.py", file.name)}
    assert set(method_names("facts/formats")) == files == {
        "faithun", "multiple_choice", "prompt_answer", "tofu",
    }  # fmt: skip
    for name in files:
        assert issubclass(method_class("facts/formats", name, FactFormat), FactFormat)
    with pytest.raises(ValueError, match="'xml'"):
        method_class("facts/formats", "xml", FactFormat)


def test_every_field_of_a_line_arrives_in_its_fact(tmp_path):
    facts = load(tmp_path, lines(FULL, SPAIN))
    assert facts.test == (
        Fact(
            id="france",
            prompt="The capital of France is",
            answer="Paris",
            distractors=("Rome", "Oslo"),
            paraphrases=("France's capital is",),
            subject="France",
            relation="capital",
        ),
    )
    assert facts.forget == (Fact("spain", "The capital of Spain is", "Madrid"),)
    assert facts.source == str(tmp_path / "facts.jsonl")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8"), min_size=1)] * 3).filter(
            lambda texts: all(t.strip() for t in texts) and texts[1].strip() != texts[2].strip()
        ),
        min_size=1,
        unique_by=lambda texts: " ".join(texts[0].split()),
    ),
    st.booleans(),
)
def test_facts_written_as_lines_or_as_a_list_are_read_back(tmp_path, texts, ascii_only):
    facts = tuple(Fact(f"fact {n}", p, a, (d,)) for n, (p, a, d) in enumerate(texts))
    rows = [asdict(fact) for fact in facts]
    written = "\r\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    assert load(tmp_path, written).forget == facts
    assert load(tmp_path, json.dumps(rows, ensure_ascii=ascii_only, indent=1)).forget == facts


def test_a_byte_order_mark_and_blank_lines_are_ignored(tmp_path):
    plain = load(tmp_path, lines(FRANCE, SPAIN))
    assert load(tmp_path, b"\xef\xbb\xbf\n\n" + lines(FRANCE).encode() + b"\n\n" +
                lines(SPAIN).encode() + b"\n") == plain  # fmt: skip


def test_the_notes_name_unused_fields_and_a_missing_split(tmp_path):
    notes = load(tmp_path, lines(FRANCE | {"colour": 3}, SPAIN | {"colour": 4, "x\n": 1})).notes
    assert all(note.startswith("'facts.jsonl': ") for note in notes)
    kinds, unused, splits = notes
    assert "prompt_answer, 2 forget" in kinds
    assert "'colour' (2), 'x\\n' (1)" in unused
    assert "no row names a split" in splits
    assert load(tmp_path, lines(FULL)).notes == ("'facts.jsonl': prompt_answer, 1 test.",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file is empty"),
        (" \n\n", ": the file is empty"),
        ("[]", ": the list is empty"),
        (lines(FRANCE) + "\n{", ", line 2: not valid JSON (Expecting property name"),
        (lines(FRANCE) + '\n"text"', ", line 2: expected an object with named fields, got text"),
        (lines(FRANCE) + lines(SPAIN), ", line 1: expected one JSON object"),
        (b"\n" + lines(FRANCE).encode() + b"\n\xff", ", line 3: not UTF-8 text"),
        (lines(FRANCE, SPAIN | {"prompt": 3}), ", line 2: expected 'prompt' as text, got a number"),
        (lines(FRANCE, {"id": "x"}), ", line 2: expected 'prompt' as text, got nothing"),
        (lines(FRANCE | {"id": True}), ", line 1: expected 'id' as text, got true or false"),
        (lines(FRANCE | {"answer": []}), ", line 1: expected 'answer' as text, got a list"),
        (lines(FRANCE | {"answer": "\t"}), ", line 1: the answer is empty"),
        (lines(FRANCE | {"subject": {}}), ", line 1: expected 'subject' as text, got an object"),
        (lines(FRANCE | {"distractors": ["a", 1]}), ", line 1: expected 'distractors' as a list"),
        (lines(FRANCE | {"distractors": ["Paris"]}), ", line 1: a distractor equals the answer"),
        (lines(FRANCE | {"split": "tr\nain"}), ", line 1: unknown split 'tr\\nain', expected"),
        (lines(FRANCE, SPAIN | {"id": "france"}), ", line 2: the id 'france' is already used by"),
        (lines(FULL, FRANCE | {"id": "x"}), ", line 2: the same prompt and answer as"),
        ('{"prompt": "a", "prompt": "b"}', ", line 1: not valid JSON (the field 'prompt' appears"),
        ('{"prompt": NaN}', ", line 1: not valid JSON (NaN is not a JSON number)"),
        ('{"prompt": ' + "9" * 5000 + "}", ", line 1: not valid JSON (Exceeds the limit"),
        ('{"prompt": ' + "[" * 10**6 + "}", ", line 1: nested too deeply"),
        ('{"prompt": ' + "[" * 400 + "]" * 400 + "}", ", line 1: expected 'prompt' as text, got"),
        (lines(FRANCE | {"answer": "\ud800"}), ", line 1: the answer contains half of a surrogate"),
        ('{"prompt": "a\0"}', ", line 1: not valid JSON (Invalid control character"),
        (lines({"instruction": "x", "out\nput": "y"}), ", line 1: expected the fields of one form"),
        (f"[{lines(FRANCE)},\n {lines(FRANCE)}]", ", item 2 (line 2): the id 'france' is already"),
        (f"[{lines(FRANCE)}\n{lines(SPAIN)}]", ", item 1 (line 1): not valid JSON (no comma or ]"),
        (f"[{lines(FRANCE)},\n\n]", ", line 3: not valid JSON (Expecting value, column 1)"),
        (f"[{lines(FRANCE)}", ", item 1 (line 1): not valid JSON (no comma or ] after the item)"),
        (f"[{lines(FRANCE)}]\n[]", ", item 1 (line 1): expected the file to end"),
        ('[{"id": "a",\n"prompt": }]', ", line 2: not valid JSON (Expecting value, column 11)"),
        (b"PAR1 and no more", ": not readable as Parquet"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_in_one_line_that_names_the_place(tmp_path, content, message):
    assert error_of(tmp_path, content).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n\n", ": the file is empty"),
        ("prompt,answer\n", ": the table has no rows below its header"),
        ("prompt,,answer\na,b,c", ", line 1: expected a name for every column"),
        ("prompt,answer,prompt\na,b,c", ", line 1: the column 'prompt' appears twice"),
        ("prompt,answer\nIn Rome, one eats,pasta", ", line 2: expected 2 cells, as in the header"),
        ('prompt,answer\na,b\n\n"two\nlines"\n', ", line 4: expected 2 cells, as in the header"),
        ('\nprompt,answer\na,"b', ", line 3: not a valid table (unexpected end of data)"),
        ('prompt,answer\na,"b"c', ", line 2: not a valid table ("),
        ("question of,answer\na,b", ", line 2: expected the fields of one format"),
        ("prompt,answer\na,\n", ", line 2: expected 'answer' as text, got nothing"),
        ("prompt,answer,split\na,b,x", ", line 2: unknown split 'x'"),
        (b"prompt,answer\na,\xff", ", line 2: not UTF-8 text"),
    ],
)
def test_a_malformed_table_is_refused_in_one_line_that_names_the_place(tmp_path, content, message):
    assert error_of(tmp_path, content, "facts.csv").startswith(message)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_gives_the_same_facts_as_lines(tmp_path, delimiter):
    quoted = [FULL, SPAIN, {"prompt": f'He said{delimiter} "a"\nand', "answer": "b"}]
    names = ["id", "prompt", "answer", "distractors", "paraphrases", "subject", "relation", "split"]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, names, delimiter=delimiter)
        writer.writeheader()
        for row in quoted:
            cells = {k: " | ".join(v) if isinstance(v, list) else v for k, v in row.items()}
            writer.writerow(cells)
    facts = load_facts(tmp_path / "t.csv")
    expected = load(tmp_path, lines(*quoted), "t.jsonl")
    assert facts == expected and facts.forget[-1].id == "t-0002"


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"))] * 2).filter(
            lambda texts: all(text.strip() for text in texts)
        ),
        min_size=1,
        unique_by=lambda texts: " ".join(texts[0].split()),
    )
)
def test_facts_written_as_a_table_are_read_back(tmp_path, texts):
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("prompt", "answer"), *texts])
    read = load_facts(tmp_path / "t.csv").forget
    assert [(fact.prompt, fact.answer) for fact in read] == texts


def test_a_missing_file_an_empty_folder_and_odd_paths_are_refused(tmp_path):
    for path in (tmp_path / "no\nsuch", tmp_path / "a\0b", Path("/dev/null")):
        with pytest.raises(FileNotFoundError) as error:
            load_facts(path)
        assert str(error.value).startswith("No facts at ") and str(error.value).isprintable()
    with pytest.raises(ValueError, match=r"the folder has no \.json, \.jsonl"):
        load_facts(tmp_path)


def outcome(content: bytes, suffix: str = "json") -> str:
    """'facts' if the file is read, else the error, which must be one line that names the file."""
    path = Path(f"no folder/facts.{suffix}")
    try:
        facts = gather([parse_document(content, path)], str(path))
    except ValueError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()
        assert len(str(error)) < 1200
        return str(error)
    assert list(facts) and all(note.isprintable() for note in facts.notes)
    return "facts"


VALID = [
    lines(FULL, SPAIN).encode(),
    json.dumps([FULL, SPAIN], indent=1).encode(),
    json.dumps(QUESTIONS).encode(),
    json.dumps(FAITHUN).encode(),
    lines({"question": "Where?", "choices": ["Oslo", "Lima"], "answer": 1}).encode(),
]
TABLE = (
    b'prompt,answer,split,distractors\n"In Oslo, one says",hei,test,hola|ciao\nTwo and two,4,,\n'
)
FRAGMENTS = [
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\n", b"\r", b"\0", b"\xff", b"\xe2\x80\xa8",
    b"null", b"true", b"-1", b"1e999", b"NaN", b"\\ud800", b"\\u0000", b'""', b"{}", b"[]",
    b"[" * 5000, b"9" * 5000, b'"prompt":', b'"answer":"Paris",', b'"id":"france"', b"PAR1",
    b'"split":"train"',
]  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["id", "prompt", "answer", "question", "choices", "hop1_unlearn", "split",
                         "distractors", "options", "option1", "answers"]) | st.text(max_size=3),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


def mutated(source: bytes, draw: random.Random) -> bytes:
    """The file after one to four random deletions, duplications, insertions or overwrites."""
    content = bytearray(source)
    for _ in range(draw.randint(1, 4)):
        start = draw.randrange(len(content) + 1)
        end = min(len(content), start + draw.randint(0, 12))
        change = draw.choice([b"", bytes(content[start:end]) * 2, draw.choice(FRAGMENTS),
                              draw.randbytes(draw.randint(1, 4))])  # fmt: skip
        content[start:end] = change
    return bytes(content)


def test_ten_thousand_malformed_files_give_facts_or_a_one_line_error():
    outcomes: list[str] = []

    @settings(max_examples=350, deadline=None, database=None)
    @given(st.integers(min_value=0))
    def mutations(seed):
        draw = random.Random(seed)
        outcomes.extend(outcome(mutated(draw.choice(VALID), draw)) for _ in range(24))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.integers(min_value=0))
    def mutated_tables(seed):
        draw = random.Random(seed)
        outcomes.extend(outcome(mutated(TABLE, draw), "csv") for _ in range(24))

    @settings(max_examples=800, deadline=None, database=None)
    @given(st.binary(), st.sampled_from([b"", b"PAR1", b"[", b"{", b'{"prompt":']))
    def raw_bytes(content, start):
        outcomes.append(outcome(start + content))

    @settings(max_examples=800, deadline=None, database=None)
    @given(JSON_VALUES, st.sampled_from(["{}", "[{}]", '{{"id":"a","prompt":{},"answer":"b"}}']))
    def json_values(value, around):
        outcomes.append(outcome(around.format(json.dumps(value)).encode()))

    mutations()
    mutated_tables()
    raw_bytes()
    json_values()
    assert len(outcomes) >= 10_000
    assert 100 < outcomes.count("facts") < len(outcomes) / 2, "both outcomes must occur"
    kinds = {re.sub(r"'.*?'|\d+", "", one) for one in outcomes}
    assert len(kinds) > 30, "files must be malformed in many ways"
