"""Linear CKA between the sublayer outputs of a model's layers on held-out text.

The work on merging feed-forward sublayers measures similarity on outputs instead of weights (with
10,000 tokens). Rows are tokens, the same for all layers; columns are the coordinates that attention
or the FFN adds to the residual stream.

The first token of each sequence is excluded: models of this family have their largest activations
there, whatever the text.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.similarity.cka import hsic, normalised, write_map
from lemon.similarity.gram import GramProducts, inner_products

if TYPE_CHECKING:
    import torch

TOKENS = 2048  # rows of each representation; each layer's Gram matrix is [TOKENS, TOKENS]
BLOCK_ROWS = 128  # rows of all layers' Gram matrices at a time
SUBLAYERS = {"mha": "self_attn", "ffn": "mlp"}


def write_activation_cka(
    source_dir: Path, text_dir: Path, component: str, out: Path, debiased: bool = False
) -> None:
    """Write the similarity of all pairs of layers, as `lemon.similarity.cka.write_map` does.

    The text has held-out sequences; `component` is `mha` or `ffn`. BadInput if the text is of
    another vocabulary, or a layer has the same output for every token.
    """
    started = time.monotonic()
    Checkpoint(source_dir).digest()  # verifies the weights, which transformers does not
    outputs = sublayer_outputs(source_dir, PackedText(text_dir, ("heldout",)), component)
    settings = {"component": component, "debiased": debiased, "tokens": TOKENS}
    write_map(activation_cka(outputs, debiased), out, settings, started)


def activation_cka(outputs: list[torch.Tensor], debiased: bool = False) -> np.ndarray:
    """CKA of every pair of layers, [L, L] float64.

    `outputs` are those of each layer, [token, coordinate], for the same tokens; BadInput if one has
    the same output for every token.
    """
    values = hsic(_products(outputs), "debiased" if debiased else "plain")
    for layer in np.flatnonzero(~(values.diagonal() > 0)):
        raise BadInput(f"layer {layer} has the same output for every token")
    return normalised(values)


def _products(outputs: list[torch.Tensor]) -> GramProducts:
    """Inner products of the Gram matrices of all layers, `BLOCK_ROWS` rows at a time."""
    import torch

    centred = [output.float() - output.float().mean(0) for output in outputs]
    tokens = len(centred[0])
    off_diagonal = np.zeros((len(centred), len(centred)))
    diagonals = np.empty((len(centred), tokens))
    for first in range(0, tokens, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, tokens)
        rows = torch.stack([x[first:last] @ x.T for x in centred])
        squares = rows[:, :, first:last].diagonal(dim1=1, dim2=2)
        diagonals[:, first:last] = squares.double().numpy()
        squares.zero_()
        off_diagonal += inner_products(rows.flatten(1)).numpy()
    return GramProducts(off_diagonal, diagonals)


def sublayer_outputs(source_dir: Path, text: PackedText, component: str) -> list[torch.Tensor]:
    """The output of every layer's attention or FFN, [at most TOKENS, coordinate] each.

    The tokens are spread evenly over the first held-out sequences of all domains. BadInput if the
    text was tokenised for another vocabulary.
    """
    import torch

    from lemon.data.pretrained import load_model

    model = load_model(source_dir).eval()
    text.require_vocabulary(model.config.vocab_size)
    found: list[list[torch.Tensor]] = [[] for _ in model.base_model.layers]
    keep = torch.empty(0, dtype=torch.long)

    def catch(kept: list[torch.Tensor], module: Any, inputs: Any, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        kept.append(hidden[0, keep].float())

    for layer, kept in zip(model.base_model.layers, found, strict=True):
        getattr(layer, SUBLAYERS[component]).register_forward_hook(partial(catch, kept))
    sequences = list(_sequences(text))
    each = -(-TOKENS // len(sequences))
    with torch.inference_mode():
        for tokens in sequences:
            positions = np.linspace(1, len(tokens) - 1, min(each, len(tokens) - 1))
            keep = torch.from_numpy(positions.round().astype(np.int64))
            model.base_model(input_ids=torch.from_numpy(tokens)[None], use_cache=False)
    return [torch.cat(kept)[:TOKENS] for kept in found]


def _sequences(text: PackedText) -> Iterator[np.ndarray]:
    """The first held-out sequences of all domains, with about 4 * `TOKENS` tokens in total.

    The last token of each is dropped, because no token follows it.
    """
    a_domain = -(-4 * TOKENS // (text.sequence_length * len(text.domains)))
    for domain in text.domains:
        for row in range(min(a_domain, text.num_sequences("heldout", domain))):
            yield text.sequence("heldout", domain, row)[:-1]
