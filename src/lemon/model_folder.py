"""Writing a model folder that transformers loads, and the digests for its manifest."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import COMPANION_SUFFIXES, COPY_AGAIN, INDEX, TIED_FFN, WEIGHTS, Checkpoint
from lemon.config_json import config_of
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, file_digest, files_below, write_manifest
from lemon.files.storage import atomic_folder, write_json
from lemon.files.tensor_file import FORMATS, write_tensor_file

if TYPE_CHECKING:
    import torch

NOT_COMPANIONS = {"config.json", MANIFEST, INDEX}


def write_checkpoint(
    out: Path,
    shape: LlamaShape,
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    like: Path,
    dtype: torch.dtype,
    tied_ffn: Sequence[Sequence[int]] = (),
) -> None:
    """Write a model folder for `AutoModelForCausalLM.from_pretrained`, tensor by tensor.

    Args:
        out, shape: an empty folder, and the sizes of the model.
        tensors: every tensor of the model, in any order and float format; each whole, or in
            successive slices of rows. WorkFailed if a weight is not finite.
        like: model folder from which other config keys, tokenizer and generation files are copied.
        dtype: number format of the stored weights; each value is rounded to it once.
        tied_ffn: windows of layers that share one FFN, for `config.json`. Every layer's weights are
            written, since a folder without some would be loaded with random ones.
    """
    format = {f"torch.{name}": key for key, (name, _) in FORMATS.items()}[str(dtype)]
    config = config_of(shape, read_json(like / "config.json", dict[str, Any], COPY_AGAIN))
    config.pop("torch_dtype", None)  # the older name of the same key
    config.pop(TIED_FFN, None)  # of the model that this one is fused from
    if tied_ffn:
        config[TIED_FFN] = [list(window) for window in tied_ffn]
    config["dtype"] = FORMATS[format][0]
    out.mkdir(parents=True, exist_ok=True)
    write_tensor_file(
        out / WEIGHTS,
        {spec.name: spec.shape for spec in tensor_specs(shape)},
        tensors,
        format=format,
        metadata={"format": "pt"},  # without it transformers refuses the file
    )
    for file in sorted(like.iterdir()):
        if file.suffix in COMPANION_SUFFIXES and file.name not in NOT_COMPANIONS:
            shutil.copyfile(file, out / file.name)
    write_json(out / "config.json", config)


def write_model(
    folder: Path,
    shape: LlamaShape,
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    like: Path,
    dtype: torch.dtype,
    stage: str,
    started: float,
) -> None:
    """Write a model folder with its manifest into the folder of a run, atomically.

    Args:
        folder: the model folder; replaced if it is there.
        shape, tensors, like, dtype: as `write_checkpoint` takes them.
        stage, started: the step of the workflow, and `time.monotonic()` at its start.
    """
    with atomic_folder(folder) as temporary:
        write_checkpoint(temporary, shape, tensors, like=like, dtype=dtype)
        digests = model_digests(temporary)
        write_manifest(temporary / MANIFEST, stage, started=started, **digests)


def model_digests(folder: Path) -> dict[str, Any]:
    """For `write_manifest` of a model folder: the digests of its files and of its tensors.

    `weights` is that of all tensors, `tensors` that of each. BadInput if the folder holds no
    complete model, or a weight is not finite.
    """
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(Checkpoint(folder).digests)
        files = {file: file_digest(file) for file in files_below(folder)}
        weights, tensors = reading.result()
    return {"files": files, "weights": weights, "tensors": tensors}
