"""How well the FFN neurons of neighbouring layers match, before and after they are aligned.

Verma, Murray and Duh 2025 (arXiv 2501.06126) merge FFNs whose features correlate once their neurons
are permuted. For the layers l and l + 1 the mean correlation of matched neurons is

    mean_p C[p, pi(p)]     C as in `alignment`

where pi is the identity, or the permutation that `alignment` finds. The best of all permutations
matches strangers too, by about sqrt(2 ln H / T), so its correlation is also measured on other
tokens than those that it was found on.

Features are the inputs of down_proj on held-out text, without the first token of each sequence, as
in `activations`. One layer is held at a time, and the features of two.

Shapes: N rows of L tokens, T tokens, H neurons; 2 for the halves.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from lemon.architecture import layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.decoder import Decoder
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import write_text
from lemon.progress import say
from lemon.similarity.alignment import Features, correlation, matched, paired_correlation

TOKENS = 10_240  # on which a permutation is found; the authors take about 10,000
ROWS = 4  # rows that run through a layer together


@dataclass(frozen=True)
class Match:
    """The mean correlation of matched neurons of layers `layer` and `layer` + 1.

    Attributes:
        unpermuted: of neurons of the same number.
        permuted: under the permutation, on the tokens that it was found on.
        elsewhere: under the same permutation, on other tokens.
    """

    layer: int
    unpermuted: float
    permuted: float
    elsewhere: float


def write_matches(source_dir: Path, text_dir: Path, out: Path) -> None:
    """Write the matches of all neighbouring layers of a model as CSV, and a manifest.

    BadInput if the model or the text is damaged, they do not fit each other, or a feature is not
    finite.
    """
    started = time.monotonic()
    source, text = Checkpoint(source_dir), PackedText(text_dir, ("heldout",))
    digest = source.digest()
    text.require_vocabulary(source.shape.vocab_size)
    found = []
    for match in neighbour_matches(ffn_features(source, heldout_halves(text))):
        say(
            f"match: layers {match.layer} and {match.layer + 1}, mean correlation "
            f"{match.unpermuted:.3f}, permuted {match.permuted:.3f}, there on other tokens "
            f"{match.elsewhere:.3f}"
        )
        found.append(match)
    table = pd.DataFrame(map(asdict, found))
    write_text(out, table.to_csv(index=False, float_format="%.8f", lineterminator="\n"))
    write_manifest(
        out.with_suffix(".manifest.json"),
        "match",
        files=[out],
        inputs={"source": digest, "text": text.digest},
        settings={"tokens": TOKENS},
        started=started,
    )


def neighbour_matches(features_2TH: Iterable[Tensor]) -> Iterator[Match]:
    """The matches of successive layers, from the features of each, one layer after the other.

    The first half of the tokens is that of the assignment, the second has the other ones. Raises as
    `alignment.Features.of`.
    """
    for layer, (own, following) in enumerate(pairwise(features_2TH)):
        where = f"layers {layer} and {layer + 1}"
        scores = correlation(Features.of(own[0], where), Features.of(following[0], where))
        order = matched(scores).chosen
        others = Features.of(own[1], where), Features.of(following[1][:, order], where)
        yield Match(
            layer,
            unpermuted=float(scores.diagonal().mean()),
            permuted=float(scores.gather(1, order[:, None]).mean()),
            elsewhere=float(paired_correlation(*others).mean()),
        )


def heldout_halves(text: PackedText) -> Tensor:
    """The rows of the assignment and as many others, of each domain the next ones, [2, N, L].

    About `TOKENS` tokens are in each half, if there are as many; BadInput if a domain has one row.
    """
    wanted = -(-TOKENS // (text.sequence_length * len(text.domains)))
    halves = []
    for domain in text.domains:
        count = min(wanted, text.num_sequences("heldout", domain) // 2)
        if not count:
            raise BadInput(
                f"{text.path}: {domain} has one held-out sequence, and two are needed, to find a "
                "permutation and to test it; raise text.heldout_sequences"
            )
        rows = [text.sequence("heldout", domain, row)[:-1] for row in range(2 * count)]
        halves.append(np.stack(rows).reshape(2, count, -1))
    return torch.from_numpy(np.concatenate(halves, axis=1))


def ffn_features(source: Checkpoint, tokens_2NL: Tensor) -> Iterator[Tensor]:
    """The features of each layer in turn, [2, T, H], in the model's number format."""
    decoder = Decoder(source.config, torch.device("cpu"))
    hidden = functional.embedding(
        tokens_2NL.flatten(0, 1), source.tensor("model.embed_tokens.weight")
    )
    for layer in range(source.shape.num_hidden_layers):
        weights = {
            type: source.tensor(layer_tensor_name(type, layer))
            for type in source.shape.layer_tensors
        }
        seen: list[Tensor] = []
        with torch.no_grad(), decoder.watched({"down": seen.append}):
            passed = [
                decoder.layer(rows, weights, decoder.positions(rows)) for rows in hidden.split(ROWS)
            ]
        hidden = torch.cat(passed)
        yield torch.cat(seen)[:, 1:].unflatten(0, tokens_2NL.shape[:2]).flatten(1, 2)
