"""The numbers and text of Table 1: shapes and counts of the operators."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import pandas as pd

from lemon.published.models import LLAMA2_13B, LLAMA2_13B_LABEL, narrowed
from lemon.reporting.facts.operator_sizes import FAMILIES, PAPER_RADII, PAPER_SMALL
from lemon.reporting.numbers import count, millions, percent, signed_count
from lemon.reporting.tables.document import Column, Group, Section, WordedTable, numbers, words


def operator_sizes_table(frame: pd.DataFrame) -> WordedTable:
    """The table: compared with the paper, at all presets' radii, and by operator family.

    `frame` has the lines of `family_lines` for each pair of models.
    """
    pairs = [own for _, own in frame.groupby(frame.index // len(FAMILIES))]
    beside_paper = next(own for own in pairs if own["published_count"].notna().all())
    return WordedTable(
        frame.convert_dtypes(),
        subtitle=f"Computed from the shapes of {len(pairs)} pairs of models and radii; Table 4 "
        "says how the paper's radii are mapped",
        sections=[_beside_paper(beside_paper), _totals(pairs), _families(pairs)],
        notes=_notes(pairs, beside_paper),
    )


def _beside_paper(pair: pd.DataFrame) -> Section:
    """The only case with published counts."""
    first = pair.iloc[0]
    lines = [
        [
            line.operator,
            line.published_symbol.replace("gamma", "γ"),
            line.published_shape.replace("*", "·"),
            _factor(line),
            *(count(line.count_), count(line.published_count)),
            signed_count(int(line.count_difference)),
            *(count(line.count_first_power), count(line.published_count_first_power)),
            signed_count(int(line.first_power_difference)),
            *_ratio_and_share(line),
        ]
        for line in _lines(pair)
    ]
    return Section(
        f"{first.source} to {PAPER_SMALL}, r = {first.radius_ffn} on every axis, beside the paper",
        [
            *words("Operator", "Symbol", "Shape as printed", "Small factors"),
            *numbers("Count, r²", "Published, r²", "Difference"),
            *numbers("Count, first power", "Published, first power", "Difference"),
            *numbers("Ratio", "Share of small model"),
        ],
        [Group("", lines)],
        "Published: the counts of published/table1.csv, worked from the paper's formulas, since it "
        "prints none.",
        drawn=True,
    )


def _totals(pairs: list[pd.DataFrame]) -> Section:
    return Section(
        "At the radii of Table 4",
        [
            *words("Radii in the paper", "r_h, r_a, r_i"),
            *numbers("B", "A_attn", "A_ffn", "All, r²", "All, first power", "Ratio"),
            *numbers("Small model", "Share of it, r²", "Share, first power"),
        ],
        [Group(heading, [*map(_total, own)]) for heading, own in groupby(pairs, _heading)],
        "All: what is trained, without the identity between equal depths. Counts from a million "
        "on are rounded; the CSV has them exactly.",
        drawn=True,
    )


def _total(pair: pd.DataFrame) -> list[str]:
    first, (squared, printed) = pair.iloc[0], _trained(pair)
    return [
        first.radii,
        f"{first.radius_hidden}, {first.radius_attention}, {first.radius_ffn}",
        *map(millions, pair["count"][1:]),
        millions(squared),
        millions(printed),
        f"{printed / squared:.2f}",
        millions(first.small_model_parameters),
        percent(squared / first.small_model_parameters),
        percent(printed / first.small_model_parameters),
    ]


def _trained(pair: pd.DataFrame) -> tuple[int, int]:
    """Entries of all trained operators, and by Table 1's formula, with the first power of r."""
    learned = pair[pair["learned"] == "true"]
    return int(learned["count"].sum()), int(learned["count_first_power"].sum())


def _families(pairs: list[pd.DataFrame]) -> Section:
    """All families of all pairs, with their small factors; too long for the picture."""
    return Section(
        "Every operator",
        [
            *words("Operator"),
            Column("r"),
            *words("Small factors", "Trained"),
            *numbers("Count, r²", "Count, first power", "Ratio", "Share of small model"),
        ],
        [
            Group(f"{_heading(pair)}, radii {pair.iloc[0].radii}", [*map(_family, _lines(pair))])
            for pair in pairs
        ],
    )


