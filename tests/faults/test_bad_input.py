"""What a user may get wrong: one message with the place and the mend, exit code 2, no torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lemon.commands.options import require_writable
from lemon.errors import BadInput

CONFIG = Path(__file__).parents[2] / "config"
SOURCE = Path(__file__).parents[2] / "src"
SECONDS = 3.0  # of processor time, so that a busy machine does not fail the test

# Runs commands as the console script does, and says how each ended and what it cost from the start.
PROBE = """
import contextlib, io, json, sys, time
from lemon.cli import main
start = time.process_time()
for words in json.load(sys.stdin):
    told, begun = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(told):
        code = main(words)
    seconds = start + time.process_time() - begun
    print(json.dumps([code, told.getvalue(), "torch" in sys.modules, seconds]))
"""


@dataclass(frozen=True)
class Ending:
    code: int
    message: str


def endings(*commands: Sequence[str], config: Path) -> list[Ending]:
    """Run commands that must each end before torch is imported and within three seconds."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps([["--config", str(config), *words] for words in commands]),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert done.returncode == 0, done.stderr
    found = []
    for code, told, imported_torch, seconds in map(json.loads, done.stdout.splitlines()):
        assert not imported_torch and seconds < SECONDS, told
        assert told.count("lemon: error:") == 1 and "Traceback" not in told
        found.append(Ending(code, told.replace(f"{config}/", "")))
    assert len(found) == len(commands)
    return found


def lemon(*words: str, config: Path) -> Ending:
    [ending] = endings(words, config=config)
    return ending


COMMANDS = {
    "unknown preset": ("plan --preset latop", "no preset latop, did you mean laptop?"),
    "no such preset file": ("plan --preset x/y.yaml", "x/y.yaml: no such preset file"),
    "preset of no name": ("plan --preset x$(touch~pwn)", "the preset's name 'x$(touch~pwn)' is no"),
    "preset in a folder that a shell reads": (
        "plan --preset x$(touch~pwn)/y.yaml",
        "the preset's path 'x$(touch~pwn)/y.yaml' holds '$', which shells or Snakemake read",
    ),
    "preset above": ("plan --preset ../laptop", "the preset's name '../laptop' is no name"),
    "preset without a name": ("plan --preset x/.yaml", "the preset's name '.yaml' is no name"),
    "unknown run": (
        "learn --run lemon-cut --source x --text y --out z",
        "runs.tsv has no run lemon-cut, did you mean lemon-cut-93?",
    ),
    "learning a run that is built": (
        "learn --run cut-75 --source x --text y --out z",
        "run cut-75 (cut) is made by `lemon build`; use that",
    ),
    "a start that is a run and not given": (
        "learn --run lemon-prune-75 --source x --text y --out z",
        "run lemon-prune-75 starts from run shear-75; name its folder by --start",
    ),
    "a start that is not there": (
        "build --run shear-selection-75 --source x --start no-run --out z",
        "no-run/operators.safetensors: no such operators file; `lemon learn --run shear-75`",
    ),
    "a start in vain": (
        "learn --run lemon-cut-75 --source x --text y --start s --out z",
        "run lemon-cut-75 reads no start; leave --start out",
    ),
    "building the source": ("build --run source --source x --out z", "is a model as it is"),
    "unknown table": (
        "table --table tabel3 --runs x --out y",
        "paper.yaml has no table tabel3, did you mean table3?",
    ),
    "no runs": ("table --table table3 --runs no-runs --out y", "no-runs: no such folder of runs"),
    "no lock file": (
        "prepare source --assets no.json --out y",
        "no.json: no such lock file; `lemon fetch` writes it",
    ),
    "no model": (
        "fuse --source no-model --operators x --out y",
        "no-model: no Hugging Face model folder",
    ),
    "unknown task": (
        "evaluate --model x --tasks sciq,pica --out y",
        "--tasks: unknown task pica, did you mean piqa?",
    ),
    "a task named twice": (
        "evaluate --model x --tasks sciq,sciq --out y",
        "--tasks: sciq is named 2 times; name it once",
    ),
    "no task": ("evaluate --model x --tasks , --out y", "--tasks: names none; take some of sciq"),
    "a limit of none": (
        "evaluate --model x --tasks sciq --limit 0 --out y",
        "--limit is 0; it must be at least 1",
    ),
    "a limit beyond reason": (
        f"evaluate --model x --tasks sciq --limit {10**30} --out y",
        f"--limit is {10**30}; it must be at most 1,000,000,000",
    ),
    "a limit of many digits": (
        f"evaluate --model x --tasks mmlu --task-limit mmlu={'9' * 5000} --out y",
        "is not TASK=N, such as mmlu=1140",
    ),
    "two limits of a task": (
        "evaluate --model x --tasks mmlu --task-limit mmlu=5 --task-limit mmlu=6 --out y",
        "--task-limit: mmlu is limited twice; limit it once",
    ),
    "a limit of a task that is not scored": (
        "evaluate --model x --tasks sciq,mmlu --task-limit mmul=5 --out y",
        "--task-limit: mmul is not among the tasks that are scored, did you mean mmlu?",
    ),
    "a limit without a number": (
        "evaluate --model x --tasks mmlu --task-limit mmlu --out y",
        "'mmlu' is not TASK=N, such as mmlu=1140",
    ),
    "unknown component": (
        "cka --source x --component q --out y",
        "component 'q' is unknown; take one of q_proj",
    ),
}


