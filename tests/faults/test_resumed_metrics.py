"""`metrics.jsonl` of a run that was cut short: every event of every step, once, and no gap."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from killed import Cut, cut_after
from learning_world import LearningWorld
from logged import logged

from lemon.errors import BadInput
from lemon.events import Event, read_events
from lemon.learning.run import learn
from lemon.provenance import file_digest
from lemon.training.checkpoints import TrainingCheckpoints

RUN, STEPS = "lemon-cut-75", 6
NAME = "metrics.jsonl"


Learn = Callable[..., None]


@pytest.fixture(scope="module")
def run(learning_world: LearningWorld) -> Learn:
    """Learns into a folder; `until` a step whose events are written, where it is cut short."""

    def run(out: Path, run: str = RUN, every: int = 2, until: int | None = None) -> None:
        project = learning_world.project(steps=STEPS, checkpoint_every=every)
        try:
            with cut_after(until):
                learn(project, run, learning_world.source, learning_world.text, out)
        except Cut:
            assert not (out / "manifest.json").exists()

    return run


def values(out: Path) -> dict[tuple[int, str], float]:
    """The value of every event but those that are times; each event is there once."""
    events = read_events(out / NAME)
    counts = Counter((event["step"], event["name"]) for event in events)
    assert set(counts.values()) == {1}
    assert {event["step"] for event in events} >= set(range(1, STEPS + 1))
    assert [event["step"] for event in events] == sorted(event["step"] for event in events)
    return {(step, name): value for step, name, value in logged(out)}


@pytest.fixture(scope="module")
def whole(run: Learn, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], float]:
    """The events of a run that nothing has cut short."""
    out = tmp_path_factory.mktemp("whole")
    run(out)
    return values(out)


@pytest.mark.parametrize(
    ("every", "until"),
    [(4, 1), (4, 3), (2, 2), (2, 3), (2, 5), (STEPS, STEPS)],
    ids=lambda value: str(value),
)
def test_a_kill_at_any_step(
    every: int, until: int, run: Learn, whole: dict[Any, float], tmp_path: Path
) -> None:
    """Before the first checkpoint, at one, and behind one."""
    out = tmp_path / "cut"
    run(out, every=every, until=until)
    run(out, every=every)
    assert values(out) == whole


def test_many_kills(run: Learn, whole: dict[Any, float], tmp_path: Path) -> None:
    out = tmp_path / "cut"
    for until in (1, 1, 3, 3, 5, 4, 5):
        run(out, until=until)
    run(out)
    assert values(out) == whole


def test_masks_have_events_of_their_own(run: Learn, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    run(whole, run="shear-75")
    for until in (1, 3):
        run(cut, run="shear-75", until=until)
    run(cut, run="shear-75")
    assert values(cut) == values(whole)


DAMAGE: dict[str, Callable[[bytes], bytes] | None] = {
    "it is gone": None,
    "a cut line": lambda content: content[:-20],
    "half an event more": lambda content: content + b'{"step": 4, "tok',
    "lost events": lambda content: b"\n".join(content.split(b"\n")[3:]),
    "repeated events": lambda content: content + content,
    "garbage": lambda content: b"\xff\0{" + content,
    "nothing": lambda content: b"",
    "another format": lambda content: b"[]\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_checkpoint_knows_the_events_whatever_became_of_the_file(
    damage: str, run: Learn, whole: dict[Any, float], tmp_path: Path
) -> None:
    out = tmp_path / "cut"
    run(out, until=3)
    path = out / NAME
    damaged = DAMAGE[damage]
    if damaged is None:
        path.unlink()
    else:
        path.write_bytes(damaged(path.read_bytes()))
    run(out)
    assert values(out) == whole


def test_a_line_is_cut_by_a_kill_alone(run: Learn, tmp_path: Path) -> None:
    """Behind the end of a run nothing may be lacking."""
    run(tmp_path / "run", until=3)
    path = tmp_path / "run" / NAME
    whole = read_events(path)
    path.write_bytes(path.read_bytes()[:-9])
    assert read_events(path) == whole[:-1]
    run(tmp_path / "run")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadInput, match=f"{path}: is damaged"):
        read_events(path)


EVENT = {"step": 1, "tokens": 9, "wall_s": 1.0, "name": "train/loss", "value": 2.0}


@pytest.mark.parametrize(
    "odd",
    [
        *({**EVENT, key: None} for key in sorted(Event.__required_keys__)),
        *({k: v for k, v in EVENT.items() if k != key} for key in sorted(Event.__required_keys__)),
        *({**EVENT, "step": value} for value in (True, "1", 1.5, [1], {})),
        *({**EVENT, "value": value} for value in ("2.0", [], True)),
        *([], None, 3, "x"),
    ],
    ids=str,
)
def test_a_line_of_other_types_is_refused_with_its_number(odd: Any, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(f"{json.dumps(EVENT)}\n{json.dumps(odd)}\n{json.dumps(EVENT)}\n")
    with pytest.raises(BadInput, match=rf"{NAME}:2: "):
        read_events(path)


def test_a_checkpoint_that_holds_other_things_is_passed_over(tmp_path: Path, capsys: Any) -> None:
    store = TrainingCheckpoints(tmp_path, key="k")
    store.save(1, {})
    for step, odd in enumerate(([1], {"key": "k"}, torch.ones(3), "x", 3), start=2):
        path = tmp_path / "odd"
        torch.save(odd, path)
        path.rename(tmp_path / f"step-{step:08d}-{file_digest(path)[:16]}.pt")
    state = store.newest()
    assert state is not None and state["step"] == 1
    assert capsys.readouterr().err.count("not a checkpoint of this program, removed") == 5
