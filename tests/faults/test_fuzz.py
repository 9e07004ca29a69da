"""Hostile input: whatever a file holds, a command ends with an exit code and one message, soon.

Each case changes one file of a sound workspace, by bytes or by the values in it, runs the command
that reads it, and puts the file back. A command that refuses does so in under 3 seconds of one
core, and none writes outside the place that it was given. LEMON_FUZZ_CASES=2000 spreads that many
cases over the tests here; `pytest -s` prints how they ended. The configuration is in
test_config_fuzz.py.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from learning_world import CONFIG, LearningWorld
from odd_json import ODD as ODD_VALUES

from lemon.cli import main
from lemon.files.json_file import read_json
from lemon.files.manifest import sealed

CASES = int(os.environ.get("LEMON_FUZZ_CASES", "100"))
REFUSED_WITHIN_S = 3.0
SHARES = {"model": 0.4, "operators": 0.4, "manifest": 0.2}

ODD = [*ODD_VALUES, "$(touch pwned)", "`touch pwned`", "/etc/passwd", "a b", "٣"]


@dataclass
class Workspace:
    """A folder with everything that the commands read, and what became of the cases."""

    folder: Path
    counts: Counter[str] = field(default_factory=Counter)

    def path(self, *parts: str) -> str:
        return str(self.folder.joinpath(*parts))

    def tree(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file outside the place that commands write to."""
        return {
            str(path): (path.stat().st_size, path.stat().st_mtime_ns)
            for path in self.folder.rglob("*")
            if path.is_file() and "out" not in path.relative_to(self.folder).parts
        }


