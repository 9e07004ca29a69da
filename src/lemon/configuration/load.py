"""Read a preset and all that it refers to, and check it: what every command starts from.

No torch is imported here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lemon.configuration.assets import Assets
from lemon.configuration.figure_checks import check_figures
from lemon.configuration.methods import SECOND_SIZE
from lemon.configuration.paper import (
    FigureSpec,
    Paper,
    PaperEntry,
    TableSpec,
)
from lemon.configuration.planned_run import plan_runs
from lemon.configuration.preset import Preset
from lemon.configuration.preset_checks import check_preset
from lemon.configuration.project import Project
from lemon.configuration.run_checks import check_runs
from lemon.configuration.runs import read_runs
from lemon.configuration.table_checks import check_tables
from lemon.configuration.yaml_files import (
    Problem,
    did_you_mean,
    first_of,
    preset_files,
    raise_problems,
    read_yaml,
    validate,
)
from lemon.errors import BadInput
from lemon.files.names import name_fault, path_fault


def load_project(preset: str | Path, config_dir: Path = Path("config")) -> Project:
    """Read and check a preset and everything that it refers to.

    Args:
        preset: a name (NAME.yaml in the folder `presets` of `config_dir`), or a path to a file.
        config_dir: the folder with runs.tsv, paper.yaml and assets.yaml.

    Raises:
        BadInput: one message with every mistake in every file, each with its file and line.
    """
    path = preset_path(preset, config_dir)
    problems: list[Problem] = []
    asset_file = read_yaml(config_dir / "assets.yaml", problems)
    table_file = read_yaml(config_dir / "paper.yaml", problems)
    preset_file = read_yaml(path, problems)
    runs, line_of = read_runs(config_dir / "runs.tsv", problems)
    assets = validate(asset_file, Assets, problems) if asset_file else None
    tables = validate(table_file, Paper, problems) if table_file else None
    settings = validate(preset_file, Preset, problems) if preset_file else None
    if settings and preset_file:
        known_assets = assets if assets is not None else (asset_file.value if asset_file else {})
        problems += first_of(check_preset(settings, preset_file, line_of, known_assets))
        problems += first_of(check_runs(settings, runs, config_dir / "runs.tsv", line_of))
    if tables is not None and table_file:
        targets = settings.targets if settings else []
        problems += first_of(check_tables(tables, table_file, runs, line_of, targets))
        problems += first_of(check_figures(tables, table_file, runs, line_of))
    raise_problems(problems)
    assert settings is not None and tables is not None and assets is not None
    evaluated = settings.evaluation.tasks
    if settings.second_size is None:
        runs = {name: run for name, run in runs.items() if run.method != SECOND_SIZE}
    shown: dict[str, PaperEntry] = {}
    for name, table in tables.items():
        if isinstance(table, TableSpec):
            tasks = tuple(task for task in table.tasks if task in evaluated)
            table = table.model_copy(update={"tasks": tasks})
        elif isinstance(table, FigureSpec):
            table = table.among(runs)
        shown[name] = table
    planned = plan_runs(settings, runs)
    return Project(path.stem, settings, planned, shown, assets, config_dir)


def preset_path(preset: str | Path, config_dir: Path) -> Path:
    """The file of a preset given by name or by path.

    Raises:
        BadInput: there is no such preset, or no such folder of presets; or its name or path holds
            what the workflow can't hand on.
    """
    given = str(preset)
    if given.endswith((".yaml", ".yml")):
        path = Path(preset)
        fault = path_fault(given)
        if fault is not None:
            raise BadInput(f"the preset's path {fault}")
        _require_name(path.stem)
        if not path.is_file():
            raise BadInput(f"{path}: no such preset file")
        return path
    _require_name(given)
    folder = config_dir / "presets"
    files = {path.stem: path for path in preset_files(config_dir, [])}
    if not files:
        raise BadInput(f"{folder}: no presets here; run in the repository or give --config DIR")
    if given not in files:
        raise BadInput(f"{folder}: no preset {given}, {did_you_mean(given, files)}")
    return files[given]


def _require_name(preset: str) -> None:
    fault = name_fault(preset)
    if fault is not None:
        raise BadInput(f"the preset's name {fault}")


def siblings(project: Project) -> list[Project]:
    """Every preset of the config folder, by name, with the runs and tables of this one.

    The preset itself is among them. Of the others only what they say themselves is checked, not
    what the runs ask of them.

    Raises:
        BadInput: one message with every mistake in the other presets.
    """
    problems: list[Problem] = []
    found = {project.preset_name: project}
    for path in preset_files(project.config_dir, problems):
        if path.stem == project.preset_name:
            continue
        file = read_yaml(path, problems)
        preset = validate(file, Preset, problems) if file else None
        if file and preset:
            problems += check_preset(preset, file, project.runs, project.assets)
            found[path.stem] = replace(project, preset_name=path.stem, preset=preset)
    raise_problems(problems)
    return [found[name] for name in sorted(found)]