def _lines(pair: pd.DataFrame) -> list[Any]:
    """Its lines as tuples with names, in which `count` would be a method."""
    return [*pair.rename(columns={"count": "count_"}).itertuples()]


def _family(line: Any) -> list[str]:
    radius = 1 if line.operator == "layer" else line.count_first_power // line.count_
    return [
        line.operator,
        str(radius),
        _factor(line),
        "yes" if line.learned == "true" else "no, the identity",
        count(line.count_),
        count(line.count_first_power),
        *_ratio_and_share(line),
    ]


def _ratio_and_share(line: Any) -> tuple[str, str]:
    share = percent(line.count_ / line.small_model_parameters, 2)
    return f"{line.count_first_power / line.count_:.3g}", share


def _factor(line: Any) -> str:
    return f"{line.factors} × [{line.factor_rows}, {line.factor_columns}]"


def _heading(pair: pd.DataFrame) -> str:
    first = pair.iloc[0]
    preset = f", preset {first.preset}" if pd.notna(first.preset) else ""
    return f"{first.source} to {first.target}{preset}"


def _notes(pairs: list[pd.DataFrame], beside_paper: pd.DataFrame) -> list[str]:
    gamma, (squared, printed) = beside_paper.iloc[0], _trained(beside_paper)
    depth = gamma.factor_columns
    notes = [
        "Equation 3 and footnote 2 of the paper put r² into the denominator, as a small factor has "
        "[out / r, in / r] entries; Table 1 prints the first power of r (E20). For "
        f"{gamma.source} to {PAPER_SMALL} with r = {gamma.radius_ffn} that is "
        f"{millions(printed)} against {millions(squared)}, {printed / squared:.3g} times as much.",
        f"The layer operator is one [L2, L1] matrix for each of nine types: {count(gamma['count'])}"
        f" = 9 × {gamma.factor_rows} × {depth} entries here, where Table 1 prints one vector of "
        f"{count(gamma.count_first_power)}. From {depth} to {depth} layers it is the identity and "
        "is not trained.",
        "Attention and FFN operators are counted over all source layers, since widths are fused "
        "before depth; B is one for the whole model.",
    ]
    finer = PAPER_RADII.hidden
    wider = next((pair for pair in pairs if pair.iloc[0].radius_hidden != finer), None)
    if wider is not None:
        (squared, _), hidden = _trained(wider), wider.iloc[1]
        same = squared - hidden["count"]  # of the operators on other axes
        with_finer = same + hidden["count"] * hidden.radius_hidden**2 // finer**2
        notes.append(
            "The paper names r_a and r_i; r_h is taken to be r_i. "
            f"With r_h = {finer} instead of {hidden.radius_hidden}, "
            f"{hidden.radii} of {hidden.source} to {hidden.target} would have "
            f"{millions(with_finer)} entries instead of {millions(squared)}."
        )
    grouped: dict[str, str] = {}
    for line in (pair.iloc[2] for pair in pairs):
        if line.count_on_query_axis > line["count"]:
            smaller = f"{count(line['count'])} instead of {count(line.count_on_query_axis)}"
            grouped.setdefault(line.preset, f"{line.source} {smaller} ({line.radii})")
    if grouped:
        notes.append(
            "With grouped-query attention the attention operator acts on the key/value axis, and "
            "the query heads of a group are mixed as their key/value head is; its count is smaller "
            "than the paper's formula, which has the query axis, by the square of the group: "
            f"{'; '.join(grouped.values())}."
        )
    source, target = LLAMA2_13B, narrowed(LLAMA2_13B)
    notes.append(
        f"The paper narrows no {LLAMA2_13B_LABEL}; its sizes here follow the rule that fits Table "
        "5 (E41), 62.5 % of each width rounded up to a multiple of 128: hidden "
        f"{target.hidden_size}, FFN {target.intermediate_size} (62.5 % is "
        f"{source.intermediate_size * 5 / 8:g}), {target.num_attention_heads} heads. Its radii are "
        "the paper's."
    )
    return notes
