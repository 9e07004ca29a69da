"""Config files that are no plain YAML, or of a size beyond reason: refused at once, by line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from config_mistakes import LAPTOP, PAPER, edit, refusal

SECONDS = 3.0  # of processor time, so that a busy machine does not decide
LARGEST = 63_000  # bytes of a file that is still read

NOT_PLAIN = {
    "alias": ("a: &x [1]\nb: *x\n", 1, "'&x' names a part of the file for aliases; leave it out"),
    "alias of nothing": ("a: *x\n", 1, "'*x' stands for another part of the file"),
    "alias bomb": (
        "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(2500)),
        *(1, "'&a' names a part of the file"),
    ),
    "merge key": ("a:\n  <<: {b: 1}\n", 2, "<< merges another block into this one"),
    "tag": ("a: !!str 5\n", 1, "'!!str' is a tag, which makes a value of another kind"),
    "tag of Python": ("a: !!python/object:os.system x\n", 1, "'!!python/object:os.system' is a"),
    "binary": ("a: !!binary aGk=\n", 1, "'!!binary' is a tag"),
    "set": ("!!set {a, b}\n", 1, "'!!set' is a tag"),
    "tag of one mark": ("a: ! 5\n", 1, "'!' is a tag"),
    "directive": (
        "%YAML 1.1\n---\na: yes\n",
        2,
        "a line that begins with % is a parser directive; remove it",
    ),
    "second document": ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
    "key twice": ("a: 1\n\na: 2\n", 3, "the key 'a' is already on line 1"),
    "number as a key": ("1: a\n", 1, "the key 1 is no text; put it in quotes"),
    "nothing as a key": ("a: 1\nnull: a\n", 2, "the key null is no text"),
    "no key": (": a\n", 1, "the key of no letters is no text"),
    "list as a key": ("[a, b]: c\n", 1, "a block or list is no key"),
    "block as a key": ("? {a: b}\n: c\n", 1, "a block or list is no key"),
    "two lines of text": ("a: |\n  b\n  c\n", 1, r"the text 'b\nc\n' holds '\n'"),
    "control character": ("a: b\x07\n", 1, "holds the control character U+0007"),
    "escaped control character": ('a: "\\e[31m"\n', 1, r"the text '\x1b[31m' holds '\x1b'"),
    "escaped half of a character": ('a: "\\ud800"\n', 1, r"holds '\ud800'"),
    "escape beyond all characters": ('a: "\\UFFFFFFFF"\n', 1, "is not YAML"),
    "NUL": ("a: b\0\n", 1, "holds the control character U+0000"),
    "line separator": ("a: b\u2028c\n", 1, "holds the control character U+2028"),
    "tab": ("a:\n\tb: 1\n", 2, "is not YAML"),
    "many digits": ("a: " + "9" * 5000 + "\n", 1, "a number of 5,000 digits is too large"),
    "deep lists": ("[" * LARGEST, 1, "blocks are nested more than 20 deep"),
    "deep blocks": ("{a: " * (LARGEST // 4), 1, "blocks are nested more than 20 deep"),
    "steps": ("".join(" " * i + "a:\n" for i in range(300)), 21, "blocks are nested more than 20"),
    "many entries": ("a: [" + "b, " * (LARGEST // 3), 1, "is not YAML"),
    "large": ("# \n" * 40_000, 1, "has more than 64,000 bytes"),
    "no end of a text": ('a: "' + "b\n" * (LARGEST // 2), 31501, "is not YAML"),
}


def refused(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The answer to this configuration, which comes in time and can be printed."""
    before = time.process_time()
    message = refusal(config, capsys)
    assert time.process_time() - before < SECONDS
    assert len(message) < 20_000
    assert all(character.isprintable() or character == "\n" for character in message)
    return message


