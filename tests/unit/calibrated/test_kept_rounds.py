"""Rounds of a search that are kept: other depths, interrupted builds, two jobs, damaged files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from calibrated_models import LAYERS, context

from lemon.checkpoint import Checkpoint
from lemon.configuration.load import load_project
from lemon.data.text.packing import PackedText
from lemon.methods import come, come_posterior, come_sum, kept_rounds, sleb
from lemon.methods.build import build
from lemon.methods.kept_rounds import KeptRounds
from lemon.operators.file import save_operators

SEARCHES = {come: come, come_posterior: come, come_sum: come_sum, sleb: sleb}
STEPS = {come: "measure", come_sum: "measure", sleb: "losses_without_each"}
NOWHERE = KeptRounds()
SMOKE = load_project("smoke", Path(__file__).parents[3] / "config")


@pytest.fixture
def kept(tmp_path) -> KeptRounds:
    return KeptRounds.of(tmp_path / "rounds", torch.device("cpu"))


@pytest.fixture(params=SEARCHES, ids=lambda builder: builder.__name__.rpartition(".")[2])
def search(request, source, calibration, monkeypatch, tmp_path):
    """Build to a depth: the operators file and the record, and how many rounds were searched."""
    module = SEARCHES[request.param]
    step, searched = getattr(module, STEPS[module]), []

    def counted(*arguments):
        searched.append(module)
        return step(*arguments)

    monkeypatch.setattr(module, STEPS[module], counted)

    def made(depth: int, kept: KeptRounds):
        searched.clear()
        given = replace(context(source, calibration, depth), kept_rounds=kept)
        file = tmp_path / "operators.safetensors"
        save_operators(file, request.param.build(given), source_digest="0" * 64, method="any")
        return (file.read_bytes(), given.record), len(searched)

    return made


def test_a_deeper_search_begins_with_the_rounds_of_a_shallower_one(search, kept):
    alone = [search(LAYERS - dropped, NOWHERE) for dropped in (1, 2, 3)]
    assert [rounds for _, rounds in alone] == [1, 2, 3]
    together = [search(LAYERS - dropped, kept) for dropped in (1, 3, 2)]
    assert [rounds for _, rounds in together] == [1, 2, 0]
    assert [made for made, _ in together] == [alone[0][0], alone[2][0], alone[1][0]]


def test_an_interrupted_search_goes_on_with_its_round(search, kept, monkeypatch):
    expected, _ = search(LAYERS - 3, NOWHERE)
    write, written = kept_rounds.write_text, []

    def third_is_interrupted(path: Path, text: str) -> None:
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt
        write(path, text)

    with monkeypatch.context() as patched:
        patched.setattr(kept_rounds, "write_text", third_is_interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(LAYERS - 3, kept)
    assert search(LAYERS - 3, kept) == (expected, 1)


def test_two_searches_at_once_share_their_rounds(kept):
    """The second reads what the first kept, and does not take rounds away from it."""
    chosen = []

    def choose() -> int:
        chosen.append(len(chosen))
        return chosen[-1]

    first, second = kept.rounds(int, 3, choose), kept.rounds(int, 2, choose)
    assert [next(first), next(second), next(second), next(first), next(first)] == [0, 0, 1, 1, 2]
    assert list(kept.rounds(int, 3, choose)) == [0, 1, 2] == chosen


def test_rounds_that_follow_from_others_are_not_taken(kept):
    first = kept.rounds(int, 2, iter([7, 8]).__next__)
    assert next(first) == 7
    kept.file.unlink()
    assert list(kept.rounds(int, 2, iter([1, 2]).__next__)) == [1, 2]
    assert next(first) == 8


DAMAGED = {
    "cut short": lambda text: text[:9],
    "of another format": lambda text: text.replace('"format": 1', '"format": 2'),
    "other values": lambda text: text.replace("0", "1", 1),
    "no rounds": lambda text: '{"format": 1}',
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_searched_again(search, kept, capsys, damage):
    expected, _ = search(LAYERS - 1, kept)
    whole = kept.file.read_text()
    kept.file.write_text(damage(whole))
    assert search(LAYERS - 1, kept) == (expected, 1)
    assert "the kept rounds are not used" in capsys.readouterr().err
    assert kept.file.read_text() == whole
    assert len(json.loads(whole)["rounds"]) == 1


def test_without_room_the_search_goes_on(search, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    kept = KeptRounds.of(tmp_path / "file", torch.device("cpu"))  # no folder can be made there
    expected, _ = search(LAYERS - 1, NOWHERE)
    capsys.readouterr()
    assert search(LAYERS - 1, kept) == (expected, 1)
    assert "the rounds are not kept" in capsys.readouterr().err


def test_a_build_names_its_rounds_by_all_that_decides(learning_world, tmp_path, monkeypatch):
    given = []

    def of(folder: Path, device: torch.device, **depends_on) -> KeptRounds:
        given.append((folder, device, depends_on))
        return NOWHERE

    monkeypatch.setattr(KeptRounds, "of", of)
    text, rounds = learning_world.text, tmp_path / "rounds"
    build(SMOKE, "sleb-75", learning_world.source, tmp_path / "run", text=text, rounds=rounds)
    source, preset = Checkpoint(learning_world.source), SMOKE.preset
    decides = {
        "search": "sleb",
        "seed": 0,
        "calibration": preset.calibration.model_dump(),
        "dtype": preset.compute.dtype,
        "config": source.config,
        "source": source.digest(),
        "text": PackedText(text).digest,
    }
    assert given == [(rounds, torch.device("cpu"), decides)]
