"""Check before any job that a preset's tables and figures can be rendered.

Otherwise a table would fail only after its last job.
"""

from __future__ import annotations

from collections.abc import Iterator

from lemon.configuration.figure_specs import BLOCKS, SIZES, FigureSpec
from lemon.configuration.paper import PaperEntry, TableSpec, runs_with_snapshots
from lemon.configuration.project import Project
from lemon.configuration.yaml_files import Mistake, Place, Problem, raise_problems, read_yaml

FEWEST_LAYERS = 3  # of a map of layer pairs, and of a layer operator
FEWEST_IN_THIRDS = 6  # so that each third has a pair
FEWEST_COMPARED = 4  # so that two maps have three distances in common
FEWEST_ROWS = 4  # for the debiased estimator: residual coordinates, or tokens
FEWEST_MATCHED = 2  # tokens of a correlation, in each half of the held-out text
FEWEST_NEAR = 4  # source layers, so that each has neighbours within a quarter of the depth


def require_renderable(project: Project, name: str) -> None:
    """Refuse a table or figure that this preset's runs can't render.

    BadInput gives every reason, each with its line in `paper.yaml`.
    """
    mistakes = list(_mistakes(project, project.entry(name)))
    if mistakes:
        problems: list[Problem] = []
        document = read_yaml(project.config_dir / "paper.yaml", problems)
        if document is not None:
            problems += document.problems(((name, *place), words) for place, words in mistakes)
        raise_problems(problems)


def _mistakes(project: Project, entry: PaperEntry) -> Iterator[Mistake]:
    if isinstance(entry, FigureSpec):
        yield from _figure_mistakes(project, entry)
    if isinstance(entry, TableSpec) and not entry.tasks:
        scored = ", ".join(project.preset.evaluation.tasks)
        yield ("tasks",), f"the preset scores none of them (its evaluation.tasks are {scored})"
    if isinstance(entry, TableSpec) and entry.renderer == "receptive_field_grid":
        yield from _grid_mistakes(project, entry)
    kept = [project.run(run) for run in runs_with_snapshots(entry)]
    for run in kept:
        if run.snapshots != kept[0].snapshots:
            message = f"{run.id} and {kept[0].id} keep other snapshots; give them the same budget"
            yield ("rows",), message


def _figure_mistakes(project: Project, figure: FigureSpec) -> Iterator[Mistake]:
    """Panels of models that are too small for the measurement."""
    for index, panel in enumerate(figure.panels):
        place: Place = ("panels", index)
        run = project.run(panel.run)
        shape = run.target_shape
        layers, fewest = shape.num_hidden_layers, FEWEST_LAYERS
        if figure.renderer == "layer_operators":
            layers = run.fused_shape.num_hidden_layers
            fewest = FEWEST_NEAR if figure.claims else FEWEST_LAYERS
        elif BLOCKS in figure.claims and index == 0:
            fewest = FEWEST_IN_THIRDS
        elif SIZES in figure.claims and index < 2:
            fewest = FEWEST_COMPARED
        if layers < fewest:
            yield place, f"{panel.run} is about {layers} layers; at least {fewest} are needed"
        if figure.renderer == "weight_similarity" and shape.hidden_size < FEWEST_ROWS:
            width = f"{panel.run} has hidden_size {shape.hidden_size}"
            yield place, f"{width}; at least {FEWEST_ROWS} are needed"
    text = project.preset.text
    in_rows = len(text.domains) * (text.sequence_length - 1)
    needs = {
        "matched_correlation": (2, FEWEST_MATCHED, "half of the held-out text"),
        "activation_similarity": (1, FEWEST_ROWS, "the held-out text"),
    }
    if figure.renderer in needs:
        parts, fewest, what = needs[figure.renderer]
        tokens = text.heldout_sequences // parts * in_rows
        if tokens < fewest:
            yield ("panels",), f"{what} gives {tokens} tokens; at least {fewest} are needed"


def _grid_mistakes(project: Project, figure: TableSpec) -> Iterator[Mistake]:
    """Rows with equal radii in the grid, or a grid without rows."""
    places: dict[tuple[int, int], str] = {}
    for index, row in enumerate(figure.rows):
        for run in map(project.run, row.runs[:1]):
            if run.row.radii is None or not run.method.learns_operators:
                continue
            attention, ffn = run.radii.attention, run.radii.ffn
            first = places.setdefault((attention, ffn), run.id)
            if first != run.id:
                same = f"r_a {attention} and r_i {ffn}"
                yield ("rows", index), f"{run.id} has {same} in this preset, as {first} has"
    if not places:
        yield ("rows",), "none of them learns dimension operators, and the grid is over their radii"
