"""The preset of a table or figure, and the sizes of its models, here and in the paper."""

from __future__ import annotations

from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.published.models import published_target


@dataclass(frozen=True)
class Setup:
    """A preset, the sizes of its source model, and the sha256 of the whole configuration."""

    name: str
    label: str  # of the source model
    source: LlamaShape
    digest: str

    def in_manifest(self, **entry: str) -> dict[str, str]:
        """The `settings` in the manifest of a table or figure, which `entry` names."""
        return {"preset": self.name, **entry, "config": self.digest}


@dataclass(frozen=True)
class Sizes:
    """The sizes of a model here, and of the paper's counterpart or None."""

    here: LlamaShape
    paper: LlamaShape | None


def setup_of(project: Project) -> Setup:
    """The preset of a project."""
    label = project.preset.source.label
    return Setup(project.preset_name, label, project.source_shape(), project.digest())


def source_sizes(project: Project) -> Sizes:
    """The sizes of the source model."""
    return Sizes(project.source_shape(), published_target(None))


def target_sizes(project: Project, spec: TableSpec) -> dict[str, Sizes]:
    """The sizes of a table's small models by symbolic target, in the order of the rows."""
    names = dict.fromkeys(row.target for row in spec.rows if row.target)
    return {name: Sizes(project.shape_of(name), published_target(name)) for name in names}
