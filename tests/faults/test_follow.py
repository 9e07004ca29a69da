"""`lemon track --follow`: nothing lost and nothing double, whoever dies in between."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tracker_world import CONFIG, replay, write_rendered

from lemon.cli import main
from lemon.configuration.load import load_project
from lemon.errors import BadInput
from lemon.events import read_events
from lemon.tracking import follow as following
from lemon.tracking.follow import Follower, follow

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_a_tracker")]

PROJECT = load_project("smoke", CONFIG)
RUN, KEY = "lemon-cut-75", "smoke/runs/lemon-cut-75"


def write_events(steps: range, *, seconds: float = 2.0, mode: str = "a") -> None:
    """Values of the steps as a learning run appends them, and half a line more."""
    path = Path("runs", RUN, "metrics.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.read_text().rpartition("\n")[0] if mode == "a" and path.exists() else ""
    lines = [whole] if whole else []
    for step in steps:
        at = {"step": step, "tokens": 8 * step, "wall_s": seconds * step}
        lines += [
            json.dumps({**at, "name": name, "value": 9.0 / step})
            for name in ("train/loss", "train/kl")
        ]
    path.write_text("\n".join([*lines, '{"step": ']))


def recorded() -> list[tuple[str, dict[str, list[tuple[int, float]]]]]:
    """The status and every value of each run of MLflow's that is of RUN."""
    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    experiment = client.get_experiment_by_name("LEMON (smoke)")
    found = client.search_runs([experiment.experiment_id], f"tags.`lemon.key` = '{KEY}'")
    return [
        (
            run.info.status,
            {
                name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                for name in ("loss/train", "loss/kl")
            },
        )
        for run in found
    ]


def expected(steps: int) -> dict[str, list[tuple[int, float]]]:
    curve = [(step, float(f"{9.0 / step:.5g}")) for step in range(1, steps + 1)]
    return {"loss/train": curve, "loss/kl": curve}


def test_a_growing_file_is_mirrored_by_one_follower_after_the_other() -> None:
    write_events(range(1, 4))
    first = Follower(PROJECT, Path("runs"))
    first.look()
    assert recorded() == [("RUNNING", expected(3))]
    write_events(range(4, 7))
    first.look()
    assert recorded() == [("RUNNING", expected(6))]
    Follower(PROJECT, Path("runs")).look()  # started again
    assert recorded() == [("RUNNING", expected(6))]


def test_what_was_lost_on_the_way_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, lost = MlflowClient.log_batch, iter([False, True, True])

    def loses(self: MlflowClient, run_id: str, metrics: tuple = (), **named: object) -> None:
        """The connection ends behind the first values, then before any."""
        if metrics and next(lost, False):
            whole(self, run_id, metrics=metrics[:1], **named)
            raise MlflowException("the server went away")
        whole(self, run_id, metrics=metrics, **named)

    follower = Follower(PROJECT, Path("runs"))
    write_events(range(1, 4))
    monkeypatch.setattr(MlflowClient, "log_batch", loses)
    follower.look()
    for last in (5, 7):
        write_events(range(last - 1, last + 1))
        with pytest.raises(MlflowException):
            follower.look()
        follower.forget()
    follower.look()
    assert recorded() == [("RUNNING", expected(7))]


def test_a_run_that_is_continued_from_a_checkpoint_has_no_step_twice() -> None:
    write_events(range(1, 8))
    follower = Follower(PROJECT, Path("runs"))
    follower.look()
    write_events(range(1, 5), mode="w")
    write_events(range(5, 7), seconds=3.0)
    follower.look()
    assert recorded() == [("RUNNING", expected(6))]


def test_a_run_that_ends_keeps_its_last_values_and_its_table_replaces_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_rendered(tmp_path)
    manifest = tmp_path / "runs" / RUN / "manifest.json"
    aside = shutil.move(manifest, tmp_path / "aside.json")
    metrics = manifest.with_name("metrics.jsonl")
    text = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(text[:5]))
    follower = Follower(PROJECT, tmp_path / "runs")
    follower.look()
    metrics.write_text("".join(text))
    shutil.move(aside, manifest)
    follower.look()
    last = {(event["name"], event["step"]) for event in read_events(metrics)}
    [(status, values)] = recorded()
    assert status == "FINISHED"
    assert len(values["loss/train"]) == len([step for name, step in last if name == "train/loss"])
    own = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = own.get_experiment_by_name("LEMON (smoke)").experiment_id
    mine = own.create_run(experiment, run_name="mine").info.run_id
    assert replay(tmp_path)["status"] == "tracked"
    follower.look()
    assert [status for status, _ in recorded()] == ["FINISHED"]
    assert own.get_run(mine).info.lifecycle_stage == "active"
    assert len(recorded()[0][1]["loss/train"]) == len(values["loss/train"])
    assert capfd.readouterr().err == ""


def test_an_outage_costs_one_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ada:hunter2@127.0.0.1:{port}")
    write_events(range(1, 4))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        """MLflow is back behind the second look; the third is the last."""
        slept.append(seconds)
        if len(slept) == 2:
            os.environ.pop("MLFLOW_TRACKING_URI")
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=sleep, time=time.time))
    with pytest.raises(KeyboardInterrupt):
        follow(PROJECT, Path("runs"))
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Connection refused" in error and "hunter2" not in error
    assert recorded() == [("RUNNING", expected(3))]


def test_a_damaged_file_is_named_once_and_the_others_are_mirrored(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_events(range(1, 4))
    damaged = Path("runs", "shear-75", "metrics.jsonl")
    damaged.parent.mkdir()
    damaged.write_text("{\n{}\n")
    follower = Follower(PROJECT, Path("runs"))
    follower.look()
    follower.look()
    assert recorded() == [("RUNNING", expected(3))]
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "shear-75/metrics.jsonl:1: is not JSON" in error


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--follow --table table3", "leave out --table"),
        ("--follow", "runs: no such folder of runs"),
        ("--table table3", "name --table, --results and --out"),
    ],
)
def test_a_wrong_command_line(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--config", str(CONFIG), "track", "--preset", "smoke", "--runs", "runs"]
    assert main([*command, *words.split()]) == BadInput.exit_code
    assert said in capsys.readouterr().err
