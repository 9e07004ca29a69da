"""What every command of the smoke preset reads, the commands over it, and what they leave."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from learning_world import CONFIG, LearningWorld
from task_rows import write_mirror

from lemon.cli import main
from lemon.data.fetch.assets import write_lock

# The commands that write a folder, as they are called but for --preset and --out.
PREPARE = {
    "prepare source": ("--assets", "lock.json"),
    "prepare second-size": ("--assets", "lock.json"),
    "prepare text": ("--assets", "lock.json", "--source", "source"),
    "prepare tasks": ("--assets", "lock.json"),
}
RUN = {
    "build": ("--run", "cut-75", "--source", "source"),
    "learn": ("--run", "lemon-cut-75", "--source", "source", "--text", "text"),
}
OTHERS = {
    "fuse": ("--source", "source", "--operators", "run/operators.safetensors"),
    "evaluate": ("--model", "source", "--tasks", "piqa", "--source", "rows", "--batch-size", "4"),
}
COMMANDS = {**PREPARE, **RUN, **OTHERS}
# Those that replace their folder as a whole; the others write into it bit by bit.
REPLACING = (*PREPARE, "fuse")


@dataclass(frozen=True)
class CommandWorld:
    """A folder with configuration, source, text, rows, an empty lock file and a built run.

    `other` is a second preset, the same as `smoke`.
    """

    folder: Path

    def lemon(self, command: str, out: Path, preset: str = "smoke", **changed: str) -> int:
        """Run a command; `changed` holds other values of its options. Gives the exit code."""
        words = [str(self._place(word)) for word in COMMANDS[command]]
        for option, value in changed.items():
            words[words.index(f"--{option}") + 1] = value
        owned = [] if command in OTHERS else ["--preset", preset]
        config = ["--config", str(self.folder / "config")]
        return main([*config, *command.split(), *words, *owned, "--out", str(out)])

    def _place(self, word: str) -> str | Path:
        place = self.folder / word
        return place if place.exists() else word


def write_command_world(folder: Path, learning_world: LearningWorld) -> CommandWorld:
    """Copy source and text, and make the rest."""
    shutil.copytree(CONFIG, folder / "config")
    presets = folder / "config" / "presets"
    shutil.copyfile(presets / "smoke.yaml", presets / "other.yaml")
    shutil.copytree(learning_world.source, folder / "source")
    shutil.copytree(learning_world.text, folder / "text")
    write_mirror(folder / "rows", {"piqa": 5})
    write_lock(folder / "lock.json", {})
    world = CommandWorld(folder)
    assert world.lemon("build", folder / "run") == 0
    return world


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything in a folder by name: bytes of files, where links lead, which are folders."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "a folder"
    return found
