"""Departures: differences between a preset's setup and the paper's experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.methods import Method
from lemon.configuration.paper import TableSpec
from lemon.configuration.planned_run import PlannedRun, lineage
from lemon.configuration.project import Project
from lemon.configuration.row_lookups import changes_widths
from lemon.configuration.tasks import TASKS, table_suites
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.published.models import SOURCE_MODEL, published_shape, published_target
from lemon.published.tables import published_setup, published_table
from lemon.reporting.facts.outcomes import Protocol
from lemon.reporting.facts.setup import target_shapes
from lemon.reporting.numbers import widths_in_words

# Settings that are compared with published/setup.csv, by their key there.
SETTINGS = {
    "source": "source model",
    "source_layers": "layers of the source",
    "target_layers": "layers of the small models",
    "source_widths": "widths of the source",
    "target_widths": "widths of the small models",
    "text": "training text",
    "rows": "rows of each task",
    "fewshot": "examples before a question",
    "sequence_length": "tokens of a sequence",
    "batch_sequences": "sequences a step",
    "lm_weight": "weight of the LM loss",
    "layer_rate": "rate of the layer operator",
    "norm_rate": "rate of the layer operator on norms",
    "dimension_rate": "rate of the dimension operators",
    "warmup_ratio": "warm-up of the operators, share of the steps",
    "weight_rate": "rate of the weights, where they learn",
    "pretraining_batch_sequences": "sequences a step of pre-training",
    "pretraining_rate": "rate of pre-training",
    "mask_rate": "rate of the masks",
    "update_every": "steps between updates of the mixture, under masks",
}
REDPAJAMA = {"commoncrawl", "c4", "github", "books", "wikipedia", "arxiv", "stackexchange"}
FEWSHOT = {
    "fixed": "the same first rows before every question",
    "drawn": "drawn for each question",
}

# Kinds of training with a separate length in the paper: the steps of `fusion` are `fusion_steps` in
# setup.csv. A run is of the first kind whose test accepts its method.
KINDS: tuple[tuple[str, Callable[[Method], bool]], ...] = (
    ("pruning", lambda method: method.prunes),
    ("pretraining", lambda method: method.pretrains),
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
    """All settings of a table or figure of runs that differ from the paper's.

    `shown` has the evaluation protocol of each task, if evaluated.
    """
    spec, evaluation = project.table(table), project.preset.evaluation
    behind = lineage(map(project.run, spec.runs))
    source, targets = project.source_shape(), target_shapes(project, spec)
    in_paper = [shape for shape in map(published_target, targets) if shape]
    here = {
        **_sizes(source, [*targets.values()]),
        **_source_and_text(project),
        "source_layers": str(source.num_hidden_layers),
        "rows": _rows(project, spec),
        "fewshot": FEWSHOT[evaluation.fewshot] if any(TASKS[t].shots for t in spec.tasks) else "",
        **_learning_settings(project, [run for run in behind if run.method.learned]),
    }
    paper = published_setup()
    if in_paper:
        paper = {**paper, **_sizes(published_shape(SOURCE_MODEL), in_paper)}
    fewer = "{}, as many whole ones as fit before the longest question"
    return [
        *_differing(here, paper),
        *_lengths(behind, paper),
        *_pretraining(project, spec, paper["source"]),
        *(
            Departure(f"shots of {TASKS[task].label}", fewer.format(one.shots), str(one.asked))
            for task, one in (shown or {}).items()
            if one.cut_short
        ),
        *packaged_rows(project, table),
    ]


def learned_departures(
    project: Project, runs: Iterable[PlannedRun], steps: Mapping[str, str]
) -> list[Departure]:
    """All settings of a figure of curves of learning that differ from the paper's.

    `steps` are the paper's of that figure: `fusion_steps` and `pruning_steps`.
    """
    paper, behind = {**published_setup(), **steps}, list(runs)
    here = {**_source_and_text(project), **_learning_settings(project, behind)}
    return [*_differing(here, paper), *_lengths(behind, paper)]


def _differing(here: Mapping[str, str], paper: Mapping[str, str]) -> list[Departure]:
    return [
        Departure(words, here[key], paper[key])
        for key, words in SETTINGS.items()
        if here.get(key) and key in paper and not _same(here[key], paper[key])
    ]


def _sizes(source: LlamaShape, small: list[LlamaShape]) -> dict[str, str]:
    """The sizes that a table changes; empty text for those that it does not."""
    wide = any(changes_widths(source, shape) for shape in small)
    depths = dict.fromkeys(str(shape.num_hidden_layers) for shape in small)
    deep = depths.keys() - {str(source.num_hidden_layers)}
    widths = dict.fromkeys(map(widths_in_words, small))
    return {
        "target_layers": " / ".join(depths) if deep else "",
        "source_widths": widths_in_words(source) if wide else "",
        "target_widths": " / ".join(widths) if wide else "",
    }


def _source_and_text(project: Project) -> dict[str, str]:
    domains = project.preset.text.domains
    return {
        "source": project.preset.source.label,
        "text": "RedPajama, seven domains" if set(domains) == REDPAJAMA else ", ".join(domains),
    }


def _learning_settings(project: Project, learned: list[PlannedRun]) -> dict[str, str]:
    """The settings of the trained runs; empty text for those that no run uses."""
    if not learned:
        return {}
    pretrained = [run.pretraining for run in learned if run.method.pretrains]
    learned = [run for run in learned if not run.method.pretrains]
    operators = [run for run in learned if run.method.learns_operators]
    pruned = [run for run in learned if run.method.prunes]
    deep = [
        run
        for run in operators
        if run.fused_shape.num_hidden_layers != run.target_shape.num_hidden_layers
    ]
    users = {
        "batch_sequences": learned,
        "lm_weight": [
            run for run in learned if run.method.teaches and not run.method.matches_states
        ],
        "layer_rate": deep,
        "norm_rate": deep,
        "dimension_rate": [run for run in operators if run.changes_widths],
        "warmup_ratio": operators,
        "weight_rate": [run for run in learned if run.method.trains_weights],
    }
    every = project.preset.pruning.loading.update_every
    return {
        "sequence_length": str(project.preset.text.sequence_length),
        **{key: _each(getattr(run.learning, key) for run in runs) for key, runs in users.items()},
        "pretraining_batch_sequences": _each(one.batch_sequences for one in pretrained),
        "pretraining_rate": _each(one.weight_rate for one in pretrained),
        "mask_rate": _each(run.pruning.mask_rate for run in pruned),
        "update_every": str(every or "never") if pruned else "",
    }


def _lengths(behind: list[PlannedRun], paper: dict[str, str]) -> Iterator[Departure]:
    """Steps and tokens of every kind of training that differ from the paper's.

    Of pre-training the tokens alone: the paper's steps and tokens contradict each other.
    """
    kinds: dict[str, list[PlannedRun]] = {}
    for run in behind:
        kind = next((name for name, accepts in KINDS if accepts(run.method)), None)
        if kind:
            kinds.setdefault(kind, []).append(run)
    for kind, runs in kinds.items():
        steps = [run.steps for run in runs]
        tokens = [run.steps * run.tokens_per_step for run in runs]
        in_paper = int(paper[f"{kind}_steps"])
        batch = int(paper.get(f"{kind}_batch_sequences", paper["batch_sequences"]))
        name = kind.replace("pretraining", "pre-training")
        for words, values, published in (
            (f"steps of {name}", steps, in_paper),
            (f"tokens of {name}", tokens, in_paper * batch * int(paper["sequence_length"])),
        ):
            if set(values) != {published} and words != "steps of pre-training":
                yield Departure(words, _each(values), f"{published:,}")


def _pretraining(project: Project, spec: TableSpec, source: str) -> Iterator[Departure]:
    """The paper's continued pre-training of this table's models, where ours have none."""
    if spec.published is None:
        return
    ours = {
        (row.published_method, row.published_layers)
        for row in spec.rows
        if row.runs and not project.run(row.runs[0]).method.pretrains
    }
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
