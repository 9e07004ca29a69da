"""How tables write numbers."""

from __future__ import annotations

import pytest

from lemon.reporting.numbers import rounded_perplexity, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (22.44, "22.4"),
        (99.99, "100"),
        (412.3, "412"),
        (9213.0, "9,210"),
        (26_000_000.0, "2.60×10⁷"),
        (float("inf"), "∞"),
    ],
)
def test_perplexities_keep_three_digits(value: float, text: str) -> None:
    assert rounded_perplexity(value) == text


def test_signs() -> None:
    assert [signed(v) for v in (1.25, -0.04, -3.0)] == ["+1.2", "0.0", "\N{MINUS SIGN}3.0"]
