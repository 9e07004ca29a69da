"""Read and check a preset and all files that it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lemon.configuration.assets import Asset, Assets
from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.given_models import given_models, given_shape, with_shapes
from lemon.configuration.inheritance import preset_document, preset_path
from lemon.configuration.methods import SECOND_SIZE
from lemon.configuration.paper import Paper, PaperEntry, TableRow, TableSpec, runs_with_snapshots
from lemon.configuration.planned_run import plan_runs
from lemon.configuration.preset import Preset
from lemon.configuration.preset_checks import preset_mistakes
from lemon.configuration.project import Project
from lemon.configuration.ratios import in_numbers
from lemon.configuration.run_checks import check_runs
from lemon.configuration.runs import Run, read_runs
from lemon.configuration.table_checks import paper_mistakes
from lemon.configuration.trials import read_trials
from lemon.configuration.yaml_files import (
    Document,
    Problem,
    first_of,
    preset_files,
    raise_problems,
    read_yaml,
    validate,
)
from lemon.errors import BadInput


def load_project(
    preset: str | Path,
    config_dir: Path = Path("config"),
    to_fetch: bool = False,
    seeds: int | None = None,
) -> Project:
    """Read and check a preset and everything that it refers to.

    Args:
        preset: a name (NAME.yaml in the folder `presets` of `config_dir`), or a path to a file.
        config_dir: the folder with runs.tsv, paper.yaml and assets.yaml.
        to_fetch: only the assets are needed. Sizes of a Hub model that is not yet fetched may be
            unknown; the project then has no runs.
        seeds: runs of each learned row of a table, in place of the preset's number.

    Raises:
        BadInput: one message with every mistake in every file, each with its file and line; or no
            row has that many seeds.
    """
    path = preset_path(preset, config_dir)
    problems: list[Problem] = []
    asset_file = read_yaml(config_dir / "assets.yaml", problems)
    table_file = read_yaml(config_dir / "paper.yaml", problems)
    runs, line_of = read_runs(config_dir / "runs.tsv", problems)
    rows_read = not any(problem.path.name == "runs.tsv" for problem in problems)
    assets = validate(asset_file, Assets, problems)
    tables = validate(table_file, Paper, problems)
    read = _read(path, config_dir, assets or {}, problems)
    if read:
        settings, document = read
        known = assets if assets is not None else asset_file.value if asset_file else {}
        problems += document.problems(preset_mistakes(settings, known))
        problems += first_of(check_runs(settings, runs, config_dir / "runs.tsv", line_of))
    if table_file and tables is not None:
        targets = read[0].targets if read else ()
        problems += table_file.problems(paper_mistakes(tables, runs, line_of, targets))
    trials = {}
    if rows_read:  # else every trial of a row with a mistake would be one too
        trials = read_trials(config_dir / "trials" / f"{path.stem}.tsv", runs, problems)
    raise_problems(problems)
    assert read and tables is not None and assets is not None
    settings = read[0]
    if seeds is not None:
        _require_seeds(seeds, tables)
        settings = settings.model_copy(update={"seeds": seeds})
    if settings.second_size is None:
        runs = {name: run for name, run in runs.items() if run.method != SECOND_SIZE}
    unknown = any(model.shape is None for _, model in given_models(settings))
    with_snapshots = {run for entry in tables.values() for run in runs_with_snapshots(entry)}
    planned = {} if to_fetch and unknown else plan_runs(settings, runs, with_snapshots)
    shown = {name: _shown(entry, tables, settings, runs) for name, entry in tables.items()}
    return Project(path.stem, settings, planned, shown, assets, trials, config_dir)


def _shown(
    entry: PaperEntry, tables: Mapping[str, PaperEntry], preset: Preset, runs: Mapping[str, Run]
) -> PaperEntry:
    """A table with the preset's tasks and seeds, or a figure of the runs that it has."""
    if isinstance(entry, FigureSpec):
        return entry.among(runs)
    if isinstance(entry, TableSpec):
        tasks = tuple(task for task in entry.tasks if task in preset.evaluation.tasks)
        rows = tuple(_with_seeds(row, preset.seeds, runs) for row in entry.with_rows(tables).rows)
        return entry.model_copy(update={"tasks": tasks, "rows": rows})
    return entry


def _require_seeds(seeds: int, tables: Mapping[str, PaperEntry]) -> None:
    """BadInput if no row has that many runs."""
    most = max(len(row.runs) for e in tables.values() if isinstance(e, TableSpec) for row in e.rows)
    if not 1 <= seeds <= most:
        raise BadInput(f"{seeds} seeds are not from 1 to {most}, the most of a row in paper.yaml")


def _with_seeds(row: TableRow, seeds: int, runs: Mapping[str, Run]) -> TableRow:
    """A row of a table with this many of its runs, where they learn."""
    learned = any(runs[run].traits.learned for run in row.runs)
    return row.model_copy(update={"runs": row.runs[:seeds]}) if learned else row


def _read(
    path: Path, config_dir: Path, assets: Mapping[str, Asset], problems: list[Problem]
) -> tuple[Preset, Document] | None:
    """The preset with its base and with ratios resolved, and the document with its lines."""
    document = preset_document(path, config_dir, problems)
    preset = validate(document, Preset, problems)
    if document is None or preset is None:
        return None
    preset = with_shapes(preset, document, assets, problems)
    # The checks report inconsistent sizes; unknown sizes are reported when they are needed.
    with suppress(BadInput):
        preset = in_numbers(preset, given_shape(preset.source))
    return preset, document


def siblings(project: Project) -> list[Project]:
    """Every preset of the config folder, this one included, with this project's runs and tables.

    Sorted by name. The other presets are checked, but not against the runs; raises as
    `load_project`.
    """
    problems: list[Problem] = []
    found = {project.preset_name: project}
    for path in preset_files(project.config_dir, problems):
        if path.stem == project.preset_name:
            continue
        if read := _read(path, project.config_dir, project.assets, problems):
            preset, document = read
            mistakes = preset_mistakes(preset, project.assets)
            problems += document.problems(mistakes)
            found[path.stem] = replace(project, preset_name=path.stem, preset=preset)
    raise_problems(problems)
    return [found[name] for name in sorted(found)]
