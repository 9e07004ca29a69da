"""The smoke preset's source and text on disk, and variations of its settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from replanned import replanned

from lemon.configuration.load import load_project
from lemon.configuration.project import Project
from lemon.data.source_model import prepare_source
from lemon.data.text.domains import prepare_text

CONFIG = Path(__file__).parents[1] / "config"


@dataclass(frozen=True)
class LearningWorld:
    """What `lemon learn` reads."""

    source: Path
    text: Path
    preset: str | Path = "smoke"

    def project(self, steps: int = 8, **learning: object) -> Project:
        """The preset with another number of steps and other learning settings."""
        project = load_project(self.preset, CONFIG)
        preset = project.preset.model_copy(
            update={
                "budgets": {
                    name: min(old, 1) * steps for name, old in project.preset.budgets.items()
                },
                "learning": project.preset.learning.model_copy(update=learning),
            }
        )
        return replanned(project, preset=preset)


def write_learning_world(folder: Path, preset: str | Path = "smoke") -> LearningWorld:
    """Prepare source and text of a preset on generated text; nothing is fetched for them."""
    project = load_project(preset, CONFIG)
    world = LearningWorld(folder / "source", folder / "text", preset)
    common = {"lock": {}, "cache": folder / "no-cache", "seed": 0}
    prepare_source(project.preset.source, out=world.source, **common)
    prepare_text(project.preset.text, source=world.source, out=world.text, **common)
    return world
