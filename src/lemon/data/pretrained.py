"""Load a model folder with transformers, and report its errors as BadInput."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.errors import BadInput, WorkFailed

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_model(folder: Path, **options: Any) -> PreTrainedModel:
    """The model of a folder, loaded without a network.

    BadInput if transformers refuses the folder, WorkFailed if the model doesn't fit in memory.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    except (MemoryError, torch.OutOfMemoryError):
        raise WorkFailed(f"{folder}: the model doesn't fit in the memory of its device") from None
    except Exception as error:  # exception types differ by library and mistake
        raise _refused(folder, error) from error


def load_tokenizer(folder: Path, vocab_size: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder.

    BadInput if transformers refuses the folder, or an id is beyond the `vocab_size` of the model.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ids = [len(tokenizer) - 1, *tokenizer.all_special_ids, *tokenizer("a").input_ids]
    except Exception as error:  # exception types differ by library and mistake
        raise _refused(folder, error) from error
    if max(ids) >= vocab_size:
        raise BadInput(
            f"{folder}: the tokenizer gives ids up to {max(ids)}, and the model's embedding has "
            f"{vocab_size} rows; take the tokenizer that belongs to the model"
        )
    return tokenizer


def _refused(folder: Path, error: Exception) -> BadInput:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return BadInput(
        f"{folder}: transformers can't load this folder ({type(error).__name__}: {said}); correct "
        "its config and tokenizer files, or copy the folder again"
    )
