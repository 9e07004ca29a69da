"""Runs Snakemake on a copy of the workflow, in a folder of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

REPOSITORY = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "stand_in"


@dataclass
class Workspace:
    """A fresh working folder with the committed workflow and configuration."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    preset: str = "smoke"
    target: str = "all"

    def command(self, *arguments: str) -> list[str]:
        """A snakemake call as `make` writes it, for this folder's preset."""
        config = ["--config", f"preset={self.preset}", f"target={self.target}"]
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments, *config]

    def variables(self) -> dict[str, str]:
        """The environment: this Python's own commands first."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "PYTHONPATH": str(REPOSITORY / "src")}
        return {**os.environ, **own, **self.environment}

    def snakemake(self, *arguments: str, timeout: int = 600) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; stdout holds stderr as well."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=self.variables(),
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
    """Lay the workflow and the configuration into an empty folder."""
    for folder in ("workflow", "config"):
        shutil.copytree(REPOSITORY / folder, path / folder)
    return Workspace(path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return copy_workflow(tmp_path)


@dataclass
class DrivenWorkspace(Workspace):
    """A workspace whose jobs are done by the stand-in, which notes its calls."""

    first_jobs: list[str] = field(default_factory=list)

    def jobs(self, target: str = "table3", **environment: str) -> list[str]:
        """Make a target and return the calls that it took, without their options."""
        calls = self.path / "calls.txt"
        calls.write_text("")
        path = f"{STAND_IN}{os.pathsep}{self.variables()['PATH']}"
        own = {"PATH": path, "CALLS": str(calls), **environment}
        before, self.environment = self.environment, {**self.environment, **own}
        done = self.snakemake(target)
        self.environment = before
        assert done.returncode == 0, done.stdout
        return [summary(call) for call in calls.read_text().splitlines()]


def summary(call: str) -> str:
    """The command of a call and the run or table that it works on."""
    words = call.split()
    stage = " ".join(words[:2]) if words[0] == "prepare" else words[0]
    for option in ("--run", "--table"):
        if option in words:
            return f"{stage} {words[words.index(option) + 1]}"
    if stage in ("fuse", "evaluate"):
        return f"{stage} {Path(words[words.index('--out') + 1]).parent.name}"
    return stage


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> DrivenWorkspace:
    """A workspace in which table3 has been made once by the stand-in."""
    laid = copy_workflow(tmp_path_factory.mktemp("driven"))
    space = DrivenWorkspace(laid.path, preset="laptop")
    space.first_jobs = space.jobs()
    return space
