"""Contradictions between the paper's scores and its averages, marks and sentences, recomputed.

Every number is read from `lemon.published` or computed from it; what follows is said in words. The
ids leave out contradictions that no published number shows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from lemon.published.tables import (
    AVERAGE,
    PublishedRow,
    published_row,
    published_rows,
    published_table,
    published_text,
)
from lemon.reporting.numbers import signed

SOURCE = "LLaMA2-7B"
FIVE = ("sciq", "piqa", "winogrande", "arc_easy", "logiqa")
PAIRS = (("LEMON-1.3B", "Sheared-LLaMA-1.3B", 24), ("LEMON-2.7B", "Sheared-LLaMA-2.7B", 32))
DEPTHS = (24, 16)  # layers


@dataclass(frozen=True)
class Erratum:
    """A contradiction: what is printed, what the paper's other numbers give, what follows."""

    id: str
    where: str
    printed: str
    recomputed: str
    follows: str

    @property
    def number(self) -> int:
        """The number of its first id, by which errata are ordered."""
        return int(self.id.partition(",")[0].removeprefix("E"))


def errata_of_scores() -> list[Erratum]:
    """The contradictions in Tables 2, 3, 4 and 7, in the order of their ids."""
    return [
        _averages("E1, E2", "table2", _leads()),
        _averages("E3", "table3", "tables here print both means"),
        _averages("E4", "table4", "tables here print both means"),
        _second_source(),
        _swapped(),
        _two_sources(),
        _bold(),
        _gains(),
        _starts(),
        _lost_tasks(),
    ]


def _averages(id: str, table: str, follows: str) -> Erratum:
    """Averages that are not the rounded mean of their row's cells."""
    off = []
    for row in published_rows(table):
        mean = row.mean_over(row.scores)
        if row.average is not None and mean is not None and f"{mean:.1f}" != f"{row.average:.1f}":
            off.append((row, mean))
    named = [f"{row.method} ({row.layers})" for row, _ in off]
    return Erratum(
        id,
        _title(table),
        _listed(f"{n} {row.average:.1f}" for n, (row, _) in zip(named, off, strict=True)),
        _listed(f"{n} {mean:.2f}" for n, (_, mean) in zip(named, off, strict=True)),
        follows,
    )


def _leads() -> str:
    """The leads of LEMON over Sheared-LLaMA by the cells of Table 2."""
    leads = [
        _mean(published_row("table2", one, layers)) - _mean(published_row("table2", other, layers))
        for one, other, layers in PAIRS
    ]
    words = " and ".join(signed(lead, 2) for lead in leads)
    return f"the leads of LEMON over Sheared-LLaMA are {words} (C01, C02)"


def _second_source() -> Erratum:
    printed = published_row("table7", "ShearedLLaMA-2.7B", 32).average
    cells = published_row("table2", "Sheared-LLaMA-2.7B", 32).mean_over(FIVE)
    return Erratum(
        "E5",
        "Tables 2, 7",
        f"Sheared-LLaMA-2.7B {printed:.1f} on five tasks in Table 7",
        f"{cells:.2f} from the five cells of Table 2",
        "evaluated anew, or another checkpoint; do not mix the two tables",
    )


def _swapped() -> Erratum:
    source, child = (
        published_row("table2", method, 32).scores for method in (SOURCE, "Sheared-LLaMA-2.7B")
    )
    names = ("lambada_openai", "nq_open")
    shown = [f"LAMBADA {row[names[0]]:.1f}, NQ {row[names[1]]:.1f}" for row in (source, child)]
    return Erratum(
        "E6",
        "Table 2",
        f"{SOURCE}: {shown[0]}",
        f"its pruned model Sheared-LLaMA-2.7B: {shown[1]}",
        "the two are very likely swapped; the average is the same",
    )