@pytest.fixture(scope="module")
def ended() -> dict[str, Ending]:
    """How the commands end, one after another in one process."""
    given = [words.split() for words, _ in COMMANDS.values()]
    return dict(zip(COMMANDS, endings(*given, config=CONFIG), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_on_the_command_line(name: str, ended: dict[str, Ending]) -> None:
    assert ended[name].code == 2
    assert COMMANDS[name][1] in ended[name].message


def test_a_mistake_in_the_config(config: Path) -> None:
    path = config / "presets" / "laptop.yaml"
    path.write_text(path.read_text().replace("layers_per_segment:", "layer_per_segment:"))
    ending = lemon("fetch", "--out", "y", config=config)
    assert ending.code == 2
    assert "layer_per_segment: unknown key, did you mean layers_per_segment?" in ending.message


def test_no_config_folder(tmp_path: Path) -> None:
    ending = lemon("plan", config=tmp_path / "elsewhere")
    assert ending.code == 2
    assert "no presets here; run in the repository or give --config DIR" in ending.message


def test_operators_missing(tiny_model_folder: Path, config: Path) -> None:
    words = ("fuse", "--source", str(tiny_model_folder), "--operators", "no.safetensors")
    ending = lemon(*words, "--out", "y", config=config)
    assert ending.code == 2
    assert "no.safetensors: no such operators file; `lemon build`" in ending.message


def test_a_truncated_model(tiny_model_folder: Path, tmp_path: Path, config: Path) -> None:
    cut = Path(shutil.copytree(tiny_model_folder, tmp_path / "cut"))
    weights = cut / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    ending = lemon(*f"evaluate --model {cut} --tasks sciq --out y".split(), config=config)
    assert ending.code == 2
    assert str(weights) in ending.message


def test_a_file_where_a_folder_is_needed(tmp_path: Path, config: Path) -> None:
    (tmp_path / "taken").write_text("")
    out = tmp_path / "taken" / "lock.json"
    ending = lemon("fetch", "--out", str(out), config=config)
    assert ending.code == 2
    assert f"{tmp_path / 'taken'} is a file, not a folder; choose another place" in ending.message


def test_no_permission_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    real = os.access  # patched, since root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != closed and real(path, mode))
    with pytest.raises(BadInput, match=f"no permission to write in {closed}; choose another"):
        require_writable(closed / "deep" / "lock.json")
    require_writable(tmp_path / "deep" / "lock.json")
