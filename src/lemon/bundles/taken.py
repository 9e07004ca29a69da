"""What is taken from a bundle, so that the workflow does not make it: the meaning of `FROM=`.

Of the bundle only its index is read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from lemon.bundles.archive import Index, read_index
from lemon.bundles.parts import (
    INFERENCE,
    OPERATORS_FILE,
    TEXT,
    PlannedPart,
    part_of_run,
    part_of_trial,
    planned_parts,
)
from lemon.configuration.paper import TableSpec, TrialsSpec
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import TIMES, Project
from lemon.configuration.tasks import ABLATION, FOLDERS
from lemon.errors import BadInput

BUNDLE_FILE = "runs.bundle"  # in the preset's folder of results
Scope = Literal["bundle", "operators", "rest"]
"""`bundle`: everything, so that tables are only rendered. `operators`: models are fused and scored
anew, except those whose weights the bundle lacks. `rest`: everything but the text, and the workflow
makes what the bundle lacks."""
SCOPES: tuple[Scope, ...] = get_args(Scope)
COMPARED_TABLE, COMPARED_ROWS = "table3", 2  # of what `make check-results` scores anew


@dataclass(frozen=True)
class Taken:
    """What is taken from a bundle.

    Attributes:
        bundle: the file; None if nothing is taken.
        scope: how much is taken.
        files: the paths in the bundle of each part that is taken, by the part's name.
        lacking: why the bundle can't give a part, by the part's name.
        fused: the runs whose models can be fused from what is taken.
    """

    bundle: Path | None = None
    scope: Scope = "rest"
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lacking: Mapping[str, str] = field(default_factory=dict)
    fused: frozenset[str] = frozenset()

    @property
    def learns(self) -> bool:
        """Whether the workflow may build and learn what is not taken."""
        return self.scope == "rest"


def taken_from(project: Project, word: str, entry: str | None = None) -> Taken:
    """What `FROM=word` takes, where `entry` of `paper.yaml` is made, or any.

    The word is a scope, for the bundle among the preset's results; or a bundle's path, of which
    everything is taken; or empty, for nothing. Raises as `index_of`.
    """
    if not word:
        return Taken()
    scope: Scope = next((scope for scope in SCOPES if scope == word), "bundle")
    bundle = _bundle_of(project, word)
    return taken(project, bundle, index_of(project, bundle), scope, entry)


def seeds_from(project: Project, word: str) -> int:
    """How many seeds of a learned row a table shows with `FROM=word`: as many as the bundle was
    packed with, else as many as the preset says. Raises as `index_of`.
    """
    packed = index_of(project, _bundle_of(project, word)).seeds if word else None
    return packed or project.preset.seeds


def _bundle_of(project: Project, word: str) -> Path:
    own = Path("results", project.preset_name, BUNDLE_FILE)
    return own if word in SCOPES else Path(word)


def index_of(project: Project, bundle: Path) -> Index:
    """The index of a bundle of this preset; BadInput if it is damaged or of another preset."""
    index = read_index(bundle)
    if index.preset != project.preset_name:
        raise BadInput(
            f"{bundle}: is a bundle of preset {index.preset!r:.80}, not of {project.preset_name}; "
            "name that preset, or another bundle"
        )
    return index


def taken(
    project: Project, bundle: Path, index: Index, scope: Scope, entry: str | None = None
) -> Taken:
    """What is taken from a bundle with this index, to make an entry of `paper.yaml`, or any."""
    planned, lacking = planned_parts(project), dict[str, str]()
    for name, part in planned.items():
        if why := _unusable(part, index, lacking):
            lacking[name] = why
    held = {name: part for name, part in planned.items() if name not in lacking}
    fused = {run.id for run in project.runs.values() if _can_be_fused(run, index, held)}
    if scope == "rest":
        entries = project.whole if entry is None else [entry]
        made = {run.id: run for name in entries for run in runs_behind(project, name)}
        shown = {
            run: [part for name in entries for part in shown_parts(project, name, run)]
            for run in made
        }
        held = _without_needed(made.values(), shown, held, fused)
    files = {
        name: tuple(sorted(index.parts[name].files))
        for name, part in held.items()
        if _is_in(part, scope, fused)
    }
    return Taken(bundle, scope, files, lacking, frozenset(fused))


def _unusable(part: PlannedPart, index: Index, lacking: Mapping[str, str]) -> str | None:
    """Why a part of a bundle can't be used; None if it can."""
    if part.name not in index.parts:
        return "is not in it"
    if index.parts[part.name].settings != part.settings:
        return "was made with other settings than the preset has now"
    return lacking.get(part_of_run(part.run)) if part.run else None


def _can_be_fused(run: PlannedRun, index: Index, held: Mapping[str, PlannedPart]) -> bool:
    """Whether a run's model follows from the source model and the bundle."""
    if not run.method.needs_target:
        return True
    name = part_of_run(run)
    weights_differ = run.own_weights is not None or run.method.pretrains
    if weights_differ or name not in held or run.source is None:
        return False
    operators = f"{name}/{OPERATORS_FILE}" in index.parts[name].files
    return operators and _can_be_fused(run.source, index, held)


