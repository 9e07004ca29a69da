"""Folders of their own in which tests run Snakemake on a copy of the workflow."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import forked_commands
from ruamel.yaml import YAML

from lemon.configuration.load import load_project
from lemon.data.text.floors import FLOORS
from lemon.data.text.packing import SPLITS

REPOSITORY = Path(__file__).parents[1]
STRANGE = "p; q & (r) #1, é"  # what a folder may be called, and shells read as more than a word
STAND_IN = Path(__file__).parent / "workflow" / "stand_in"


@dataclass
class Workspace:
    """A fresh working folder with the committed workflow and configuration."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    preset: str = "smoke"
    target: str = "all"
    taken: str = ""  # what `from=` takes of a bundle
    seeds: str = ""
    folder: str = ""  # where all is made, if not here
    python_path: list[str] = field(default_factory=list)

    def words(self, *arguments: str) -> list[str]:
        """The words of a snakemake call as `make` writes it, for this folder's preset.

        Each job has one thread, as in conftest.py.
        """
        config = ["--config", f"preset={self.preset}", f"target={self.target}"]
        config += [f"from={self.taken}"] if self.taken else []
        config += [f"seeds={self.seeds}"] if self.seeds else []
        config += [f"folder={self.folder}"] if self.folder else []
        return ["--cores", "2", "--max-threads", "1", *arguments, *config]

    def command(self, *arguments: str) -> list[str]:
        """The call, for a process that is started anew."""
        return [sys.executable, "-m", "snakemake", *self.words(*arguments)]

    def variables(self, *, forked: bool = False) -> dict[str, str]:
        """The environment: this Python's own commands first, or forks in their place."""
        folders = [Path(sys.executable).parent, os.environ["PATH"]]
        own = {"PYTHONPATH": os.pathsep.join([*self.python_path, str(REPOSITORY / "src")])}
        if forked:
            folders = [forked_commands.FOLDER, *folders]
            own["FORKED_COMMANDS"] = forked_commands.address()
        own["PATH"] = os.pathsep.join(map(str, folders))
        return {**os.environ, **own, **self.environment}

    def snakemake(self, *arguments: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
        """Run Snakemake and its jobs to the end, in forks; stdout holds stderr as well."""
        return subprocess.run(
            [forked_commands.FOLDER / "snakemake", *self.words(*arguments)],
            cwd=self.path,
            env=self.variables(forked=True),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def change_preset(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Read this folder's preset, change the values, write it back without its comments."""
        file = self.path / "config" / "presets" / f"{self.preset}.yaml"
        yaml = YAML(typ="safe")
        values = yaml.load(file)
        change(values)
        yaml.dump(values, file)


def copy_workflow(path: Path) -> Workspace:
    """Lay the workflow, its notebooks and the configuration into an empty folder."""
    for folder in ("workflow", "profiles", "config", "analysis"):
        shutil.copytree(REPOSITORY / folder, path / folder)
    shutil.copy(REPOSITORY / "Snakefile", path)
    return Workspace(path)


@dataclass
class DrivenWorkspace(Workspace):
    """A workspace whose jobs are done by the stand-in, which notes its calls."""

    first_jobs: list[str] = field(default_factory=list)

    @property
    def calls(self) -> Path:
        """The stand-in's notes."""
        return self.path / "calls.txt"

    def stand_in(self) -> dict[str, str]:
        """Variables that put the stand-in before the real command."""
        path = f"{STAND_IN}{os.pathsep}{self.variables(forked=True)['PATH']}"
        preset = self.path / self.preset if self.preset.endswith(".yaml") else self.preset
        domains = load_project(preset, self.path / "config").preset.text.domains
        files = [f"{split}/{domain}.bin" for split in SPLITS for domain in domains]
        files.append(FLOORS)
        return {"PATH": path, "CALLS": str(self.calls), "TEXT_FILES": " ".join(files)}

    def jobs(self, target: str = "table3", **environment: str) -> list[str]:
        """Make a target and return the calls that it took, without their options."""
        self.calls.write_text("")
        self.environment = {**self.stand_in(), **environment}
        done = self.snakemake(target)
        self.environment = {}
        assert done.returncode == 0, done.stdout
        return [summary(call) for call in self.calls.read_text().splitlines()]


def summary(call: str) -> str:
    """The command of a call and the run, table or figure that it works on."""
    words = call.split()
    stage = " ".join(words[:2]) if words[0] == "prepare" else words[0]
    for option in ("--run", "--table", "--figure"):
        if option in words:
            return f"{stage} {words[words.index(option) + 1]}"
    if stage in ("fuse", "evaluate", "try"):
        out = Path(words[words.index("--out") + 1])
        if stage == "try":
            return f"try {out.parent.name}/{out.name}"
        suite = out.name.removeprefix("outcomes-") if "-" in out.name else ""
        return f"{stage} {out.parent.name} {suite}".rstrip()
    return stage
