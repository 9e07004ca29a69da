"""The text and numbers of the claims ledger: counts, then one line a claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby

import pandas as pd

from lemon.reporting.claims.ledger import UNDECIDED, UNTESTED_VERDICT, VERDICTS, Judgement
from lemon.reporting.claims.measures import MEASURES
from lemon.reporting.claims.parts import DEPENDS, Part
from lemon.reporting.claims.verdict import BELOW_FLOOR, FAILS, HOLDS, MEASURES_IN_WORDS, UNRESOLVED
from lemon.reporting.facts.errata import Erratum
from lemon.reporting.facts.setup import Setup
from lemon.reporting.numbers import signed
from lemon.reporting.tables.document import Cell, Group, Section, WordedTable, numbers, words

TITLE = "Claims"  # begins the page, by which the command knows its own file
NOT_MADE = {
    "made": "{0} lacks this test: `make {0}` makes it anew",
    "older": "{0} is of an earlier version: `make {0}` makes it anew",
    "missing": "{0} is not made yet: `make {0}` makes it",
}
MEASURE = {measure.name: measure for measure in MEASURES}
COLUMNS = [
    *words("Claim"),
    *words("Sentence", "Verdict", "Effect", "Test and measure", wrap=True),
    *words("On other measures", "Runs", "Published", wrap=True),
    *words("From"),
]
LEGEND = [
    "A comparison is judged on one measure, named for each claim in claims.csv: answer bits per "
    "byte for claims about accuracy, held-out loss for claims about perplexity or loss, accuracy "
    "for claims about single tasks. A figure says how it measures.",
    f"{HOLDS.capitalize()}: every tested part of the claim holds. {FAILS.capitalize()}: a part "
    f"fails and none holds. {DEPENDS.capitalize()}: some parts hold and some fail, or another "
    f"measure shows the opposite. {UNDECIDED.capitalize()}: a part is not resolved, or seeds "
    "disagree on which row is better, and none fails; beside it, the smallest difference that a "
    "single test of this size shows with 80 % power.",
    "Scale alone is not excluded: the part holds, but not resolved on calibrated loss, where each "
    "model has its best temperature.",
    f"{BELOW_FLOOR.capitalize()}: no model of the comparison predicts text better than token "
    "frequencies do. Such a part has no verdict; the claim is then judged on its other parts.",
    "Effects are first minus second with the 95 % interval over documents, as in the tables: of "
    "bits per byte and loss, less is better. Tests are at 5 %, after Holm over the comparisons of "
    "the table on the measure. A claim that one is no worse is tested as being better.",
    "One seed: a row that depends on random numbers has one run, so that the verdict is about "
    "these models and not about their methods.",
]
OF_ERRATA = (
    "Recomputed from the published numbers in src/lemon/published. The ids leave out "
    "contradictions of formulas, which no number shows."
)
NOTES = [
    "The claims are about larger models and longer training; here they are tested at this preset, "
    "with the departures that each table lists.",
    "Every verdict is computed from the manifests of the tables and figures that are there.",
]


def ledger_table(setup: Setup, judgements: list[Judgement], errata: list[Erratum]) -> WordedTable:
    """The ledger: one tidy line a claim, the page, and entries of the manifest.

    The contradictions of the paper are on the page alone.
    """
    papers = {paper: [*own] for paper, own in groupby(judgements, lambda one: one.row["paper"])}
    count = Counter(one.verdict for one in judgements)
    verdicts = ", ".join(f"{verdict} {count[verdict]}" for verdict in VERDICTS)
    return WordedTable(
        pd.DataFrame([_tidy(one) for one in judgements]),
        title=f"{TITLE}, preset {setup.name}",
        subtitle=f"Source model {setup.label}. {len(judgements)} claims: {verdicts}",
        sections=[
            _counts({**papers, "All": judgements}),
            Section(
                "Claim by claim",
                COLUMNS,
                [Group(f"Claims of {paper}", [*map(_line, own)]) for paper, own in papers.items()],
            ),
            Section(
                "Where the paper contradicts itself",
                [
                    *words("Erratum", "Where"),
                    *words("Printed", "Recomputed", "What follows", wrap=True),
                ],
                [Group("", [[*vars(one).values()] for one in errata])],
                note=OF_ERRATA,
            ),
        ],
        notes=NOTES,
        manifest={"settings": setup.in_manifest()},
    )


def _counts(by_paper: dict[str, list[Judgement]]) -> Section:
    """The verdicts of each paper's claims, and of all."""
    columns = [
        *words("Paper"),
        *numbers("Claims", *map(str.capitalize, VERDICTS), "Of these not made yet"),
    ]
    lines = []
    for paper, own in by_paper.items():
        count = Counter(one.verdict for one in own)
        waiting = sum(one.verdict == UNTESTED_VERDICT and bool(one.waiting) for one in own)
        lines.append([paper, *map(str, (len(own), *(count[one] for one in VERDICTS), waiting))])
    return Section("Counts", columns, [Group("", lines)], points=LEGEND)


