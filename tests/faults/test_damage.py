"""A flipped bit in what a stage left is refused by name, or of no effect on any result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_world import CommandWorld
from damage import flipped, places
from drawn_figures import falling_map
from fabricated_runs import write_metrics, write_outcomes
from hub_world import hub_asset
from learning_world import CONFIG, LearningWorld

from lemon.checkpoint import WEIGHTS, Checkpoint
from lemon.configuration.figure_specs import FigureSpec
from lemon.configuration.load import load_project
from lemon.data.fetch.assets import LockedAsset, read_lock, write_lock
from lemon.data.mirror.listing import MirroredRows, MirrorListing, Stamp, read_mirror
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.evaluation.outcomes import Outcome, UnfinishedOutcomes, read_outcomes
from lemon.evaluation.outcomes import write_outcomes as seal_outcomes
from lemon.events import read_events
from lemon.operators.file import load_operators
from lemon.reporting.facts.outcomes import read_run
from lemon.reporting.facts.similarity_maps import read_map
from lemon.reporting.figures.figure_numbers import (
    FigureNumbers,
    FigureWords,
    read_numbers,
    write_numbers,
)
from lemon.similarity.cka import write_cka, write_map

RUN = "lemon-cut-75"


def require_refused_or_harmless(path: Path, read: Callable[[], Any], count: int = 40) -> int:
    """Flip bits of a file; gives how many were refused, which must be by the file's name.

    Args:
        read: gives what the next stage makes of the file, to be compared by `==`.
        count: flips between the file's ends.
    """
    sound, refused = read(), 0
    for place in places(path, count):
        with flipped(path, place):
            try:
                found = read()
            except BadInput as error:
                assert str(path) in str(error), place
                refused += 1
            else:
                assert found == sound, f"{path}: bit {place % 8} of byte {place} is used in silence"
    assert read() == sound
    return refused


@pytest.fixture
def source(learning_world: LearningWorld, tmp_path: Path) -> Path:
    return Path(shutil.copytree(learning_world.source, tmp_path / "source"))


def test_the_weights_of_a_model(source: Path) -> None:
    path = source / WEIGHTS
    assert require_refused_or_harmless(path, lambda: Checkpoint(source).digest()) == len(
        places(path, 40)
    )


def test_the_small_files_of_a_model(source: Path) -> None:
    names = {path.name for path in source.iterdir()} - {WEIGHTS, "manifest.json"}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= names
    for name in sorted(names):
        path = source / name
        refused = require_refused_or_harmless(path, lambda: Checkpoint(source).config, count=10)
        assert refused == len(places(path, 10)), name


def test_the_manifest_of_a_model(source: Path) -> None:
    path = source / "manifest.json"
    assert require_refused_or_harmless(path, lambda: Checkpoint(source).digest(), count=100)


@pytest.mark.parametrize("command", ["fuse", "evaluate", "learn", "build"])
def test_no_command_works_with_damaged_weights(
    command: str,
    source: Path,
    world: CommandWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    option = "model" if command == "evaluate" else "source"
    path = source / WEIGHTS
    with flipped(path, path.stat().st_size - 1000):
        assert world.lemon(command, tmp_path / "out", **{option: str(source)}) == 2
    assert f"{path}: is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_similarity_reads_no_damaged_tensor(source: Path, tmp_path: Path) -> None:
    """It reads some tensors alone, each of which has a digest of its own."""
    path = source / WEIGHTS
    header = json.loads(path.read_bytes()[8:][: int.from_bytes(path.read_bytes()[:8], "little")])
    write_cka(source, "q_proj", tmp_path / "sound.csv")
    start = path.stat().st_size - max(
        place["data_offsets"][1] for name, place in header.items() if name != "__metadata__"
    )
    for name, place in header.items():
        if name == "__metadata__":
            continue
        with flipped(path, start + place["data_offsets"][0]):
            if "q_proj" in name:
                with pytest.raises(BadInput, match=f"is damaged, {name} is not the tensor"):
                    write_cka(source, "q_proj", tmp_path / "map.csv")
            else:
                write_cka(source, "q_proj", tmp_path / "map.csv")
                found, sound = (tmp_path / name for name in ("map.csv", "sound.csv"))
                assert found.read_bytes() == sound.read_bytes()


def test_operators(world: CommandWorld, tmp_path: Path) -> None:
    run = Path(shutil.copytree(world.folder / "run", tmp_path / "run"))
    path = run / "operators.safetensors"

    def read() -> list[Any]:
        operators, metadata = load_operators(path)
        return [metadata, *((name, f.dense().tolist()) for name, f in operators.named_factors())]

    assert require_refused_or_harmless(path, read) == len(places(path, 40))
    assert require_refused_or_harmless(run / "manifest.json", read, count=100)


def test_packed_text(learning_world: LearningWorld, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(learning_world.text, tmp_path / "text"))

    def read() -> list[Any]:
        text = PackedText(folder)
        rows = [
            text.sequence(split, domain, row).tolist()
            for split in ("train", "tune", "heldout")
            for domain in text.domains
            for row in range(text.num_sequences(split, domain))
        ]
        return [text.domains, text.weights, text.vocab_size, text.sequence_length, rows]

    for path in sorted(folder.rglob("*.bin")):
        assert require_refused_or_harmless(path, read, count=10) == len(places(path, 10))
    assert require_refused_or_harmless(folder / "manifest.json", read, count=60)


def test_outcomes_without_a_manifest(tmp_path: Path) -> None:
    """The file knows its own damage, in its footer too."""
    path, key = tmp_path / "sciq.parquet", {"weights": "abc"}
    rows = [
        Outcome(
            n, n % 4, n % 2 == 0, n % 2 == 0, None, [-0.1 * n, -2.0], [3, 4], 0, text=f"row {n}"
        )
        for n in range(40)
    ]
    seal_outcomes(path, rows, key)
    unread, flips = 0, range(0, path.stat().st_size, 3)
    for place in flips:
        with flipped(path, place):
            found = read_outcomes(path, key)
            assert found in (None, rows), f"bit {place % 8} of byte {place} is used in silence"
            unread += found is None
    assert unread > len(flips) / 2
    assert read_outcomes(path, key) == rows


def test_outcomes_metrics_and_perplexity_of_a_run(tmp_path: Path) -> None:
    answers = {"sciq": [True, False, True], "piqa": [False, True]}
    write_outcomes(tmp_path / "cut", answers, loss=2.0)
    write_metrics(tmp_path / "cut")
    folder = tmp_path / "cut" / "outcomes"

    def read() -> list[Any]:
        found = read_run(tmp_path, "cut", list(answers))
        correct = {task: found.correct[task].tolist() for task in answers}
        assert found.heldout is not None
        return [correct, found.heldout.loss, found.heldout.domains, found.manifest]

    for path in (folder / "sciq.parquet", folder / "perplexity.json"):
        assert require_refused_or_harmless(path, read) == len(places(path, 40))
    assert require_refused_or_harmless(folder / "manifest.json", read, count=100)
    metrics = tmp_path / "cut" / "metrics.jsonl"
    refused = require_refused_or_harmless(metrics, lambda: read_events(metrics))
    assert refused == len(places(metrics, 40))


def test_an_unfinished_task(tmp_path: Path) -> None:
    """A damaged line is scored anew, and so is everything behind a damaged key."""
    sealed, key = tmp_path / "sciq.parquet", {"weights": "abc"}
    rows = {n: Outcome(n, 1, True, True, None, [-0.1 * n], [3], 0, text="é") for n in range(6)}
    UnfinishedOutcomes(sealed, key).append(list(rows.values()))
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    for place in range(0, len(whole), 4):
        path.write_bytes(whole)
        with flipped(path, place):
            found = UnfinishedOutcomes(sealed, key).outcomes
        assert found.items() <= rows.items(), f"byte {place} is used in silence"
        assert len(found) < len(rows)


def test_lock_and_mirror_lists(tmp_path: Path) -> None:
    asset = hub_asset()
    entry = LockedAsset("hub", asset.repo, "0" * 40, "1" * 64, 9, "hub/a", ("*",), "CC0")
    lock = tmp_path / "lock.json"
    write_lock(lock, {"model": entry})
    assert require_refused_or_harmless(lock, lambda: read_lock(lock), count=400)
    rows = MirroredRows("main", "0" * 40, {"c": {"test": ["a"]}}, {"a": Stamp(1, "0" * 64)})
    listed = tmp_path / "mirror.json"
    MirrorListing(rows={"owner/name": rows}).write(listed)
    assert require_refused_or_harmless(listed, lambda: read_mirror(tmp_path), count=400)


def test_numbers_of_a_figure(tmp_path: Path) -> None:
    frame = pd.DataFrame({"run": ["a", "b"], "value": [0.25, 0.5]})
    words = FigureWords("title", "caption", "weight_similarity", {}, {"map.csv": "0" * 64})
    numbers = FigureNumbers(frame, words)
    write_numbers(numbers, tmp_path, "figure2")

    def read() -> list[Any]:
        found = read_numbers(tmp_path, "figure2")
        return [found.frame.to_csv(), found.words]

    for name in ("figure2.csv", "figure2.facts.json"):
        assert require_refused_or_harmless(tmp_path / name, read, count=400)


def test_a_map_of_similarity(tmp_path: Path) -> None:
    spec = load_project("laptop", CONFIG).entry("figure2")
    assert isinstance(spec, FigureSpec)
    path = tmp_path / spec.maps[0].path
    write_map(falling_map(6), path, settings={}, started=0.0)

    def read() -> Any:
        return read_map(tmp_path, spec.maps[0]).tolist()

    assert require_refused_or_harmless(path, read) == len(places(path, 40))
    assert require_refused_or_harmless(path.with_suffix(".manifest.json"), read, count=100)
