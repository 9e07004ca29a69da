"""A teacher whose hidden states are kept on disk, for every run that sees the same batch.

Runs of one seed learn from the same rows in the same order, and their teacher never changes. A kept
batch is the bytes that were computed: with the cache and without it a run ends bit-identical.

Shapes: B sequences, T tokens, D hidden size of the teacher.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from lemon.decoder import Decoder
from lemon.errors import BadInput, WorkFailed
from lemon.files.storage import atomic_file
from lemon.learning.source_weights import SourceWeights
from lemon.learning.student import Teacher
from lemon.progress import say
from lemon.provenance import computation_key

LIMIT_BYTES = 2 * 10**9  # of all cached teachers together
DIGEST_BYTES = hashlib.sha256().digest_size


class CachedTeacher(Teacher):
    """A teacher that reads the hidden states of a batch where they are kept, and else keeps them.

    A file holds the sha256 of what follows, then the states as raw bytes. Its name is the sha256 of
    the tokens; its folder is named by all else that the states depend on. A missing or damaged file
    is written again. Nothing more is kept once the folder holds `limit_bytes`, or if a write fails.
    Nothing is ever removed, not even what an earlier version of the program kept: a message names
    the folder that is full. Jobs that run at the same time each count what lay there when they
    started.
    """

    def __init__(
        self,
        weights: SourceWeights,
        decoder: Decoder,
        folder: Path,
        digest: str,
        limit_bytes: int = LIMIT_BYTES,
        sharers: int = 1,
    ) -> None:
        """Args:
        weights, decoder: of the teacher.
        folder: of all cached teachers.
        digest: of the teacher's model folder.
        limit_bytes: most bytes of all cached teachers together.
        sharers: processes that fill the room together, each with the batches of its own rows.
        """
        super().__init__(weights, decoder)
        self._dtype = weights.dtype
        self._folder = folder / computation_key(
            weights.embedding.device.type,
            teacher=digest,
            config=decoder.config,
            dtype=str(self._dtype),
            radius=weights.radius,
        )
        held = sum(file.stat().st_size for file in folder.glob("*/*") if file.is_file())
        self._room = (limit_bytes - held) // sharers
        self._told = False

    @torch.no_grad()
    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Final hidden states [B, T, D], after the last norm."""
        tokens = tokens_BT.cpu().contiguous().numpy()
        name = hashlib.sha256(repr(tokens.shape).encode() + tokens.tobytes()).hexdigest()
        path = self._folder / name
        shape = (*tokens_BT.shape, self.head_weight().shape[1])
        kept = self._read(path, shape)
        if kept is not None:
            return kept.to(tokens_BT.device)
        hidden = super().forward(tokens_BT)
        self._keep(path, hidden)
        return hidden

    def _read(self, path: Path, shape: tuple[int, ...]) -> Tensor | None:
        """The kept states, or None if they are missing or damaged."""
        try:
            data = bytearray(path.read_bytes())
        except OSError:
            return None
        states = memoryview(data)[DIGEST_BYTES:]
        if hashlib.sha256(states).digest() != bytes(data[:DIGEST_BYTES]):
            return None
        return torch.frombuffer(data, dtype=self._dtype, offset=DIGEST_BYTES).view(shape)

    def _keep(self, path: Path, hidden: Tensor) -> None:
        states = hidden.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        size = DIGEST_BYTES + len(states)
        if size > self._room:
            if not self._told:
                say(
                    f"{self._folder.parent}: holds all that may be kept of teachers; what is not "
                    "there is computed in each run, until the folder is removed"
                )
            self._told = True
            return
        try:
            with atomic_file(path) as temporary:
                temporary.write_bytes(hashlib.sha256(states).digest() + states)
        except (BadInput, WorkFailed, OSError) as error:
            say(f"the teacher's states are not kept: {error}")
            self._room, self._told = 0, True
        else:
            self._room -= size
