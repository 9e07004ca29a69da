"""The runs of a table as records for a tracker: parameters, metrics, tags, files.

Everything is read from the files that the jobs wrote; the same files give equal records. A run has
one record, whichever of its tables asks for it, and so has a row of the paper.
"""

from __future__ import annotations

from pathlib import Path

from lemon.configuration.paper import PaperEntry, TableSpec
from lemon.configuration.project import Project
from lemon.configuration.tasks import suites
from lemon.errors import BadInput
from lemon.files.manifest import checked_file, read_manifest
from lemon.reporting.claims.verdict import ordering_in_words, pair_in_words
from lemon.reporting.facts.outcomes import RunResult, read_run, require_same_documents
from lemon.reporting.figures.figure_numbers import read_numbers
from lemon.tracking.metrics import published_scores
from lemon.tracking.places import Place, places, tags_of
from lemon.tracking.record import Record, code_tags, final_metrics, finished_ms, started_ms
from lemon.tracking.run_records import mean_of_seeds, reproduced, texts

PAPER, SUMMARY = "paper", "table"
PAPER_PUBLISHED_MS = 1_722_470_400_000  # 1 August 2024, ACL 2024: the date of the paper's rows


def table_records(project: Project, table: str, runs: Path, results: Path) -> list[Record]:
    """All records of a table: the table itself, each published row, each run, and where a row has
    several seeds, before them, their mean.

    Tables and figures without scores have only the first. BadInput if a run is not evaluated or the
    table is not rendered.
    """
    entry = project.entry(table)
    records = [_summary(project, table, results)]
    if not isinstance(entry, TableSpec):
        return records
    needed = project.table_suites(table)
    results_of = {run: _results(project, run, needed, runs) for run in project.table_runs(table)}
    for suite in needed:
        tasks = [task for task in entry.tasks if task in project.suite(suite).tasks]
        require_same_documents({run: found[suite] for run, found in results_of.items()}, tasks)
    everywhere = places(project)
    for place in (place for place in everywhere if place.table == table):
        if place.published is not None:
            records.append(_published(project, place, everywhere))
        seeds = [
            reproduced(project, project.run(run), results_of[run], everywhere, runs)
            for run in place.row.runs
        ]
        records += [mean_of_seeds(project, seeds, place, everywhere)] if len(seeds) > 1 else []
        records += seeds
    return list({record.key: record for record in records}.values())


def _results(
    project: Project, run: str, needed: tuple[str, ...], runs: Path
) -> dict[str, RunResult]:
    """The results of a run by suite, those needed and others that are whole.

    A suite that is being written belongs to another table, which will record it.
    """
    found = {}
    for suite in suites(project.preset.evaluation).values():
        try:
            found[suite.name] = read_run(runs, run, suite.tasks, suite.name)
        except BadInput:
            if suite.name in needed:
                raise
    return found


def _published(project: Project, place: Place, everywhere: list[Place]) -> Record:
    """A row of the paper, with its scores in all tables that show it."""
    paper, file = place.published, str(place.spec.published).removesuffix(".csv")
    assert paper is not None
    same = [
        other
        for other in everywhere
        if other.published == paper and other.spec.published == place.spec.published
    ]
    scores: dict[str, float] = {}
    for other in same:
        scores = published_scores(paper, other.spec.tasks) | scores
    tags = {
        "source": PAPER,
        "preset": project.preset_name,
        "method": same[0].row.label if same[0].row.target else paper.method,
        "layers": paper.layers,
        **tags_of(same),
    }
    return Record(
        key=f"paper/{file}/{paper.method}/{paper.layers}",
        name=f"paper: {paper.method}, {paper.layers} layers",
        started_ms=PAPER_PUBLISHED_MS,
        ended_ms=PAPER_PUBLISHED_MS,
        tags=texts(tags),
        metrics=final_metrics(scores),
    )


def _summary(project: Project, name: str, results: Path) -> Record:
    """The rendered table or figure as one record with its files."""
    entry: PaperEntry = project.entry(name)
    kind = "figure" if entry.is_figure else "table"
    files = sorted((results / f"{kind}s").glob(f"{name}.*"))
    path = results / f"{kind}s" / f"{name}.manifest.json"
    if path not in files:
        raise BadInput(f"{path}: the {kind} is not rendered; run `lemon {kind} --{kind} {name}`")
    manifest = read_manifest(path)
    for file in manifest.get("files", {}):
        checked_file(path.with_name(file), path)
    words = read_numbers(path.parent, name).words if kind == "figure" else None
    verdicts = {}  # of each tested ordering, named by the first run of each row
    for test in manifest.get("comparisons", []):
        whose = test["claim"] or ("ours" if test["published_difference"] is None else "paper")
        verdicts[f"{whose}/{pair_in_words(test)}"] = ordering_in_words(test)
    tags = {
        "source": SUMMARY,
        **{"preset": project.preset_name, "table": name},
        **code_tags(manifest),
        "config_digest": project.digest(),
        **verdicts,
        **{f.claim: f.verdict for f in (words.findings if words else []) if f.claim},
    }
    return Record(
        key=f"{project.preset_name}/tables/{name}",
        name=f"{name}: files and pictures",
        started_ms=started_ms(manifest, path),
        ended_ms=finished_ms(manifest, path),
        tags=texts(tags),
        description=words.as_markdown() if words else entry.title,
        files=sorted({*files, *(results / "figures").glob(f"{name}.*")}),
    )
