"""From a mirror to scores with network sockets forbidden, one command after the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_world import add_declared, add_scripted
from loopback_hub import serving
from ruamel.yaml import YAML
from task_rows import write_mirror
from workspaces import REPOSITORY, Workspace

from lemon.configuration.load import load_project
from lemon.configuration.tasks import TASKS as KNOWN
from lemon.data.mirror.make import make_mirror
from lemon.data.source_model import prepare_source

pytestmark = pytest.mark.slow

NO_NETWORK = Path(__file__).parent / "no_network"
TASKS = ["sciq", "logiqa"]
MODEL = {
    "kind": "hub",
    "repo": "owner/small",
    "revision": "main",
    "repo_type": "model",
    "patterns": ["*.json", "*.safetensors"],
    "licence": "CC0",
    "what": "a model",
}


def from_the_hub(preset: dict[str, Any]) -> None:
    """Let the smoke preset take its model and its rows from a hub."""
    preset["source"] |= {"kind": "hub", "asset": "small"}
    preset["evaluation"] |= {"tasks": TASKS, "source": "hub"}


COMMANDS = (
    "import sys; from lemon.cli import main; "
    "sys.exit(any(main(line.split()) for line in sys.argv[1:]))"
)


def lemon(space: Workspace, *lines: str) -> None:
    """Commands without a network, one after another."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *lines],
        cwd=space.path,
        env=space.variables(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


def assert_blocked(space: Workspace) -> None:
    """See a connection refused and noted; take the note away."""
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=space.variables(), capture_output=True, text=True
    )
    assert "no network in this test" in done.stderr
    (space.path / "network.txt").unlink()


def test_the_whole_path_from_a_mirror_passes_without_a_network(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path_factory.mktemp("with-a-network")
    monkeypatch.setenv("LEMON_CACHE", str(away / "other-cache"))
    smoke = load_project("smoke", REPOSITORY / "config").preset
    prepare_source(smoke.source, lock={}, cache=away, out=away / "model", seed=0)
    with (workspace.path / "config/assets.yaml").open("a") as file:
        YAML().dump({"small": MODEL}, file)
    workspace.change_preset(from_the_hub)
    project = load_project("smoke", workspace.path / "config")
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        add_declared(hub, "sciq", count=5)
        add_scripted(hub, "logiqa", count=5)
        files = {path.name: path.read_bytes() for path in (away / "model").iterdir()}
        hub.add("models/owner/small", files)
        make_mirror(project.assets, project.needed_assets(), TASKS, workspace.path / "mirror")
    monkeypatch.delenv("HF_ENDPOINT")

    workspace.python_path = [str(NO_NETWORK)]
    workspace.environment = {
        "NETWORK_CALLS": str(workspace.path / "network.txt"),
        "LEMON_CACHE": str(workspace.path / "cache"),
    }
    assert_blocked(workspace)
    lemon(
        workspace,
        "fetch --preset smoke --source mirror --out lock.json",
        "prepare source --preset smoke --assets lock.json --out source",
        "prepare tasks --preset smoke --assets lock.json --out tasks",
        f"evaluate --model source --tasks {','.join(TASKS)} --source mirror --limit 4 --out scores",
    )
    notes = workspace.path / "network.txt"
    assert not notes.exists(), notes.read_text()
    manifest = json.loads((workspace.path / "scores/manifest.json").read_text())
    assert {task: entry["rows"] for task, entry in manifest["tasks"].items()} == dict.fromkeys(
        TASKS, 4
    )


def test_a_mirror_of_another_maker_works_without_a_network(
    workspace: Workspace, tiny_model_folder: Path
) -> None:
    """Rows in the layout of the Hub, without the list that `lemon fetch --mirror` leaves."""
    tasks = [name for name, info in KNOWN.items() if info.shots == 0]
    write_mirror(workspace.path / "mirror", dict.fromkeys(tasks, 3))
    workspace.python_path = [str(NO_NETWORK)]
    workspace.environment = {"NETWORK_CALLS": str(workspace.path / "network.txt")}
    lemon(
        workspace,
        f"evaluate --model {tiny_model_folder} --tasks {','.join(tasks)} --source mirror "
        "--limit 2 --out scores",
    )
    assert not (workspace.path / "network.txt").exists()
    manifest = json.loads((workspace.path / "scores/manifest.json").read_text())
    assert {task: entry["rows"] for task, entry in manifest["tasks"].items()} == dict.fromkeys(
        tasks, 2
    )