def _line(one: Judgement) -> list[str | Cell]:
    reason, entries = reason_of(one), _entries(one)
    tone = {HOLDS: HOLDS, FAILS: FAILS, DEPENDS: ""}  # of the others: not resolved
    verdict = Cell(
        one.verdict,
        f"({reason})" if reason else "",
        strong=one.verdict in tone,
        tone=tone.get(one.verdict, UNRESOLVED).replace(" ", "-"),
    )
    return [
        one.claim,
        one.row["claim"],
        verdict,
        "; ".join(filter(None, map(_effect, one.parts))),
        _tests(one),
        _distinct(_others(part) for part in one.tested),
        "; ".join(filter(None, map(_runs, one.parts))),
        one.row["published_margin"],
        Cell(", ".join(entries), links=tuple(entries)),
    ]


def _tidy(one: Judgement) -> dict[str, str]:
    """A line of the CSV; the parts of a claim are joined by semicolons, in one order everywhere."""

    def by_part(text_of: Callable[[Part], object]) -> str:
        return "; ".join(str(text_of(part)) for part in one.parts)

    def number(name: str) -> str:
        return by_part(lambda part: getattr(part.effect, name) if part.effect else "")

    return {
        "id": one.claim,
        "paper": one.row["paper"],
        "claim": one.row["claim"],
        "verdict": one.verdict,
        "reason": reason_of(one),
        "measure": one.row["measure"],
        "verdict_of_part": by_part(lambda part: part.verdict),
        "effect": number("difference"),
        "ci_low": number("low"),
        "ci_high": number("high"),
        "could_show": number("detectable"),
        "unit": MEASURE[one.row["measure"]].unit if any(part.effect for part in one.parts) else "",
        "measured": by_part(lambda part: part.measured),
        "on_other_measures": by_part(_others),
        "test": _tests(one),
        "runs": by_part(_runs),
        "published": one.row["published_margin"],
        "from": ", ".join(_entries(one)),
    }


def reason_of(one: Judgement) -> str:
    """What is to be said of a verdict: why there is none, on what it depends, how little it is."""
    said = []
    if one.verdict == DEPENDS:
        own = f"on {MEASURES_IN_WORDS[one.row['measure']]}" if one.row["measure"] else ""
        parts = (
            f"{_place(part)} "
            + (f"{part.found} {own}, {_others(part)}" if part.verdict == DEPENDS else part.verdict)
            for part in one.tested
        )
        said.append(f"on {one.depends_on}: {', '.join(parts)}")
    said += [
        f"seeds disagree on {_place(part)}: better in {part.effect.right} of {part.effect.pairs}"
        for part in one.tested
        if part.effect and part.seeds_disagree
    ]
    effects = [part.effect for part in one.parts if part.effect]
    detectable = [effect.detectable for effect in effects if effect.verdict == UNRESOLVED]
    if one.verdict == UNDECIDED and detectable:
        measure = MEASURE[one.row["measure"]]
        shown = f"{max(detectable):.{measure.decimals}f} {measure.unit}"
        said.append(f"a single test of this size shows {shown} with 80 % power")
    said += [f"not tested: {reason}" if one.tested else reason for reason in one.reasons]
    holding = [part for part in one.tested if part.verdict == HOLDS]
    if scale := [part for part in holding if part.may_be_scale]:
        names = "" if scale == holding else f": {', '.join(map(_place, scale))}"
        said.append(f"scale alone is not excluded{names}")
    left_out = [_place(part) for part in one.parts if part.verdict == BELOW_FLOOR]
    if one.tested:
        said += [f"below the floor: {', '.join(left_out)}"] if left_out else []
        said += ["one seed"] if any(part.seeds == 1 for part in one.tested) else []
        said += [] if any(part.trained for part in one.tested) else ["nothing trained"]
    said += [NOT_MADE[entry.state].format(entry.name) for entry in one.waiting]
    return "; ".join(dict.fromkeys(said))


def _others(part: Part) -> str:
    return ", ".join(f"{verdict} on {MEASURES_IN_WORDS[m]}" for m, verdict in part.others.items())


def _place(part: Part) -> str:
    return f"{part.compared} ({part.layers} layers)" if part.layers else part.entry


def _effect(part: Part) -> str:
    if part.effect is None or part.measured:
        return part.measured
    measure = MEASURE[part.measure or ""]
    value, low, high = (
        signed(number, measure.decimals)
        for number in (part.effect.difference, part.effect.low, part.effect.high)
    )
    return f"{value} [{low}, {high}] {measure.unit}"


def _tests(one: Judgement) -> str:
    measure = one.row["measure"]
    named = f" on {MEASURES_IN_WORDS[measure]}" if measure else ""
    return _distinct(f"{part.test}{named}" for part in one.parts if part.test)


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(filter(None, texts)))


def _runs(part: Part) -> str:
    """The runs of a part, with the depth and how many seeds a row has."""
    seeds = f"{part.seeds} seed{'s' if part.seeds > 1 else ''}" if part.seeds else ""
    aside = ", ".join(filter(None, [f"{part.layers} layers" if part.layers else "", seeds]))
    return " ".join(filter(None, [part.compared, f"({aside})" if aside else ""]))


def _entries(one: Judgement) -> list[str]:
    return list(
        dict.fromkeys(name for part in one.parts for name in part.entry.split(", ") if name)
    )
