"""Formats numbers and sizes for tables and figures."""

from __future__ import annotations

import math

from lemon.architecture import LlamaShape

MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def rounded_perplexity(value: float) -> str:
    """Three significant digits: 22.4, 412, 9,210, 2.61×10⁷."""
    if not math.isfinite(value):
        return "∞"
    if value >= 99_950:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    if value >= 99.95:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:#.3g}"


def three_digits(value: float) -> str:
    """Three significant digits, whole numbers from 1,000 on: 0.123, 12.3, 1,234."""
    return f"{value:#.3g}".rstrip(".") if value < 999.5 else f"{value:,.0f}"


def signed(value: float, digits: int = 1) -> str:
    """A number with a sign (typographic minus), or without one if it rounds to zero."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("+" if value > 0 else MINUS) + text


def points(percent: float | None) -> str:
    """Percent to one decimal; empty for None."""
    return "" if percent is None else f"{percent:.1f}"


def interval(low: float, high: float, digits: int = 1) -> str:
    """A 95 % interval: `41.2–45.0`."""
    return f"{low:.{digits}f}{DASH}{high:.{digits}f}"


def p_value(value: float) -> str:
    """A p value: `0.031`, `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """A time: `42 s`, `6.4 min`, `2.1 h`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.95 * 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def count(number: float) -> str:
    """An exact count: `6,738,415,616`."""
    return f"{number:,.0f}"


def signed_count(number: int) -> str:
    """A difference of counts with its sign; `0` without one."""
    return f"{number:+,}".replace("-", MINUS) if number else "0"


def millions(number: int) -> str:
    """A rounded count: `695.2M`, `2.62M`; exact below a million."""
    if number < 1_000_000:
        return count(number)
    return f"{number / 1e6:.1f}M" if number >= 100_000_000 else f"{number / 1e6:.2f}M"


def with_prefix(number: float) -> str:
    """Three significant digits with a metric prefix: `219 M`, `81.3 T`; whole below a thousand."""
    if number < 999.5:
        return count(number)
    size = next(
        n for n, _ in enumerate(PREFIXES) if number < 999.5 * 1000**n or n + 1 == len(PREFIXES)
    )
    return f"{three_digits(number / 1000**size)} {PREFIXES[size]}"


def percent(share: float, digits: int = 1) -> str:
    """A share: `25.7 %`."""
    return f"{100 * share:.{digits}f} %"


def widths_in_words(shape: LlamaShape) -> str:
    """The widths of a model: `576, FFN 1536, 9 heads of 64 (3 key/value)`."""
    shared = shape.num_key_value_heads
    keys = f" ({shared} key/value)" if shared != shape.num_attention_heads else ""
    heads = f"{shape.num_attention_heads} heads of {shape.head_dim}{keys}"
    return f"{shape.hidden_size}, FFN {shape.intermediate_size}, {heads}"
