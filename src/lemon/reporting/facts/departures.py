"""Departures: differences between a preset's setup and the paper's experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.methods import Method
from lemon.configuration.paper import FigureSpec, TableSpec
from lemon.configuration.planned_run import PlannedRun, changes_widths, lineage
from lemon.configuration.project import Project
from lemon.configuration.tasks import TASKS, table_suites
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.published.tables import published_setup, published_table
from lemon.reporting.facts.protocol import Protocol
from lemon.reporting.facts.setup import Sizes, source_sizes, target_sizes
from lemon.reporting.numbers import widths_in_words

REDPAJAMA = {"commoncrawl", "c4", "github", "books", "wikipedia", "arxiv", "stackexchange"}

# Kinds of training with a separate length in the paper: the steps of `fusion` are `fusion_steps` in
# setup.csv. A run is of the first kind whose test accepts its method.
KINDS: tuple[tuple[str, Callable[[Method], bool]], ...] = (
    ("pruning", lambda method: method.prunes),
    ("fusion", lambda method: method.learned),
)


@dataclass(frozen=True)
class Departure:
    """One setting that differs from the paper's, in words."""

    setting: str
    here: str
    paper: str

    def in_words(self) -> str:
        """The departure as in a caption."""
        return f"{self.setting} {self.here} (paper {self.paper})"


def departures(
    project: Project, table: str, shown: Mapping[str, Protocol] | None = None
) -> list[Departure]:
    """All settings of a table that differ from the paper's or that the paper does not state.

    Args:
        project: the preset.
        table: a table or figure of runs.
        shown: evaluation protocol of each task, if evaluated.
    """
    spec = project.table(table)
    behind = lineage(map(project.run, spec.runs))
    source, targets = source_sizes(project), list(target_sizes(project, spec).values())
    paper = {**published_setup(), **_sizes_in_paper(source, targets)}
    settings = [
        *_model_settings(project, spec, source, targets),
        *_learning_settings(project, [run for run in behind if run.method.learned]),
    ]
    found = [
        Departure(words, here, paper[key])
        for key, words, here in settings
        if here and key in paper and not _same(here, paper[key])
    ]
    return [
        *found,
        *_lengths(project, behind, paper),
        *_pretraining(spec, paper["source"]),
        *_shots(shown or {}),
        *packaged_rows(project, table),
    ]


def _model_settings(
    project: Project, spec: TableSpec, source: Sizes, targets: list[Sizes]
) -> list[tuple[str, str, str]]:
    """Key of the paper's value, its name in words, and the value here or ""."""
    preset = project.preset
    return [
        ("source", "source model", preset.source.label),
        ("source_layers", "layers of the source", str(source.here.num_hidden_layers)),
        *_sizes(source, targets, lambda sizes: sizes.here),
        ("text", "training text", _text(preset.text.domains)),
        ("rows", "rows of each task", _rows(project, spec)),
        ("fewshot", "examples before a question", _fewshot(project, spec)),
    ]


def _learning_settings(
    project: Project, learned: list[PlannedRun]
) -> Iterator[tuple[str, str, str]]:
    """As `_model_settings`, for the trained runs."""
    if not learned:
        return
    operators = [run for run in learned if run.method.learns_operators]
    pruned = [run for run in learned if run.method.prunes]

    def values(name: str, runs: Iterable[PlannedRun]) -> str:
        return _each(getattr(run.learning, name) for run in runs)

    length = project.preset.text.sequence_length
    yield "sequence_length", "tokens of a sequence", str(length)
    yield "batch_sequences", "sequences a step", values("batch_sequences", learned)
    taught = (run for run in learned if run.method.teaches)
    yield "lm_weight", "weight of the LM loss", values("lm_weight", taught)
    deep = (run for run in operators if _changes_depth(run.fused_shape, run.target_shape))
    yield "layer_rate", "rate of the layer operator", values("layer_rate", deep)
    wide = (run for run in operators if run.changes_widths)
    yield "dimension_rate", "rate of the dimension operators", values("dimension_rate", wide)
    trained = (run for run in learned if run.method.trains_weights)
    yield "weight_rate", "rate of the weights, where they learn", values("weight_rate", trained)
    if pruned:
        yield "mask_rate", "rate of the masks", _each(run.pruning.mask_rate for run in pruned)
        every = str(project.preset.pruning.loading.update_every or "never")
        yield "update_every", "steps between updates of the mixture, under masks", every


def _lengths(
    project: Project, behind: list[PlannedRun], paper: dict[str, str]
) -> Iterator[Departure]:
    """Steps and tokens of every kind of training that differ from the paper's."""
    batch_in_paper = int(paper["batch_sequences"]) * int(paper["sequence_length"])
    kinds: dict[str, list[PlannedRun]] = {}
    for run in behind:
        kind = next((name for name, accepts in KINDS if accepts(run.method)), None)
        if kind:
            kinds.setdefault(kind, []).append(run)
    for kind, runs in kinds.items():
        steps = [run.steps for run in runs]
        length = project.preset.text.sequence_length
        tokens = [run.steps * run.learning.batch_sequences * length for run in runs]
        in_paper = int(paper[f"{kind}_steps"])
        for words, values, published in (
            (f"steps of {kind}", steps, in_paper),
            (f"tokens of {kind}", tokens, in_paper * batch_in_paper),
        ):
            if set(values) != {published}:
                yield Departure(words, _each(values), f"{published:,}")


