"""`--out`: an empty folder or one's own is written, and any other is refused and left as it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_world import COMMANDS, REPLACING, RUN, CommandWorld, tree

from lemon.errors import BadInput
from lemon.files.ownership import own_folder, owner_of_run, require_replaceable
from lemon.files.storage import LOCK


def folder(*files: str) -> Callable[[Path], Path]:
    """Makes a folder `precious` with the given files."""

    def make(base: Path) -> Path:
        for name in files:
            path = base / "precious" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"name": name, "version": 2}))
        return base / "precious"

    return make


def and_then(name: str) -> Callable[[Path], Path]:
    """Makes such a folder, and gives a path to it that leads through others."""
    return lambda base: folder("thesis/chapter.tex")(base) / name


def linked(base: Path) -> Path:
    folder("chapter.tex")(base)
    (base / "link").symlink_to(base / "precious", target_is_directory=True)
    return base / "link"


def file(base: Path) -> Path:
    (base / "chapter.tex").write_text("precious")
    return base / "chapter.tex"


FOREIGN: dict[str, Callable[[Path], Path]] = {
    "a user's folder": folder("thesis/chapter.tex"),
    "a folder with a config.json": folder("config.json"),
    "the manifest of another program": folder("manifest.json", "app.js"),
    "hidden files alone": folder(".git/config"),
    "a folder of folders": lambda base: folder("a/b")(base),
    "the parent by a folder that is not there": and_then("new/.."),
    "further up by folders that are not there": and_then("new/deeper/../.."),
    "the parent by a folder that is there": and_then("thesis/.."),
    "a link": linked,
    "a file": file,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_foreign_place_is_refused_untouched(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, make in FOREIGN.items():
        base = tmp_path / name
        base.mkdir()
        out = make(base)
        before = tree(base)
        assert world.lemon(command, out) == 2, name
        assert tree(base) == before, name
        told = capsys.readouterr().err
        assert told.count("lemon: error:") == 1 and str(base) in told, name


@pytest.mark.parametrize("command", COMMANDS)
def test_the_working_folder_is_refused_untouched(
    command: str, world: CommandWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "notes.txt").write_text("precious")
    monkeypatch.chdir(tmp_path / "work")
    before = tree(tmp_path)
    for out in (".", "..", "../new/..", "new/..", str(tmp_path / "work" / "new" / "..")):
        assert world.lemon(command, Path(out)) == 2, out
        assert tree(tmp_path) == before, out


@pytest.fixture(scope="module")
def made(world: CommandWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each command writes, in a folder of its own name that was there and empty."""
    base = tmp_path_factory.mktemp("made")
    for command in COMMANDS:
        (base / command).mkdir()
        assert world.lemon(command, base / command) == 0
    return base


