import pytest
from fact_files import error_of, lines, load

from neuronscope.facts.fact import Fact, FactSet


def test_the_answer_is_given_by_index_or_text(tmp_path):
    question = {"question": "Where?", "choices": ["Oslo", "Lima", "Rome"], "subject": "geography"}
    by_index = load(tmp_path, lines(question | {"answer": 1}), "quiz.jsonl")
    by_text = load(tmp_path, lines(question | {"answer": "Lima"}), "quiz.jsonl")
    assert by_index == by_text == FactSet(
        (Fact("quiz-0000", "Where?", "Lima", ("Oslo", "Rome"), subject="geography"),)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 3}, "the answer's index must be from 0 to 2"),
        ({"answer": -1}, "the answer's index must be from 0 to 2"),
        ({"answer": 10**4000}, "the answer's index must be from 0 to 2"),
        ({"answer": True}, "expected 'answer' as the index or text of a choice, got true or false"),
        ({"answer": 1.0}, "expected 'answer' as the index or text of a choice, got a number"),
        ({"answer": "Bonn"}, "the answer 'Bonn' is not one of the choices"),
        ({"choices": ["Lima"]}, "expected at least two choices, got 1"),
        ({"choices": ["Lima", "Oslo", "Lima"], "answer": 0}, "a distractor equals the answer"),
        ({"choices": ["Lima", 3]}, "expected 'choices' as a list of texts, got a number"),
    ],
)
def test_a_question_without_one_right_choice_is_refused(tmp_path, change, message):
    row = {"question": "Where?", "choices": ["Oslo", "Lima", "Rome"], "answer": 1}
    assert error_of(tmp_path, lines(row, row | change)).startswith(f", line 2: {message}")
