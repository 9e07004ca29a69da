"""A cached teacher gives the bytes that it computed, whatever happens to its files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from learning_world import LearningWorld

from lemon.checkpoint import Checkpoint
from lemon.decoder import Decoder
from lemon.learning.run import learn
from lemon.learning.source_weights import SourceLayers
from lemon.learning.student import Teacher
from lemon.learning.teacher_cache import DIGEST_BYTES, CachedTeacher

CPU = torch.device("cpu")
TOKENS = torch.randint(0, 256, (3, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["float32", "bfloat16"])
def teacher(request: pytest.FixtureRequest, tiny_model_folder: Path) -> Teacher:
    source, dtype = Checkpoint(tiny_model_folder), getattr(torch, request.param)
    return Teacher(SourceLayers(source, dtype=dtype, device=CPU), Decoder(source.config, CPU))


def cached(teacher: Teacher, folder: Path, digest: str = "a", **limit: int) -> CachedTeacher:
    return CachedTeacher(teacher.weights, teacher.decoder, folder, digest, **limit)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.is_file())


def test_a_kept_batch_is_the_one_that_was_computed(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = teacher(TOKENS)
    assert torch.equal(cached(teacher, tmp_path)(TOKENS), expected)
    assert len(files(tmp_path)) == 1
    monkeypatch.setattr(Teacher, "forward", None)  # it is not asked again
    kept = cached(teacher, tmp_path)(TOKENS)
    assert kept.dtype == expected.dtype and torch.equal(kept, expected)


def test_other_tokens_and_teachers_are_computed(teacher: Teacher, tmp_path: Path) -> None:
    cached(teacher, tmp_path)(TOKENS)
    cached(teacher, tmp_path)(TOKENS.view(7, 3))
    cached(teacher, tmp_path, digest="b")(TOKENS)
    config = teacher.decoder.config | {"rms_norm_eps": 0.01}
    other = Teacher(teacher.weights, Decoder(config, CPU))
    assert not torch.equal(cached(other, tmp_path)(TOKENS), teacher(TOKENS))
    assert len(files(tmp_path)) == 4


@pytest.mark.parametrize("place", [0, DIGEST_BYTES, -1])
def test_a_damaged_file_is_written_again(teacher: Teacher, tmp_path: Path, place: int) -> None:
    expected = cached(teacher, tmp_path)(TOKENS)
    [file] = files(tmp_path)
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", bytearray(whole)):
        if isinstance(damaged, bytearray):
            damaged[place] ^= 1
        file.write_bytes(damaged)
        assert torch.equal(cached(teacher, tmp_path)(TOKENS), expected)
        assert file.read_bytes() == whole


def test_no_more_is_kept_than_the_limit(
    teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cached(teacher, tmp_path)(TOKENS)
    [file] = files(tmp_path)
    size = file.stat().st_size
    for digest in ("b", "c"):
        full = cached(teacher, tmp_path, digest, limit_bytes=2 * size)
        full(TOKENS)
        full(TOKENS + 1)
    assert len(files(tmp_path)) == 2
    told = capsys.readouterr().err
    assert told.count(f"{tmp_path}: holds all that may be kept of teachers") == 2  # once a run


def test_processes_share_the_room(teacher: Teacher, tmp_path: Path) -> None:
    cached(teacher, tmp_path)(TOKENS)
    [file] = files(tmp_path)
    limit = 5 * file.stat().st_size  # room for four more
    both = [cached(teacher, tmp_path, limit_bytes=limit, sharers=2) for _ in range(2)]
    for place, own in enumerate(both):
        for batch in range(3):
            own(TOKENS + 1 + 3 * place + batch)
    assert len(files(tmp_path)) == 5


def test_a_run_with_kept_states_ends_bit_identical(
    learning_world: LearningWorld, tmp_path: Path
) -> None:
    project, ends = learning_world.project(steps=3), []
    source, text, cache = learning_world.source, learning_world.text, tmp_path / "teacher"
    for name, kept in (("without", None), ("first", cache), ("second", cache)):
        learn(project, "lemon-cut-75", source, text, tmp_path / name, teacher_cache=kept)
        events = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        lines = [json.loads(line) for line in events]
        values = [(e["name"], e["value"]) for e in lines if "tokens_per_s" not in e["name"]]
        ends.append(((tmp_path / name / "operators.safetensors").read_bytes(), values))
    assert ends[0] == ends[1] == ends[2]
    learning = project.preset.learning
    batches = 3 * learning.batch_sequences // learning.microbatch_sequences
    assert len(files(cache)) == batches


def test_runs_over_widths_and_layers_share_no_states(
    learning_world: LearningWorld, tmp_path: Path
) -> None:
    """Each radius has the residual stream in an order of its own."""
    project, ends = learning_world.project(steps=2), {}
    source, text, cache = learning_world.source, learning_world.text, tmp_path / "cache"
    learn(project, "lemon-cut-75", source, text, tmp_path / "deep", teacher_cache=cache)
    for run in ("lemon-width-2-2", "lemon-width-2-4"):
        for name, kept in (("kept", cache), ("again", cache), ("computed", None)):
            out = tmp_path / run / name
            learn(project, run, source, text, out, teacher_cache=kept)
            ends[run, name] = (out / "operators.safetensors").read_bytes()
        assert ends[run, "kept"] == ends[run, "again"] == ends[run, "computed"]
    assert len(list(cache.iterdir())) == 3
