"""The rows of the paper's tables as they are printed."""

from __future__ import annotations

import pytest

from lemon.errors import BadInput
from lemon.published.tables import published_row, published_rows


def test_printed_averages_stay_and_three_of_table3_are_not_the_mean_of_their_cells() -> None:
    rows = published_rows("table3")
    assert len(rows) == 13
    off = {
        (row.method, row.layers): (row.average, round(row.mean_over(row.scores) or 0, 2))
        for row in rows
        if abs((row.average or 0) - (row.mean_over(row.scores) or 0)) > 0.05
    }
    assert off == {
        ("Avg", 24): (38.4, 38.46),
        ("LEMON-Prune", 24): (60.4, 60.48),
        ("Cut", 16): (40.0, 39.94),
    }


def test_unknown_published_rows_are_named() -> None:
    with pytest.raises(BadInput, match="no row 'Cut' with 23 layers; it has LLaMA2-7B"):
        published_row("table3", "Cut", 23)
