"""The preset of a table or figure, and the sizes of its models."""

from __future__ import annotations

from dataclasses import dataclass

from lemon.architecture import LlamaShape
from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project


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


def setup_of(project: Project) -> Setup:
    """The preset of a project."""
    label = project.preset.source.label
    return Setup(project.preset_name, label, project.source_shape(), project.digest())


def target_shapes(project: Project, spec: TableSpec) -> dict[str, LlamaShape]:
    """The sizes of a table's small models by symbolic target, in the order of the rows."""
    names = dict.fromkeys(row.target for row in spec.rows if row.target)
    return {name: project.shape_of(name) for name in names}