@pytest.fixture(scope="module")
def workspace(
    learning_world: LearningWorld, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(CONFIG, folder / "config")
    shutil.copytree(learning_world.source, folder / "source")
    shutil.copytree(learning_world.text, folder / "text")
    made = Workspace(folder)
    command = ["--config", made.path("config"), "build", "--preset", "smoke", "--run", "cut-75"]
    assert main([*command, "--source", made.path("source"), "--out", made.path("run")]) == 0
    yield made
    print(f"\n{sum(made.counts.values())} cases: {dict(made.counts)}")


def changed_bytes(content: bytes, draw: Callable[..., Any]) -> bytes:
    """Bytes with a piece flipped, cut out, repeated or put in."""
    first = draw(st.integers(0, max(0, len(content) - 1)))
    last = min(len(content), first + draw(st.integers(0, 40)))
    new = draw(st.binary(max_size=20))
    match draw(st.sampled_from(["flip", "cut", "end", "repeat", "insert"])):
        case "flip" if content:
            return (
                content[:first] + bytes([content[first] ^ 1 << len(new) % 8]) + content[first + 1 :]
            )
        case "cut":
            return content[:first] + content[last:]
        case "end":
            return content[:first]
        case "repeat":
            return content[:last] + content[first:]
    return content[:first] + new + content[first:]


def changed_value(value: Any, draw: Callable[..., Any]) -> Any:
    """JSON values with one of them, or one key, replaced by an odd one."""
    if isinstance(value, dict) and value and draw(st.integers(0, 7)):
        key = draw(st.sampled_from(sorted(value)))
        match draw(st.integers(0, 9)):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {**value, str(draw(st.sampled_from(ODD))): value[key]}
        return {**value, key: changed_value(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], changed_value(value[place], draw), *value[place + 1 :]]
    return draw(st.sampled_from(ODD))


def written(value: Any, draw: Callable[..., Any]) -> bytes:
    """JSON text of a value, at times nested beyond reason."""
    text = json.dumps(value)
    if draw(st.integers(0, 30)) == 0:
        text = "[" * 100_000 + text
    return text.encode("utf-8", "surrogatepass")


def run(workspace: Workspace, file: Path, content: bytes, command: list[str], capsys: Any) -> None:
    """Run a command over a changed file, and judge how it ended."""
    sound = file.read_bytes()
    shutil.rmtree(workspace.folder / "out", ignore_errors=True)
    file.write_bytes(content)
    before = workspace.tree()
    capsys.readouterr()
    started = time.process_time()
    try:
        code = main(command)
    finally:
        took = time.process_time() - started
        after = workspace.tree()
        file.write_bytes(sound)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert before == after, "a command wrote outside its place"
    assert not Path("pwned").exists()
    assert code in (0, 1, 2)
    if code:
        assert told.count("lemon: error:") == 1
        assert took < REFUSED_WITHIN_S, f"{took:.1f} s to refuse: {told}"
    workspace.counts[f"{file.name}: exit code {code}"] += 1


def cases(kind: str) -> Callable[[Any], Any]:
    return settings(
        max_examples=max(20, round(CASES * SHARES[kind])),
        deadline=None,
        phases=[Phase.generate],  # a failure says what it was; making it smaller takes minutes
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@cases("model")
@given(st.data())
def test_model_folder(workspace, capsys, data):
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", "manifest.json"]
    file = workspace.folder / "source" / data.draw(st.sampled_from([*names, "model.safetensors"]))
    content, bare = file.read_bytes(), file.with_name("manifest.json").read_bytes()
    if data.draw(st.booleans()) or file.suffix == ".safetensors":
        content = changed_tensors(content, data.draw)
    else:
        content = written(changed_value(json.loads(content), data.draw), data.draw)
    # Without its manifest the folder is a user's own, whose files have no digests.
    if file.name != "manifest.json" and data.draw(st.booleans()):
        file.with_name("manifest.json").unlink()
    source, out = workspace.path("source"), workspace.path("out", "x.csv")
    commands = [
        ["cka", "--source", source, "--component", "q_proj", "--out", out],
        [
            *("fuse", "--source", source, "--out", workspace.path("out", "model")),
            *("--operators", workspace.path("run", "operators.safetensors")),
        ],
    ]
    try:
        run(workspace, file, content, data.draw(st.sampled_from(commands)), capsys)
    finally:
        file.with_name("manifest.json").write_bytes(bare)


def changed_tensors(content: bytes, draw: Callable[..., Any]) -> bytes:
    """A safetensors file (or any other) with its bytes, or the values of its header, changed."""
    length = int.from_bytes(content[:8], "little")
    if length > len(content) or draw(st.booleans()):
        return changed_bytes(content, draw)
    text = written(changed_value(json.loads(content[8 : 8 + length]), draw), draw)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@cases("operators")
@given(st.data())
def test_operators(workspace, capsys, data):
    file = workspace.folder / "run" / "operators.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    if data.draw(st.booleans()):
        content = changed_tensors(content, data.draw)
    else:  # the models that the operators join, in the metadata
        header = json.loads(content[8 : 8 + length])
        key = data.draw(st.sampled_from(["source", "target", "radii"]))
        changed = changed_value(json.loads(header["__metadata__"][key]), data.draw)
        header["__metadata__"][key] = json.dumps(changed)
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + content[8 + length :]
    manifest = file.with_name("manifest.json")
    bare = manifest.read_bytes()
    if data.draw(st.integers(0, 3)):
        manifest.unlink()
    command = ["fuse", "--source", workspace.path("source"), "--operators", str(file)]
    try:
        run(workspace, file, content, [*command, "--out", workspace.path("out")], capsys)
    finally:
        manifest.write_bytes(bare)


@cases("manifest")
@given(st.data())
def test_manifest(workspace, capsys, data):
    """Of packed text, of a model and of a run; changed values with a digest that fits them."""
    file = (
        workspace.folder / data.draw(st.sampled_from(["text", "source", "run"])) / "manifest.json"
    )
    if data.draw(st.booleans()):
        content = changed_bytes(file.read_bytes(), data.draw)
    else:
        value = changed_value(read_json(file, dict[str, Any], ""), data.draw)
        if isinstance(value, dict) and data.draw(st.integers(0, 3)):
            value = sealed(json.loads(json.dumps(value)))
        content = written(value, data.draw)
    command = ["cka", "--source", workspace.path("source"), "--component", "ffn"]
    command += ["--activations", workspace.path("text"), "--out", workspace.path("out", "x.csv")]
    if file.parent.name == "run":
        command = ["fuse", "--source", workspace.path("source"), "--out", workspace.path("out")]
        command += ["--operators", workspace.path("run", "operators.safetensors")]
    run(workspace, file, content, command, capsys)
