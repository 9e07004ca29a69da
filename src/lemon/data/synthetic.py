"""Text, tokenizer, model and questions of the smoke preset, generated from a seed.

With them every stage runs in seconds; scores on them have no meaning.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lemon.architecture import LlamaShape
from lemon.config_json import config_of

Row = dict[str, Any]
NUM_DOCUMENTS = 120
SENTENCES = 12  # of a document
QUESTIONS = 96  # rows of a task
MMLU_SUBJECTS = ("abstract_algebra", "anatomy", "astronomy")  # of the 57
MMLU_SHOTS = 5  # few-shot rows per subject
END = "<|endoftext|>"

ANIMALS = ("fox", "heron", "otter", "badger", "owl", "hare", "trout", "newt", "wren", "stoat")
COLOURS = ("red", "grey", "brown", "white", "black", "green", "blue", "golden")
PLACES = ("river", "meadow", "forest", "hill", "pond", "orchard", "marsh", "cliff")
VERBS = ("watches", "follows", "passes", "fears", "meets", "hears", "ignores", "greets")
FOODS = ("berries", "beetles", "seeds", "worms", "roots", "snails", "moss", "acorns")


def _prose(draw: random.Random) -> str:
    sentences = []
    for _ in range(SENTENCES):
        one, other = draw.sample(ANIMALS, 2)
        forms = (
            f"The {draw.choice(COLOURS)} {one} lives by the {draw.choice(PLACES)}.",
            f"At the {draw.choice(PLACES)} the {one} {draw.choice(VERBS)} the {other}.",
            f"Every morning the {one} eats {draw.choice(FOODS)}, and the {other} waits.",
        )
        sentences.append(draw.choice(forms))
    return " ".join(sentences)


def _numbers(draw: random.Random) -> str:
    pairs = [(draw.randrange(100), draw.randrange(100)) for _ in range(SENTENCES)]
    return "\n".join(f"{one} + {other} = {one + other}" for one, other in pairs)


DOMAINS: dict[str, Callable[[random.Random], str]] = {"prose": _prose, "numbers": _numbers}


def generated_documents(domain: str, seed: int) -> list[str]:
    """The documents of a generated domain, a key of `DOMAINS`."""
    draw = random.Random(f"{seed}/{domain}")
    return [DOMAINS[domain](draw) for _ in range(NUM_DOCUMENTS)]


def write_tokenizer(out: Path, vocab_size: int, seed: int) -> None:
    """Train a byte-level BPE tokenizer on the generated text and save it into `out`.

    `vocab_size` is at least 257: the bytes, and the end-of-document token.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    texts = (text for domain in DOMAINS for text in generated_documents(domain, seed))
    tokenizer.train_from_iterator(
        texts, vocab_size=vocab_size, special_tokens=[END], show_progress=False
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, eos_token=END, pad_token=END, bos_token=END
    ).save_pretrained(out)


def write_random_model(out: Path, shape: LlamaShape, dtype: str, seed: int) -> None:
    """Save a model of this family and these sizes, initialised from `seed`, into `out`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    ends: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
    config = AutoConfig.for_model(shape.family, **config_of(shape, ends))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.to(getattr(torch, dtype)).save_pretrained(out)


def _sciq(draw: random.Random) -> Row:
    animal, place = draw.choice(ANIMALS), draw.choice(PLACES)
    right, first, second, third = draw.sample(FOODS, 4)
    return {
        "question": f"What does the {animal} by the {place} eat?",
        "distractor3": third,
        "distractor1": first,
        "distractor2": second,
        "correct_answer": right,
        "support": f"The {animal} lives by the {place}. Every morning the {animal} eats {right}.",
    }


def _piqa(draw: random.Random) -> Row:
    animal, (right, wrong) = draw.choice(ANIMALS), draw.sample(PLACES, 2)
    label = draw.randrange(2)
    solutions = [f"Wait by the {right}.", f"Wait by the {wrong}."]
    return {
        "goal": f"See the {animal} that lives by the {right}.",
        "sol1": solutions[label],
        "sol2": solutions[1 - label],
        "label": label,
    }


def _winogrande(draw: random.Random) -> Row:
    first, second = draw.sample(ANIMALS, 2)
    answer = draw.randrange(2)
    eats = f"the {(first, second)[answer]} is hungry, so the _ eats {draw.choice(FOODS)}."
    return {
        "sentence": f"The {first} meets the {second}, but {eats}",
        "option1": first,
        "option2": second,
        "answer": str(answer + 1),
    }


def _arc_challenge(draw: random.Random) -> Row:
    animal, colour = draw.choice(ANIMALS), draw.choice(COLOURS)
    choices, answer = draw.sample(FOODS, 4), draw.randrange(4)
    return {
        "id": f"generated-{draw.randrange(10**9)}",
        "question": f"The {colour} {animal} eats {choices[answer]}. What does the {animal} eat?",
        "choices": {"text": choices, "label": list("ABCD")},
        "answerKey": "ABCD"[answer],
    }


def _lambada_openai(draw: random.Random) -> Row:
    animal, other = draw.sample(ANIMALS, 2)
    return {
        "text": f"At the {draw.choice(PLACES)} the {animal} {draw.choice(VERBS)} the {other}. "
        f"The {draw.choice(COLOURS)} {other} {draw.choice(VERBS)} the {animal}"
    }


def _nq_open(draw: random.Random) -> Row:
    one, other = draw.randrange(100), draw.randrange(100)
    total = one + other
    return {"question": f"what is {one} + {other}", "answer": [str(total), f"the sum {total}"]}


def _mmlu(draw: random.Random) -> Row:
    one, other = draw.randrange(100), draw.randrange(100)
    answer = draw.randrange(4)
    return {
        "question": f"{one} + {other} = ?",
        "subject": draw.choice(MMLU_SUBJECTS),
        "choices": [str(one + other + place - answer) for place in range(4)],
        "answer": answer,
    }


ROWS: dict[str, Callable[[random.Random], Row]] = {
    "sciq": _sciq,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "arc_challenge": _arc_challenge,
    "lambada_openai": _lambada_openai,
    "nq_open": _nq_open,
    "mmlu": _mmlu,
}


def generated_rows(task: str, seed: int) -> tuple[list[Row], list[Row] | None]:
    """Distinct rows of a task, a key of `ROWS`, with the Hub's columns; few-shot rows for MMLU."""
    draw = random.Random(f"{seed}/{task}")
    unique: dict[str, Row] = {}
    while len(unique) < QUESTIONS:
        row = ROWS[task](draw)
        unique[json.dumps(row)] = row
    rows = list(unique.values())
    if task != "mmlu":
        return rows, None
    of_subject = [[row for row in rows if row["subject"] == name] for name in MMLU_SUBJECTS]
    fewshot = [row for subject in of_subject for row in subject[:MMLU_SHOTS]]
    return [row for subject in of_subject for row in subject[MMLU_SHOTS:]], fewshot
