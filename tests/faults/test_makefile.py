"""What is given to `make` is a word: neither make nor a shell runs any of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands for every command of the environment: says its name and its words.
ECHO = """#!/usr/bin/env bash
printf '<%s>' "${0##*/}" "$@"
echo
"""
WORDS = (
    *("x`touch pwn`", "x';touch pwn;'", 'x";touch pwn;"', "x$$(touch pwn)", "x$(touch pwn)"),
    *("x$(shell touch pwn)", "${shell touch pwn}", "$(eval $(shell touch pwn))", "; touch pwn"),
    *("a b", "x,y", "x\\y", "#x", "x%y", "x:y", "x\ntouch pwn", "x'\ntouch pwn;'", "*", "~", "|x"),
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with a space, the Makefile and an environment that is up to date."""
    folder = tmp_path / "a b"
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
        os.utime(folder / name, (1, 1))
    for name in ("lemon", "snakemake"):
        (commands / name).write_text(ECHO)
        (commands / name).chmod(0o755)
    (folder / ".venv" / "installed").touch()
    return folder


def make(folder: Path, *words: str, **environment: str) -> str:
    """What a call of make says; it must leave nothing. No real command is found before the echo."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    inherited["PATH"] = f"{folder / '.venv' / 'bin'}{os.pathsep}{inherited['PATH']}"
    done = subprocess.run(
        ["make", *words],
        cwd=folder,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not list(folder.rglob("pwn*")), done.stdout
    return done.stdout


def test_targets_work_in_a_folder_with_a_space(clone: Path) -> None:
    command = "<snakemake><table3><--cores><2><--config><preset=smoke><target=table3>\n"
    assert make(clone, "table3", "PRESET=smoke", "CORES=2") == command
    taken = make(clone, "table3", "FROM=a b/runs.bundle", "CORES=2")
    assert taken.endswith("<target=table3><from=a b/runs.bundle>\n")
    packed = "<lemon><bundle><--preset><a b/mine.yaml><--out><results/mine/runs.bundle>\n"
    assert make(clone, "bundle", "PRESET=a b/mine.yaml") == packed
    assert make(clone, "plan") == "<lemon><plan><--preset><laptop>\n"
    assert make(clone, "plan", "SEEDS=3") == "<lemon><plan><--preset><laptop><--seeds><3>\n"
    packed = "<lemon><bundle><--preset><laptop><--seeds><3><--out><results/laptop/runs.bundle>\n"
    assert make(clone, "bundle", "SEEDS=3") == packed
    seeds = make(clone, "table3", "SEEDS=3", "CORES=2")
    assert seeds.endswith("<preset=laptop><target=table3><seeds=3>\n")
    assert (
        make(clone, "plan", "TABLE=table3") == "<lemon><plan><--preset><laptop><--table><table3>\n"
    )
    results = "<--results><results/mine><--out><results/mine/report.html>\n"
    assert make(clone, "report", "PRESET=a b/mine.yaml") == (
        f"<lemon><report><--preset><a b/mine.yaml>{results}"
    )
    ledger = "<--results><results/mine><--out><results/mine/claims.md>\n"
    assert make(clone, "claims", "PRESET=a b/mine.yaml") == (
        f"<lemon><claims><--preset><a b/mine.yaml>{ledger}"
    )
    other = make(clone, "plan", f"VENV={clone / '.venv'}", "PYTHON=false")
    assert other == "<lemon><plan><--preset><laptop>\n"


def test_committed_results_are_checked_in_a_folder_of_their_own(clone: Path) -> None:
    first, second = make(clone, "check-results", "FROM=rest", "CORES=2").splitlines()
    config = "<preset=laptop><target=check_results><from=operators><folder=checks>"
    assert first == f"<snakemake><check_results><--cores><2><--config>{config}"
    bundle = "<--bundle><results/laptop/runs.bundle><--folder><checks>"
    assert second == f"<lemon><compare><--preset><laptop>{bundle}"


@pytest.mark.parametrize("target", ["report", "claims"])
def test_what_is_given_is_rendered_first(target: str, clone: Path) -> None:
    first, second = make(clone, target, "FROM=bundle", "CORES=2").splitlines()
    config = f"<--config><preset=laptop><target={target}><from=bundle>"
    assert first == f"<snakemake><{target}><--cores><2>{config}"
    assert second.startswith(f"<lemon><{target}><--preset><laptop>")
    refused = make(clone, target, "FROM=rest")
    assert f"make {target} takes FROM=bundle, FROM=operators or a path" in refused
    assert "<snakemake>" not in refused and "<lemon>" not in refused


def test_without_cores_it_takes_those_of_the_machine(clone: Path) -> None:
    assert "<--cores><3>" in make(clone, "table3", OMP_NUM_THREADS="3", OMP_THREAD_LIMIT="3") or (
        f"<--cores><{len(os.sched_getaffinity(0))}>" in make(clone, "table3")
    )


@pytest.mark.parametrize("word", WORDS)
def test_a_preset_is_a_word(word: str, clone: Path) -> None:
    given = word.replace("\n", " ")
    expected = f"<--config><preset={given}><target=table3>\n"
    assert make(clone, "table3", f"PRESET={word}").endswith(expected)
    assert make(clone, "table3", PRESET=word).endswith(expected)
    assert make(clone, "-e", "doctor", PRESET=word) == f"<lemon><doctor><--preset><{given}>\n"
    make(clone, "-n", "table3", f"PRESET={word}")
    make(clone, "report", f"PRESET={word}")


@pytest.mark.parametrize("word", WORDS)
def test_a_target_is_a_word(word: str, clone: Path) -> None:
    for call in ((word,), ("-k", word), ("-n", word)):
        make(clone, *call)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("name", ["CORES", "VENV", "PYTHON"])
def test_other_settings_are_words(name: str, word: str, clone: Path) -> None:
    (clone / "requirements.lock").touch()  # the environment is to be made anew
    python = () if name == "PYTHON" else ("PYTHON=false",)
    make(clone, "-i", "table3", f"{name}={word}", *python)
    make(clone, "-i", "table3", *python, **{name: word})