def _pretraining(spec: TableSpec, source: str) -> Iterator[Departure]:
    """The paper's continued pre-training of this table's models after fusion."""
    if spec.published is None:
        return
    ours = {(row.published_method, row.published_layers) for row in spec.rows if row.runs}
    tokens = {
        line["tokens"]
        for line in published_table(spec.published)
        if (line["method"], int(line["layers"] or 0)) in ours
        and line["method"] != source
        and line.get("tokens")
    }
    if tokens:
        yield Departure(
            "continued pre-training of the small models",
            "none: they are scored as they are fused or pruned",
            f"{' / '.join(sorted(tokens))} tokens",
        )


def _shots(shown: Mapping[str, Protocol]) -> Iterator[Departure]:
    """The tasks with fewer few-shot examples than in the paper."""
    for task, one in shown.items():
        if one.cut_short:
            here = f"{one.shots}, as many whole ones as fit before the longest question"
            yield Departure(f"shots of {TASKS[task].label}", here, str(one.asked))


def packaged_rows(project: Project, table: str) -> list[Departure]:
    """The differences of each task's rows from the Hub's; empty for the Hub's rows."""
    evaluation = project.preset.evaluation
    if not evaluation.prepares_rows:
        return []
    generated = evaluation.source == "generated"
    return [
        Departure(
            f"rows of {TASKS[task].label}",
            "generated on the spot" if generated else BENCHMARKS[task].departures,
            "the Hub's set",
        )
        for task in project.table(table).tasks
    ]


def _changes_depth(source: LlamaShape, target: LlamaShape) -> bool:
    return source.num_hidden_layers != target.num_hidden_layers


def _sizes(
    source: Sizes, targets: list[Sizes], of: Callable[[Sizes], LlamaShape | None]
) -> list[tuple[str, str, str]]:
    """The sizes that the table changes; `of` selects those here or in the paper."""
    large = of(source)
    small = [shape for shape in map(of, targets) if shape is not None]
    if large is None:
        return []
    wide = any(changes_widths(large, shape) for shape in small)
    deep = any(_changes_depth(large, shape) for shape in small)
    depths = " / ".join(dict.fromkeys(str(shape.num_hidden_layers) for shape in small))
    widths = " / ".join(dict.fromkeys(map(widths_in_words, small)))
    return [
        ("target_layers", "layers of the small models", depths if deep else ""),
        ("source_widths", "widths of the source", widths_in_words(large) if wide else ""),
        ("target_widths", "widths of the small models", widths if wide else ""),
    ]


def _sizes_in_paper(source: Sizes, targets: list[Sizes]) -> dict[str, str]:
    """The paper's values of `_sizes`; empty if it has no such small model."""
    if not any(sizes.paper for sizes in targets):
        return {}
    return {key: value for key, _, value in _sizes(source, targets, lambda sizes: sizes.paper)}


def _text(domains: Iterable[str]) -> str:
    names = list(domains)
    return "RedPajama, seven domains" if set(names) == REDPAJAMA else ", ".join(names)


def _rows(project: Project, spec: TableSpec) -> str:
    """`the first 200, of MMLU 228 (packaged)`."""
    source = project.preset.evaluation.source
    chosen = [project.suite(name) for name in table_suites(spec)]
    limits = {task: one.limit_of(task) for one in chosen for task in one.tasks}
    usual = chosen[0].limit if chosen else None
    count = f"the first {usual}" if usual else "all"
    for task in spec.tasks:
        if limits[task] != usual:
            count += f", of {TASKS[task].label} {limits[task] or 'all'}"
    return count if source == "hub" else f"{count} ({source})"


def _fewshot(project: Project, spec: TableSpec) -> str:
    """How few-shot examples are chosen; empty if no task has any."""
    if not any(TASKS[task].shots for task in spec.tasks):
        return ""
    fixed = project.preset.evaluation.fewshot == "fixed"
    return "the same first rows before every question" if fixed else "drawn for each question"


def _each(values: Iterable[float]) -> str:
    """The distinct values, e.g. `0.005` or `120 / 2,400`."""
    return " / ".join(
        f"{value:,}" if isinstance(value, int) else f"{value:g}" for value in dict.fromkeys(values)
    )


def _same(here: str, paper: str) -> bool:
    try:
        return float(here.replace(",", "")) == float(paper)
    except ValueError:
        return here == paper


def figure_departures(project: Project, spec: FigureSpec) -> list[Departure]:
    """All settings of a figure that differ from the paper's."""
    paper, source = published_setup(), project.preset.source.label
    found = []
    if source != paper["source"]:
        found.append(Departure("model", source, paper["source"]))
    for panel in spec.panels:
        given = project.run(panel.run).given_model
        name = panel.run if given is None else given.label
        if panel.shows_second_size and name != paper["second_size"]:
            found.append(Departure("second size", name, paper["second_size"]))
    for run in map(project.run, spec.runs):
        if run.method.learned:
            found += _learning(run, project.preset.text.sequence_length, paper)
    return found


def _learning(run: PlannedRun, sequence_length: int, paper: dict[str, str]) -> list[Departure]:
    """Steps, tokens and rate of one run that learns operators."""
    in_paper = int(paper["batch_sequences"]) * int(paper["sequence_length"])
    rate = "dimension_rate" if run.changes_widths else "layer_rate"
    pairs = (
        ("steps", run.steps, int(paper["fusion_steps"])),
        ("tokens a step", run.learning.batch_sequences * sequence_length, in_paper),
        ("peak rate", getattr(run.learning, rate), float(paper[rate])),
    )
    return [
        Departure(f"{words} of {run.id}", f"{here:,}", f"{there:,}")
        for words, here, there in pairs
        if here != there
    ]
