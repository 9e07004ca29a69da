"""Rounds of a search that are kept: other depths, an interrupted build, damaged files."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from calibrated_models import LAYERS, context

from lemon.methods import come, come_posterior, come_sum, sleb
from lemon.methods.kept_rounds import KeptRounds
from lemon.operators.file import save_operators

SEARCHES = {come: come, come_posterior: come, come_sum: come_sum, sleb: sleb}
STEPS = {come: "measure", come_sum: "measure", sleb: "losses_without_each"}


@pytest.fixture(params=SEARCHES, ids=lambda builder: builder.__name__.rpartition(".")[2])
def search(request, source, calibration, monkeypatch, tmp_path):
    """Build to a depth with the rounds in a folder: the file's bytes, and the rounds searched."""
    module = SEARCHES[request.param]
    step, searched = getattr(module, STEPS[module]), []

    def counted(*arguments):
        searched.append(module)
        return step(*arguments)

    monkeypatch.setattr(module, STEPS[module], counted)

    def build(depth: int, kept: KeptRounds) -> tuple[bytes, int]:
        searched.clear()
        given = replace(context(source, calibration, depth), kept_rounds=kept)
        file = tmp_path / "operators.safetensors"
        save_operators(file, request.param.build(given), source_digest="0" * 64, method="any")
        return file.read_bytes(), len(searched)

    return build


def test_a_deeper_search_begins_with_the_rounds_of_a_shallower_one(search, tmp_path):
    kept = KeptRounds.of(tmp_path, seed=0)
    alone = [search(depth, KeptRounds()) for depth in (LAYERS - 1, LAYERS - 3)]
    assert [rounds for _, rounds in alone] == [1, 3]
    together = [search(depth, kept) for depth in (LAYERS - 1, LAYERS - 3, LAYERS - 2)]
    assert [rounds for _, rounds in together] == [1, 2, 0]
    assert [file for file, _ in together[:2]] == [file for file, _ in alone]
    assert together[2] == (search(LAYERS - 2, KeptRounds())[0], 0)


def test_an_interrupted_search_goes_on_with_its_round(search, tmp_path, monkeypatch):
    kept = KeptRounds.of(tmp_path, seed=0)
    expected, _ = search(LAYERS - 3, KeptRounds())
    with monkeypatch.context() as patched:

        def full(*_) -> None:
            raise KeyboardInterrupt

        write = kept.rounds.__globals__["write_text"]
        writes = iter([write, write, full])
        patched.setitem(kept.rounds.__globals__, "write_text", lambda *a: next(writes)(*a))
        with pytest.raises(KeyboardInterrupt):
            search(LAYERS - 3, kept)
    assert search(LAYERS - 3, kept) == (expected, 1)


@pytest.mark.parametrize("damage", ["[", '[{"first": "0"}]', '{"a": 1}'])
def test_a_damaged_file_is_searched_again(search, tmp_path, capsys, damage):
    kept = KeptRounds.of(tmp_path, seed=0)
    kept.file.write_text(damage)
    expected, _ = search(LAYERS - 1, KeptRounds())
    assert search(LAYERS - 1, kept) == (expected, 1)
    assert "the kept rounds are not used" in capsys.readouterr().err
    assert len(json.loads(kept.file.read_text())) == 1


def test_without_room_the_search_goes_on(search, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    kept = KeptRounds.of(tmp_path / "file", seed=0)  # a folder that cannot be made
    expected, _ = search(LAYERS - 1, KeptRounds())
    capsys.readouterr()
    assert search(LAYERS - 1, kept) == (expected, 1)
    assert "the rounds are not kept" in capsys.readouterr().err


def test_the_file_is_named_by_all_that_decides(tmp_path):
    one = KeptRounds.of(tmp_path, search="come", seed=0)
    assert one == KeptRounds.of(tmp_path, search="come", seed=0)
    assert one != KeptRounds.of(tmp_path, search="come", seed=1)
    assert one != KeptRounds.of(tmp_path, search="come-posterior", seed=0)