@pytest.mark.parametrize("command", COMMANDS)
def test_what_another_command_wrote_is_refused_untouched(
    command: str, world: CommandWorld, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made)
    for other in COMMANDS:
        if other != command:
            assert world.lemon(command, made / other) == 2, other
            assert "nothing was changed" in capsys.readouterr().err, other
    assert tree(made) == before


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("fuse", "evaluate")])
def test_the_folder_of_another_preset_is_refused_untouched(
    command: str, world: CommandWorld, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(made)
    assert world.lemon(command, made / command, preset="other") == 2
    assert "of preset smoke" in capsys.readouterr().err
    assert tree(made) == before


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        ("build", {"run": "average-75"}),
        ("learn", {"run": "lemon-cut-50"}),
        ("fuse", {"operators": "learn/operators.safetensors"}),
        ("evaluate", {"model": "fuse"}),
    ],
)
def test_the_folder_of_another_run_is_refused_untouched(
    command: str,
    changed: dict[str, str],
    world: CommandWorld,
    made: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    changed = {
        key: str(made / value) if (made / value).exists() else value
        for key, value in changed.items()
    }
    before = tree(made)
    assert world.lemon(command, made / command, **changed) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert tree(made) == before


def test_the_model_that_is_read_is_not_replaced(world: CommandWorld) -> None:
    before = tree(world.folder)
    assert world.lemon("fuse", world.folder / "source") == 2
    assert world.lemon("prepare text", world.folder / "source") == 2
    assert tree(world.folder) == before


@pytest.mark.parametrize("command", REPLACING)
def test_a_users_file_in_a_folder_of_ours_keeps_it_from_being_replaced(
    command: str,
    world: CommandWorld,
    made: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    for number, name in enumerate(("notes.txt", "train/notes.txt", ".notes", "link")):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made / command, out)
        note = out / name
        note.parent.mkdir(exist_ok=True)
        if name == "link":
            note.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        else:
            note.write_text("precious")
        before = tree(tmp_path)
        assert world.lemon(command, out) == 2, name
        assert f"holds {name}, which is not among the files that its" in capsys.readouterr().err
        assert tree(tmp_path) == before, number


@pytest.mark.parametrize("command", RUN)
def test_a_users_file_in_the_folder_of_a_run_stays_there(
    command: str, world: CommandWorld, made: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(made / command, tmp_path / "out"))
    (out / "notes.txt").write_text("precious")
    assert world.lemon(command, out) == 0
    assert (out / "notes.txt").read_text() == "precious"


def without_times(folder: Path) -> dict[str, bytes | str]:
    return {name: said for name, said in tree(folder).items() if "manifest.json" not in name}


@pytest.mark.parametrize("command", COMMANDS)
def test_its_own_folder_is_written_again(
    command: str, world: CommandWorld, made: Path, tmp_path: Path
) -> None:
    """By its name, by a link, and by a path through another folder."""
    shutil.copytree(made / command, tmp_path / "out")
    (tmp_path / "link").symlink_to("out", target_is_directory=True)
    for out in (tmp_path / "out", tmp_path / "link", tmp_path / "out" / ".." / "out"):
        (tmp_path / "out" / "manifest.json").touch()
        assert world.lemon(command, out) == 0
    assert os.readlink(tmp_path / "link") == "out"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "out"]
    assert without_times(tmp_path / "out") == without_times(made / command)


def test_an_empty_folder_is_written(made: Path) -> None:
    assert all((made / command / "manifest.json").is_file() for command in COMMANDS)


def test_a_run_that_was_cut_short_keeps_its_folder(tmp_path: Path) -> None:
    """Before there is a manifest, the file that keeps a second writer out names the owner."""
    owner, other = (owner_of_run("smoke", run) for run in ("lemon-cut-75", "lemon-cut-50"))
    with own_folder(tmp_path / "run", owner):
        (tmp_path / "run" / "metrics.jsonl").touch()
    before = tree(tmp_path)
    with pytest.raises(BadInput, match="holds the run lemon-cut-75 of preset smoke, not the run"):
        own_folder(tmp_path / "run", other).__enter__()
    assert tree(tmp_path) == before
    with own_folder(tmp_path / "run", owner):
        pass


def test_a_lock_that_leads_elsewhere_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(tmp_path / "precious")
    with (
        pytest.raises(BadInput, match="run: a link is in the way, or one that leads to itself"),
        own_folder(tmp_path / "run", owner_of_run("smoke", "cut-75")),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_link_that_leads_nowhere_is_told(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One to what is not there may be written through; one to itself may not."""
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "gone").symlink_to(tmp_path / "chapter" / "out")
    for out in (tmp_path / "circle", tmp_path / "circle" / "out"):
        assert world.lemon(command, out) != 0
        told = capsys.readouterr().err
        assert told.count("lemon: error:") == 1 and str(out) in told
    world.lemon(command, tmp_path / "gone")
    assert capsys.readouterr().err.count("lemon: error:") <= 1
    assert os.readlink(tmp_path / "circle") == "circle"
    assert os.readlink(tmp_path / "gone") == str(tmp_path / "chapter" / "out")


@pytest.mark.parametrize("place", ["/", "/new/..", "/.."])
def test_the_root_of_the_file_system_is_refused(place: str) -> None:
    with pytest.raises(BadInput, match="is the root of the file system"):
        require_replaceable(Path(place), "text of preset smoke")