@pytest.mark.parametrize("kind", NOT_PLAIN)
def test_what_is_no_plain_yaml_is_named_with_its_line(
    kind: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line, expected = NOT_PLAIN[kind]
    (config / PAPER).write_text(text)
    message = refused(config, capsys)
    assert "the configuration has 1 mistake:" in message
    assert f"\n  {PAPER}:{line}: " in message and expected in message


BYTES = {
    "16 bits": "a: 1\n".encode("utf-16"),
    "Latin-1": "a: 1\nb: \u00e9\n".encode("latin-1"),
    "no text": bytes(range(256)),
    "NULs": bytes(1000),
}


@pytest.mark.parametrize("kind", BYTES)
def test_what_is_no_text_is_one_mistake(
    kind: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / PAPER).write_bytes(BYTES[kind])
    message = refused(config, capsys)
    assert "the configuration has 1 mistake:" in message
    assert f"\n  {PAPER}:" in message


def test_a_byte_order_mark_is_no_mistake(config: Path) -> None:
    from lemon.configuration.load import load_project

    as_committed = load_project("smoke", config).digest()
    for path in (config / PAPER, config / "presets" / "smoke.yaml"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_project("smoke", config).digest() == as_committed


def test_a_pipe_or_folder_in_place_of_a_file(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / PAPER).unlink()
    os.mkfifo(config / PAPER)
    (config / "assets.yaml").unlink()
    (config / "assets.yaml").mkdir()
    message = refused(config, capsys)
    assert f"{PAPER}:1: no such file" in message and "assets.yaml:1: no such file" in message


BEYOND = {
    "layers": (r"num_hidden_layers: 30", 10**9, "must be at most 10,000, not 1000000000"),
    "width": (r"hidden_size: 576", 10**12, "must be at most 16,777,216"),
    "words": (r"vocab_size: \d+", 10**9, "must be at most 16,777,216"),
    "target": (r"num_hidden_layers: 75%", 10**9, "must be at most 10,000"),
    "radii": (r"ffn: 16", 10**20, "must be at most 16,777,216"),
    "steps": (r"fusion: \d+", 10**10, "must be at most 1,000,000,000"),
    "sequences": (r"train_sequences: \d+", 10**29, "must be at most 1,000,000,000"),
    "rate": (r"layer_rate: [\d.]+", "1.0e+9", "must be at most 1000, not 1000000000.0"),
    "no number": (r"layer_rate: [\d.]+", ".nan", "must be a finite number"),
    "infinity": (r"layer_rate: [\d.]+", "1e999", "must be"),
    "date": (r"layer_rate: [\d.]+", "2024-01-01", "must be a number, not '2024-01-01'"),
    "hours": (r"batch_sequences: \d+", "1:30", "must be a whole number, not '1:30'"),
    "hexadecimal": (r"batch_sequences: \d+", "0x10", "must be a whole number, not '0x10'"),
}


@pytest.mark.parametrize("what", BEYOND)
def test_a_number_beyond_reason_is_refused_with_its_bound(
    what: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, value, expected = BEYOND[what]
    key = pattern.lstrip("^").split(":")[0]
    line = edit(config / LAPTOP, pattern, f"{key}: {value}")
    message = refused(config, capsys)
    assert f"{LAPTOP}:{line} " in message and expected in message


def test_a_seed_beyond_64_bits_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = edit(config / LAPTOP, r"^description:", f"seed: {2**63}\ndescription:")
    expected = f"{LAPTOP}:{line} seed: must be at most 9,223,372,036,854,775,807"
    assert expected in refused(config, capsys)


def test_the_largest_sizes_together_make_no_model(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    most = 1 << 24
    for key in ("hidden_size", "intermediate_size", "num_attention_heads", "head_dim"):
        edit(config / LAPTOP, rf"\b{key}: \d+\b(?!%)", f"{key}: {most}")
    edit(config / LAPTOP, r"num_key_value_heads: \d+", f"num_key_value_heads: {most // 2}")
    message = refused(config, capsys)
    assert "head_dim: makes 281,474,976,710,656 channels of all heads" in message
    assert "num_hidden_layers: makes a model of" in message


MANY = {
    "unknown keys": (LAPTOP, "".join(f"k{i}: 1\n" for i in range(5000))),
    "tables": (PAPER, "".join(f"k{i}: {{renderer: x}}\n" for i in range(500))),
}


@pytest.mark.parametrize("what", MANY)
def test_many_mistakes_are_told_of_in_part(
    what: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, lines = MANY[what]
    with (config / file).open("a") as opened:
        opened.write(lines)
    message = refused(config, capsys)
    assert "more mistakes; correct these first" in message
    assert len(message.splitlines()) < 40
