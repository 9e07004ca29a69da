"""A Hugging Face model folder as a set of tensors that are read one at a time.

Opening a folder reads only headers and small files, needs no torch, and finds every missing,
misshapen or truncated tensor, so that a bad model is refused at once. A folder written by this
program has a manifest; its files and weights are checked against the digests there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from lemon.architecture import FFN_TYPES, TensorSpec, layer_tensor_name, tensor_specs
from lemon.config_json import shape_of
from lemon.errors import BadInput
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, listed_files, read_manifest, require_digest
from lemon.files.storage import inside
from lemon.files.tensor_file import FORMATS, TensorFile, all_finite

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TIED_FFN = "tied_ffn"  # key of config.json, ignored by transformers
# Other files of a model folder: tokenizer, chat template, generation settings.
COMPANION_SUFFIXES = {".json", ".txt", ".model", ".jinja"}
LOADED_SUFFIXES = COMPANION_SUFFIXES | {".safetensors", ".bin", ".py"}  # by transformers
# If one of these exists, transformers adds an adapter to the weights.
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
COPY_AGAIN = "copy or prepare the model folder again"


class ShardIndex(TypedDict):
    """`model.safetensors.index.json`: the file of each tensor."""

    weight_map: dict[str, str]


class Checkpoint:
    """A model folder of a known family, single-file or sharded.

    Attributes:
        config: its `config.json`.
        shape: the sizes in the config; the tensors were checked against them.
        specs: every tensor of the model by name, in stored order.
        format: safetensors name of the weights' number format; F32 if they are mixed.
        tied_ffn: windows of layers that share one FFN, from the config; their weights are equal.

    Raises:
        BadInput: the model's type is not known, a tensor is missing, misshapen or truncated, a
            small file is damaged, or another file would change the weights that are loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._check_files()
        self.config: dict[str, Any] = read_json(
            self.path / "config.json", dict[str, Any], "name a Hugging Face model folder"
        )
        try:
            self.shape = shape_of(self.config)
        except BadInput as error:
            raise BadInput(f"{self.path / 'config.json'}: {error}") from None
        self.tied_ffn = self._windows(self.config.get(TIED_FFN, []))
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
        """Read one tensor in its stored number format and shape."""
        return self._files[name].read(name)

    def rows(self, name: str, first: int, last: int) -> torch.Tensor:
        """Read only rows first to last - 1 of a tensor."""
        return self._files[name].read(name, first, last)

    def num_bytes(self, name: str) -> int:
        """Stored size of a tensor."""
        return self._files[name].entries[name].num_bytes

    def digest(self) -> str:
        """SHA-256 over name, format, shape and bytes of each tensor in the order of `specs`.

        It does not depend on sharding. BadInput if a weight is not finite, tied FFNs differ, or the
        digest differs from that in the folder's manifest.
        """
        found = self.digest_of(self.specs)
        self._check_ties()
        if (expected := self._recorded.get("weights")) not in (None, found):
            raise BadInput(
                f"{self.path / WEIGHTS}: is damaged; the weights have the digest {found}, but "
                f"{MANIFEST} says {expected}; {COPY_AGAIN}"
            )
        return found

    @property
    def num_parameters(self) -> int:
        """Parameters of the model; a tied head and tied FFNs are counted once."""
        tied = sum(len(window) - 1 for window in self.tied_ffn)
        return self.shape.num_parameters - tied * self.shape.ffn_parameters

    def _windows(self, tied: Any) -> list[list[int]]:
        """The windows of tied FFNs in the config, checked."""
        layers = [layer for window in tied for layer in window] if _is_windows(tied) else None
        known = range(self.shape.num_hidden_layers)
        if layers is None or len(set(layers)) < len(layers) or not set(layers) <= set(known):
            raise BadInput(
                f"{self.path / 'config.json'}: {TIED_FFN} must be lists of two or more layers, "
                f"each of 0 to {known.stop - 1} in at most one; {COPY_AGAIN}"
            )
        return [list(window) for window in tied]

    def _check_ties(self) -> None:
        """Refuse FFNs that the config ties and whose weights differ in a bit."""
        for first, *others in self.tied_ffn:
            for type, other in product(FFN_TYPES, others):
                one, name = layer_tensor_name(type, first), layer_tensor_name(type, other)
                chunks = zip(self._bytes(one), self._bytes(name), strict=True)
                if any(mine != theirs for mine, theirs in chunks):
                    raise BadInput(
                        f"{self.path}: {name} differs from that of layer {first}, and config.json "
                        f"ties them ({TIED_FFN}); {COPY_AGAIN}"
                    )

    def _bytes(self, name: str) -> Iterator[bytes]:
        return self._files[name].read_bytes(name)

    def verify(self, names: Iterable[str]) -> None:
        """Refuse tensors that differ from the digests in the folder's manifest, if it has one."""
        recorded = self._recorded.get("tensors", {})
        for name in names:
            if recorded and self.digest_of([name]) != recorded.get(name):
                raise BadInput(
                    f"{self._files[name].path}: is damaged, {name} is not the tensor whose digest "
                    f"is in {MANIFEST}; {COPY_AGAIN}"
                )

    def digest_of(self, names: Iterable[str]) -> str:
        """The SHA-256 of these tensors: name, format, shape and bytes; BadInput if not finite."""
        digest = hashlib.sha256()
        for name in names:
            for piece in self._pieces(name):
                digest.update(piece)
        return digest.hexdigest()

    def digests(self) -> tuple[str, dict[str, str]]:
        """`digest_of` all tensors, and of each, side by side in one reading."""
        whole, each = hashlib.sha256(), {}
        with ThreadPoolExecutor(1) as beside:
            adding = beside.submit(whole.update, b"")
            for name in self.specs:
                own = hashlib.sha256()
                for piece in self._pieces(name):
                    adding.result()  # so that no more than two pieces are held
                    adding = beside.submit(whole.update, piece)
                    own.update(piece)
                each[name] = own.hexdigest()
        return whole.hexdigest(), each

    def _pieces(self, name: str) -> Iterator[bytes]:
        """The bytes that are hashed for a tensor: name, format, shape, values; all are finite."""
        file = self._files[name]
        entry = file.entries[name]
        yield f"{name} {entry.format} {entry.shape}\n".encode()
        for chunk in file.read_bytes(name):
            if not all_finite(chunk, entry.format):
                raise BadInput(
                    f"{file.path}: {name} holds values that are not finite; {COPY_AGAIN}"
                )
            yield chunk

    def _check_files(self) -> None:
        """Refuse adapters, and files other than those that the folder's manifest lists."""
        manifest = self.path / MANIFEST
        listed = listed_files(manifest) or {}
        self._recorded: dict[str, Any] = read_manifest(manifest) if manifest.is_file() else {}
        for name in ADAPTERS:
            if (self.path / name).exists():
                raise BadInput(
                    f"{self.path / name}: an adapter would be added to the weights; merge it into "
                    "the model and save that, or take the file away"
                )
        for path in sorted(self.path.iterdir()) if listed else ():
            if path.suffix in LOADED_SUFFIXES and path.name not in (MANIFEST, *listed):
                raise BadInput(f"{path}: is not among the files of {manifest}; take it away")
        for name, digest in listed.items():
            if name != WEIGHTS:  # its tensors are checked when they are read
                require_digest(self.path / name, digest, str(manifest))

    def _open_files(self) -> list[TensorFile]:
        if (self.path / WEIGHTS).is_file():
            return [TensorFile(self.path / WEIGHTS)]
        if not (self.path / INDEX).is_file():
            raise BadInput(
                f"{self.path}: holds neither {WEIGHTS} nor {INDEX}; save the model with "
                "save_pretrained, which writes safetensors"
            )
        index = read_json(self.path / INDEX, ShardIndex, COPY_AGAIN)
        shards = sorted(set(index["weight_map"].values()))
        return [TensorFile(inside(self.path, shard, links=True)) for shard in shards]

    def _check(self) -> None:
        """Check the tensors against the sizes in the config, and report all faults together."""
        faults = []
        for name, spec in self.specs.items():
            if name not in self._files:
                faults.append(f"tensor {name} is missing")
            elif (stored := self._files[name].entries[name].shape) != spec.shape:
                faults.append(f"{name} is {list(stored)}, its config says {list(spec.shape)}")
        for name in self._files.keys() - self.specs.keys():
            tied_head = name == "lm_head.weight" and self.shape.tie_word_embeddings
            if not tied_head and not name.endswith("rotary_emb.inv_freq"):
                faults.append(f"tensor {name} does not belong to a {self.shape.family} model")
        for file in set(self._files.values()):
            if file.metadata.get("format") != "pt":
                faults.append(f"the metadata of {file.path.name} has no format `pt`")
        if faults:
            more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise BadInput(
                f"{self.path}: {'; '.join(faults[:3])}{more}. The weights and config.json are not "
                "of one complete model; copy or prepare the folder again"
            )


def _is_windows(tied: Any) -> bool:
    """Whether a value of a config is a list of lists of two or more whole numbers."""
    return isinstance(tied, list) and all(
        isinstance(window, list) and len(window) > 1 and all(type(i) is int for i in window)
        for window in tied
    )
