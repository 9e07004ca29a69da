"""What a reader sees of a table of sizes, as text: sections of plain columns, laid out anywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading; `words` are set to the left, numbers to the right."""

    name: str
    words: bool = False


@dataclass(frozen=True)
class Group:
    """Lines that belong together, under a heading of their own where there is one."""

    heading: str
    lines: list[list[str]]


@dataclass(frozen=True)
class SizesSection:
    """One table of the page; `drawn` says whether the picture shows it."""

    heading: str
    columns: list[Column]
    groups: list[Group]
    note: str = ""
    drawn: bool = True


@dataclass(frozen=True)
class SizesDocument:
    """A table of sizes ready to be laid out."""

    title: str
    subtitle: str
    sections: list[SizesSection]
    notes: list[str]


def table_title(table: str, caption: str) -> str:
    """The caption with the table's number."""
    return f"Table {table.removeprefix('table')}. {caption}"


def count(number: int) -> str:
    """An exact count: `6,738,415,616`."""
    return f"{number:,}"


def signed_count(number: int) -> str:
    """A difference of counts with its sign; `0` where they agree."""
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}") if number else "0"


def millions(number: int) -> str:
    """A count to read: `695.2M`, `2.62M`, below a million exact."""
    if number < 1_000_000:
        return count(number)
    return f"{number / 1e6:.1f}M" if number >= 100_000_000 else f"{number / 1e6:.2f}M"


def percent(share: float, digits: int = 1) -> str:
    """A share: `25.7 %`."""
    return f"{100 * share:.{digits}f} %"
