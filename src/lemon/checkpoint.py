"""A Hugging Face model folder as a set of tensors that are read and written one at a time.

Opening a folder reads only headers, needs no torch, and finds every missing, misshapen or cut
tensor, so that a bad model is refused at once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.architecture import LlamaShape, TensorSpec, tensor_specs
from lemon.errors import BadInput
from lemon.storage import atomic_folder, write_json
from lemon.tensor_file import FORMATS, TensorFile, write_tensor_file

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What a model folder holds beside weights and sizes: tokenizer, chat template, generation.
COMPANION_SUFFIXES = {".json", ".txt", ".model", ".jinja"}
NOT_COMPANIONS = {"config.json", "manifest.json", INDEX}


class Checkpoint:
    """A LLaMA-family model folder, single-file or sharded.

    Attributes:
        path: the folder.
        config: its `config.json`.
        shape: the sizes that the config states and that the tensors were checked against.
        specs: every tensor of the model by name, in stored order.
        format: number format of the weights as safetensors names it; F32 where they are mixed.

    Raises:
        BadInput: the folder is no LLaMA model, or a tensor is missing, misshapen or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = _read_json(self.path / "config.json")
        try:
            self.shape = LlamaShape.from_config(self.config)
        except BadInput as error:
            raise BadInput(f"{self.path / 'config.json'}: {error}") from None
        self.specs: dict[str, TensorSpec] = {spec.name: spec for spec in tensor_specs(self.shape)}
        self._files: dict[str, TensorFile] = {
            name: file for file in self._open_files() for name in file.entries
        }
        self._check()
        formats = {self._files[name].entries[name].format for name in self.specs}
        self.format = formats.pop() if len(formats) == 1 else "F32"

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the weights."""
        import torch

        return getattr(torch, FORMATS[self.format][0])

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor, in its stored number format and shape, and nothing else."""
        return self._files[name].read(name)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Read rows first to last - 1 of one tensor, and nothing else."""
        return self._files[name].read(name, first, last)

    def num_bytes(self, name: str) -> int:
        """Length of a tensor as it is stored."""
        return self._files[name].entries[name].num_bytes

    def digest(self) -> str:
        """SHA-256 over name, format, shape and bytes of each tensor in the order of `specs`.

        The same weights give the same digest however they are sharded.
        """
        digest = hashlib.sha256()
        for name in self.specs:
            entry = self._files[name].entries[name]
            digest.update(f"{name} {entry.format} {entry.shape}\n".encode())
            for chunk in self._files[name].read_bytes(name):
                digest.update(chunk)
        return digest.hexdigest()

    def _open_files(self) -> list[TensorFile]:
        if (self.path / WEIGHTS).is_file():
            return [TensorFile(self.path / WEIGHTS)]
        if not (self.path / INDEX).is_file():
            raise BadInput(
                f"{self.path}: holds neither {WEIGHTS} nor {INDEX}; save the model with "
                "save_pretrained, which writes safetensors"
            )
        weight_map = _read_json(self.path / INDEX).get("weight_map", {})
        return [TensorFile(self.path / shard) for shard in sorted(set(weight_map.values()))]

    def _check(self) -> None:
        """Hold the tensors against the sizes of the config, and report every fault at once."""
        faults = []
        for name, spec in self.specs.items():
            if name not in self._files:
                faults.append(f"tensor {name} is missing")
            elif (stored := self._files[name].entries[name].shape) != spec.shape:
                faults.append(f"{name} is {list(stored)}, its config says {list(spec.shape)}")
        for name in self._files.keys() - self.specs.keys():
            tied_head = name == "lm_head.weight" and self.shape.tie_word_embeddings
            if not tied_head and not name.endswith("rotary_emb.inv_freq"):
                faults.append(f"tensor {name} does not belong to a LLaMA model")
        if faults:
            more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise BadInput(
                f"{self.path}: {'; '.join(faults[:3])}{more}. The weights and config.json are not "
                "of one complete LLaMA model; copy or prepare the folder again"
            )


def write_checkpoint(
    out: Path,
    shape: LlamaShape,
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    like: Path,
    dtype: torch.dtype,
) -> None:
    """Write a model folder that `AutoModelForCausalLM.from_pretrained` opens, tensor by tensor.

    Args:
        out: the folder; it appears whole or not at all, and replaces a model folder.
        shape: sizes of the model.
        tensors: every tensor of the model, in any order and float format; each whole, or in
            successive slices of rows.
        like: model folder that gives the config's other keys, the tokenizer and generation files.
        dtype: number format of the stored weights; each value is rounded to it once.

    Raises:
        BadInput: `out` holds something that is not a model, or may not be written.
        WorkFailed: the disk is full, or a weight is not finite.
    """
    format = {f"torch.{name}": key for key, (name, _) in FORMATS.items()}[str(dtype)]
    config = shape.to_config(_read_json(like / "config.json"))
    config.pop("torch_dtype", None)  # the older name of the same key
    config["dtype"] = FORMATS[format][0]
    check_replaceable(out)
    with atomic_folder(out) as folder:
        write_tensor_file(
            folder / WEIGHTS,
            {spec.name: spec.shape for spec in tensor_specs(shape)},
            tensors,
            format=format,
            metadata={"format": "pt"},  # without it transformers refuses the file
        )
        for file in sorted(like.iterdir()):
            if file.suffix in COMPANION_SUFFIXES and file.name not in NOT_COMPANIONS:
                shutil.copyfile(file, folder / file.name)
        write_json(folder / "config.json", config)


def check_replaceable(out: Path) -> None:
    """Refuse to replace anything but an earlier model folder.

    Raises:
        BadInput: `out` is a file, or a folder with contents and no config.json.
    """
    if out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not (out / "config.json").exists()
    ):
        raise BadInput(f"{out}: exists and is not a model folder; name a new folder")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise BadInput(f"{path}: no such file; name a Hugging Face model folder") from None
    except OSError as error:
        raise BadInput(f"{path}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path}: must hold a JSON object")
    return value
