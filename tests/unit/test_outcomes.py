"""The file of a task's outcomes, sealed and unfinished."""

from __future__ import annotations

from pathlib import Path

import pytest

from lemon.evaluation.outcomes import Outcome, UnfinishedOutcomes, read_outcomes, write_outcomes

KEY = {"weights": "abc", "rows": "def"}


def outcome(id: int) -> Outcome:
    return Outcome(id, 1, id % 2 == 0, True, None if id == 3 else False, [-0.1 * id, -1e-9], [3, 4])


def test_outcomes_come_back_sorted_and_exact(tmp_path: Path) -> None:
    path = tmp_path / "sciq.parquet"
    write_outcomes(path, [outcome(3), outcome(0), outcome(1)], KEY)
    assert read_outcomes(path, dict(reversed(KEY.items()))) == [outcome(0), outcome(1), outcome(3)]
    first = path.read_bytes()
    write_outcomes(path, [outcome(0), outcome(1), outcome(3)], KEY)
    assert path.read_bytes() == first
    assert [file.name for file in tmp_path.iterdir()] == ["sciq.parquet"]


def test_outcomes_of_another_key_or_a_damaged_file_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "sciq.parquet"
    assert read_outcomes(path, KEY) is None
    write_outcomes(path, [outcome(0)], KEY)
    assert read_outcomes(path, {**KEY, "rows": "other"}) is None
    path.write_bytes(path.read_bytes()[:-20])
    assert read_outcomes(path, KEY) is None


@pytest.mark.parametrize("cut", [1, 30])
def test_unfinished_outcomes_lose_a_cut_line_alone(tmp_path: Path, cut: int) -> None:
    sealed = tmp_path / "sciq.parquet"
    UnfinishedOutcomes(sealed, KEY).append([outcome(0), outcome(1)])
    UnfinishedOutcomes(sealed, KEY).append([outcome(2)])
    [file] = tmp_path.iterdir()
    text = file.read_text()
    file.write_text(text[:-cut])
    resumed = UnfinishedOutcomes(sealed, KEY)
    assert resumed.outcomes == {0: outcome(0), 1: outcome(1)}
    resumed.append([outcome(2)])
    assert file.read_text() == text
    resumed.remove()
    assert not list(tmp_path.iterdir())


def test_unfinished_outcomes_of_another_key_are_dropped(tmp_path: Path) -> None:
    sealed = tmp_path / "sciq.parquet"
    UnfinishedOutcomes(sealed, KEY).append([outcome(0)])
    assert UnfinishedOutcomes(sealed, {**KEY, "weights": "other"}).outcomes == {}
    assert UnfinishedOutcomes(sealed, KEY).outcomes == {}