def _without_needed(
    runs: Collection[PlannedRun],
    shown: Mapping[str, list[str]],
    held: Mapping[str, PlannedPart],
    fused: set[str],
) -> dict[str, PlannedPart]:
    """What is held, without runs whose models are needed and can't be fused from it.

    These are runs of which a score in `shown` is lacking, first stages of runs that must be made,
    and starts with dense width factors.
    """
    again = {
        run.id
        for run in runs
        if run.id not in fused and any(part not in held for part in shown[run.id])
    }
    kept, before = dict(held), -1
    while len(again) != before:
        before = len(again)
        kept = {n: part for n, part in held.items() if not part.run or part.run.id not in again}
        for run in runs:
            if part_of_run(run) not in kept:
                first, start = run.first_stage, run.start
                again |= {first.id} if first and first.id not in fused else set()
                again |= {start.id} if start and start.learns_widths else set()
    return kept


def _is_in(part: PlannedPart, scope: Scope, fused: set[str]) -> bool:
    match part.kind:
        case "operators" | "trial":
            return True
        case "text":
            return scope == "bundle"
    return scope != "operators" or (part.run is not None and part.run.id not in fused)


def require_enough(project: Project, taken: Taken, entry: str) -> None:
    """BadInput if something would have to be built or learned for a table or figure, and what."""
    if missing := _missing(project, taken, entry):
        more = f" (and {len(missing) - 1} others)" if len(missing) > 1 else ""
        raise BadInput(
            f"{taken.bundle}: can't give {entry} what it needs: {missing[0]} "
            f"{taken.lacking.get(missing[0], 'is not in it')}{more}; FROM=rest takes what the "
            "bundle has and makes the rest, and without FROM everything is made"
        )


def given_entries(project: Project, taken: Taken) -> list[str]:
    """The tables and figures for which nothing has to be built or learned that is not taken."""
    return [entry for entry in project.whole if not _missing(project, taken, entry)]


def runs_to_compare(project: Project, taken: Taken) -> list[str]:
    """The first learned rows of Table 3 whose models can be fused and whose scores are held, by
    their first runs; BadInput if there are too few of them.
    """
    table = project.entry(COMPARED_TABLE)
    found: list[str] = []
    for row in table.rows if isinstance(table, TableSpec) else ():
        found += [
            run
            for run in row.runs
            if project.run(run).method.learned
            and run in taken.fused
            and f"{part_of_run(project.run(run))}/{FOLDERS[ABLATION]}" not in taken.lacking
        ][:1]
    if len(found) < COMPARED_ROWS:
        raise BadInput(
            f"{taken.bundle}: holds operators and scores of {len(found)} learned rows of "
            f"{COMPARED_TABLE}, made with the settings that the preset has now, and "
            f"{COMPARED_ROWS} are compared; `make {COMPARED_TABLE}` and `make bundle` add some"
        )
    return found[:COMPARED_ROWS]


def _missing(project: Project, taken: Taken, entry: str) -> list[str]:
    """The parts that an entry needs and that nothing gives; none where the workflow learns."""
    needed = () if taken.learns else _needed(project, taken, entry)
    return [part for part in needed if part not in taken.files]


def _needed(project: Project, taken: Taken, entry: str) -> Iterator[str]:
    """The parts behind a table or figure that are not fused and scored anew."""
    if isinstance(project.entry(entry), TrialsSpec):
        yield from map(part_of_trial, project.every_trial)
        return  # what was tried is shown, and not the runs that the rates are for
    behind = runs_behind(project, entry)
    learned = any(run.method.learned for run in behind)
    if taken.scope == "bundle" and (learned or project.table_suites(entry)):
        yield TEXT
    if taken.scope == "bundle" and TIMES in project.figure_files(entry):
        yield INFERENCE
    yield from (part_of_run(run) for run in behind if run.method.needs_target)
    anew = taken.fused if taken.scope == "operators" else frozenset()
    for run in behind:
        if run.id not in anew:
            yield from shown_parts(project, entry, run.id)


def runs_behind(project: Project, entry: str) -> list[PlannedRun]:
    """The runs of a table or figure, and all that they are made from or compared with."""
    tried = isinstance(project.entry(entry), TrialsSpec)
    names = [t.run for t in project.every_trial] if tried else project.table_runs(entry)
    shown = [project.run(run) for run in dict.fromkeys(names)]
    return lineage([*shown, *(run.start_run for run in shown if run.start_run)])


def shown_parts(project: Project, entry: str, run: str) -> list[str]:
    """The outcomes and maps of a run that a table or figure shows, by the names of their parts."""
    models = [model for model, by in project.shown_models(entry).items() if by.id == run]
    suites = project.table_suites(entry)
    scores = [f"runs/{model}/{FOLDERS[suite]}" for model in models for suite in suites]
    files = [file for file in project.figure_files(entry) if file.startswith(f"{run}/similarity/")]
    return scores + [f"runs/{file}".removesuffix(".csv") for file in files]
