"""What a training run is made from: one that starts again repeats nothing and mixes nothing."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST, checked_file, listed_files, read_manifest


def checkpoint_key(key: str, inputs: Mapping[str, str]) -> str:
    """What checkpoints belong to: a run continues only with its settings and what it read."""
    return json.dumps([key, dict(inputs)], sort_keys=True)


def finished_before(
    label: str, out: Path, key: str, inputs: Mapping[str, str], models: Iterable[Path]
) -> bool:
    """As `is_complete`, and if so say it and remove what a killed job left of its checkpoints.

    `label` is the run's id, for the message.
    """
    if not is_complete(out, key, inputs, models):
        return False
    print(f"{label}: all its steps are done already", file=sys.stderr)
    (out / MANIFEST).touch()
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    return True


def read_digests(source: Checkpoint, text: PackedText, **models: Path | None) -> dict[str, str]:
    """The digests of what a run reads, for its manifest: its model, its text, and further models.

    `models` are folders by name; None for one that the run does not read.

    Raises:
        BadInput: the text was packed with another vocabulary than the model's.
    """
    if text.vocab_size != source.shape.vocab_size:
        raise BadInput(
            f"{text.path}: packed with a vocabulary of {text.vocab_size} tokens, the model in "
            f"{source.path} has {source.shape.vocab_size}; prepare the text again with this model"
        )
    more = {name: Checkpoint(folder).digest() for name, folder in models.items() if folder}
    return {"source": source.digest(), "text": text.digest, **more}


def is_complete(out: Path, key: str, inputs: Mapping[str, str], models: Iterable[Path]) -> bool:
    """Whether a run of these settings and inputs is finished and all its files are present.

    A workflow that was killed before it recorded the end of a run starts the run again.

    Args:
        out: the run's folder.
        key, inputs: its canonical settings, and the digests of what it reads.
        models: the model folders inside `out` that it writes.

    Raises:
        BadInput: the run is finished, but a file is damaged.
    """
    if not (out / MANIFEST).is_file():
        return False
    manifest = read_manifest(out / MANIFEST)
    if (manifest.get("key"), manifest.get("inputs")) != (key, inputs):
        return False
    files, models = [out / name for name in manifest["files"]], list(models)
    parts = [
        model / name
        for model in models
        for name in (MANIFEST, *(listed_files(model / MANIFEST) or {}))
    ]
    for path in [*files, *parts]:
        if not path.is_file():
            print(f"{path}: is missing, so the run is trained again", file=sys.stderr)
            return False
    for path in files:
        checked_file(path, out / MANIFEST)
    for model in models:
        Checkpoint(model).digest()
    return True