def _two_sources() -> Erratum:
    one, other = (published_row(table, SOURCE, 32).scores for table in ("table2", "table3"))
    apart = [task for task in FIVE if one[task] != other[task]]
    return Erratum(
        "E7",
        "Tables 2, 3",
        _listed(f"{task} {one[task]:.1f}" for task in apart) + f" of {SOURCE} in Table 2",
        _listed(f"{task} {other[task]:.1f}" for task in apart) + " in Table 3",
        "Table 2 quotes, Table 3 measures again; their rows are not mixed here",
    )


def _bold() -> Erratum:
    """Cells that are bold and not the best of their block, or the other way round."""
    bold, plain = [], []
    for table in ("table2", "table3", "table4"):
        blocks: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for cell in published_table(table):
            if cell["method"] != SOURCE and cell["task"] != AVERAGE:
                blocks[cell["layers"], cell["task"]].append(cell)
        for (layers, task), cells in blocks.items():
            best = max(float(cell["value"]) for cell in cells)
            for cell in cells:
                text = f"{_title(table)}, {layers} layers, {task}: {cell['method']} {cell['value']}"
                is_bold, is_best = cell["is_best_in_paper"] == "1", float(cell["value"]) == best
                bold += [text] if is_bold and not is_best else []
                plain += [text] if is_best and not is_bold else []
    return Erratum(
        "E9",
        "Tables 2, 3, 4",
        f"bold, not the best: {_listed(bold)}",
        f"best, not bold: {_listed(plain)}",
        "tables here recompute the best of each column",
    )


def _gains() -> Erratum:
    """The gains that section 4.4 quotes, beside those of Table 3."""
    text = published_text()

    def table(first: str, second: str) -> str:
        gains = [_average("table3", first, n) - _average("table3", second, n) for n in DEPTHS]
        return " / ".join(signed(gain) for gain in gains)

    def quoted(what: str) -> str:
        return " / ".join(signed(float(text[f"gain_over_{what}_{layers}"])) for layers in DEPTHS)

    return Erratum(
        "E11",
        "4.4, Table 3",
        f"{quoted('start')} over the start and {quoted('pruning')} over pruning, 24 / 16 layers",
        f"LEMON-Cut over Cut {table('LEMON-Cut', 'Cut')}, over Shear "
        f"{table('LEMON-Cut', 'Shear')}; LEMON-Prune over Shear {table('LEMON-Prune', 'Shear')}",
        "the margins of C09 to C12 are those of the table",
    )


def _starts() -> Erratum:
    """In how many published cases the better start gives the better result."""
    cases = []
    for table, suffix in (("table3", ""), ("table7", "@ShearedLLaMA-2.7B")):
        for layers in DEPTHS:
            cut, shear, from_cut, from_shear = (
                _average(table, method + suffix, layers)
                for method in ("Cut", "Shear", "LEMON-Cut", "LEMON-Prune")
            )
            cases.append((cut > shear) == (from_cut > from_shear))
    return Erratum(
        "E12",
        "4.4, Tables 3, 7",
        "a better start gives a better fused model",
        f"so in {sum(cases)} of {len(cases)} cases",
        "open; C16 tests it on more starts",
    )


def _lost_tasks() -> Erratum:
    lost, total = [], 0
    for one, other, layers in PAIRS:
        first, second = (published_row("table2", name, layers).scores for name in (one, other))
        total = len(first)
        below = [task for task in first if first[task] < second[task]]
        lost += [f"{one}: {task} {first[task]} < {second[task]}" for task in below]
    return Erratum(
        "E17",
        "1, 4.3, Table 2",
        f"better than Sheared-LLaMA on {total} tasks",
        f"{_listed(lost)}",
        "C04 is of all tasks but one",
    )


def _title(table: str) -> str:
    return f"Table {table.removeprefix('table')}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _mean(row: PublishedRow) -> float:
    return sum(row.scores.values()) / len(row.scores)


def _average(table: str, method: str, layers: int) -> float:
    return published_row(table, method, layers).average or 0.0
