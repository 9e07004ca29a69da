"""What a run reads, without the files: models, text and processes that have sizes alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lemon.architecture import LlamaShape, tensor_specs
from lemon.checkpoint import Checkpoint
from lemon.config_json import config_of
from lemon.configuration.preset import TextSettings
from lemon.data.text.order import Tokens
from lemon.data.text.packing import PackedText
from lemon.files.tensor_file import FORMATS
from lemon.training.processes import Processes


class BlankCheckpoint(Checkpoint):
    """A model folder of a shape; its tensors are made where they are read."""

    def __init__(self, shape: LlamaShape, dtype: str) -> None:
        """`dtype` is the number format of the stored weights."""
        self.path = Path("blank")
        self.shape = shape
        self.config = config_of(shape, {"model_type": shape.family})
        self.specs = {spec.name: spec for spec in tensor_specs(shape)}
        self.format = next(key for key, (name, _) in FORMATS.items() if name == dtype)

    def tensor(self, name: str) -> Tensor:
        """One tensor of its shape."""
        return torch.empty(self.specs[name].shape, dtype=self.dtype)


class BlankText(PackedText):
    """Packed text of one domain, in which every token is 0."""

    def __init__(self, text: TextSettings, vocab_size: int) -> None:
        """`text` has the length of a sequence."""
        self.domains, self.weights = ["blank"], {"blank": 1.0}
        self.sequence_length, self.vocab_size = text.sequence_length, vocab_size

    def num_sequences(self, split: str, domain: str) -> int:
        """More than any microbatch."""
        return 1000

    def sequence(self, split: str, domain: str, row: int) -> Tokens:
        """One row: int64 [sequence_length + 1]."""
        return np.zeros(self.sequence_length + 1, dtype=np.int64)


class BlankProcesses(Processes):
    """Process 0 of several whose others are not there: what it receives has sizes alone."""

    def gathered(self, share: Tensor) -> Tensor:
        """The shares [s] of all processes one after another, [count * s]."""
        return share.new_empty(self.count * len(share))

    def exchanged(self, sent: Tensor) -> Tensor:
        """What all processes send to this one."""
        return torch.empty_like(sent)
