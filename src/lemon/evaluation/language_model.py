"""The language model that lm-eval asks: its `hf` model, with each shared prefix run once.

The answers of a question share the question. Their token sequences are merged into a tree in
which every distinct prefix is stored once; a token has the position that it has in its own
sequence, and an attention mask lets it see its own ancestors only. So one forward pass over the
tree gives every sequence the hidden states that it has alone. Only the states that predict an
answer's tokens meet the vocabulary. Tokenisation, truncation and everything else stay lm-eval's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.errors import BadInput, WorkFailed

Request = tuple[tuple[str, str], list[int], list[int]]
"""((context, answer) as text, the context's tokens, the answer's tokens)."""

Score = tuple[float, bool]
"""(log-likelihood of the answer in nats, the answer is the greedy continuation)."""

log = logging.getLogger(__name__)

SHARED_AT_LEAST = 0.25  # part of a sequence that must be in a tree already for it to join
HEAD_ROWS = 512  # hidden states that meet the vocabulary at once: 100 MB of logits at 49,152 words


class TokenTree:
    """Token sequences in which every distinct prefix is stored once.

    Attributes:
        tokens: one token id a node; parents come before children.
        positions: how many tokens precede each node in its sequences.
        paths: the nodes of each sequence from its first token to its last.
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.paths: list[list[int]] = []
        self._parents: list[int | None] = []
        self._children: dict[tuple[int | None, int], int] = {}

    def shared(self, sequence: Sequence[int]) -> int:
        """How many of a sequence's first tokens are stored already."""
        node = None
        for depth, token in enumerate(sequence):
            node = self._children.get((node, token))
            if node is None:
                return depth
        return len(sequence)

    def add(self, sequence: Sequence[int]) -> None:
        """Store a sequence."""
        node: int | None = None
        path: list[int] = []
        for token in sequence:
            child = self._children.setdefault((node, token), len(self.tokens))
            if child == len(self.tokens):
                self.tokens.append(token)
                self.positions.append(len(path))
                self._parents.append(node)
            path.append(child)
            node = child
        self.paths.append(path)

    def ancestry(self, size: int) -> Tensor:
        """Which node sees which, [size, size] bool: itself and its ancestors.

        Nodes from `len(tokens)` on are padding and see themselves.
        """
        seen = torch.eye(size, dtype=torch.bool)
        for node, parent in enumerate(self._parents):
            if parent is not None:
                seen[node, :node] = seen[parent, :node]
        return seen


def token_log_likelihoods(
    head: nn.Module, hidden: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Score tokens against the hidden states that predict them, a few rows at a time.

    Args:
        head: maps hidden states to logits over the vocabulary.
        hidden: [rows, hidden_size].
        targets: [rows], token ids.

    Returns:
        [rows] float32 log-likelihoods in nats, and [rows] bool: the target has the largest logit.
    """
    values, greedy = [], []
    for rows, wanted in zip(hidden.split(HEAD_ROWS), targets.split(HEAD_ROWS), strict=True):
        logits = head(rows).float()
        chosen = logits.gather(1, wanted[:, None])[:, 0]
        largest = logits.amax(dim=1)
        hits = chosen == largest
        hits[hits.clone()] = logits[hits].argmax(dim=1) == wanted[hits]  # slow, so only for hits
        normaliser = logits.sub_(largest[:, None]).exp_().sum(dim=1).log_()
        values.append(chosen - largest - normaliser)
        greedy.append(hits)
    return torch.cat(values), torch.cat(greedy)


class SharedPrefixLM(HFLM):
    """lm-eval's `hf` model for LLaMA-family decoders, faster where requests share a prefix.

    Log-likelihoods equal those of `HFLM(..., softmax_dtype="float32")` up to rounding.
    `batch_size` is the largest number of requests in one forward pass.
    """

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Score]:
        batch_size = override_bs or int(self.batch_size)
        trees = list(self._trees(requests, batch_size))
        trees.sort(key=lambda tree: -len(tree[0].tokens))  # like sizes together: little padding
        room = self.max_length + 1  # the last token is predicted and never read
        if long := sum(len(context) + len(answer) > room for _, context, answer in requests):
            log.warning("%d requests exceed %d tokens and lose their beginning", long, room)
        scores: dict[int, Score] = {}
        for batch in _batches(trees, batch_size):
            scores.update(self._score(batch, requests))
        return [scores[number] for number in range(len(requests))]

    def _trees(
        self, requests: list[Request], batch_size: int
    ) -> Iterator[tuple[TokenTree, list[int]]]:
        """Join neighbouring requests that share much: (their tree, their numbers)."""
        tree, numbers = TokenTree(), list[int]()
        for number, (texts, context, answer) in enumerate(requests):
            if not answer:
                raise BadInput(f"the answer {texts[1]!r} after {texts[0][-60:]!r} has no tokens")
            sequence = (context + answer)[-(self.max_length + 1) :][:-1]
            joins = tree.shared(sequence) >= SHARED_AT_LEAST * len(sequence)
            if numbers and not (joins and len(numbers) < batch_size):
                yield tree, numbers
                tree, numbers = TokenTree(), []
            tree.add(sequence)
            numbers.append(number)
        if numbers:
            yield tree, numbers

    @torch.inference_mode()
    def _score(
        self, batch: list[tuple[TokenTree, list[int]]], requests: list[Request]
    ) -> Iterator[tuple[int, Score]]:
        """Score a batch of trees in one forward pass: (number of the request, its score)."""
        size = max(len(tree.tokens) for tree, _ in batch)

        def padded(rows: Sequence[list[int]]) -> Tensor:
            return torch.tensor([row + [0] * (size - len(row)) for row in rows], device=self.device)

        seen = torch.stack([tree.ancestry(size) for tree, _ in batch])[:, None]
        mask = torch.zeros(seen.shape, dtype=self.model.dtype).masked_fill_(~seen, float("-inf"))
        hidden = self.model.base_model(
            input_ids=padded([tree.tokens for tree, _ in batch]),
            position_ids=padded([tree.positions for tree, _ in batch]),
            attention_mask=mask.to(self.device),
            use_cache=False,
        ).last_hidden_state.flatten(0, 1)

        numbers = [number for _, members in batch for number in members]
        answers = [requests[number][2] for number in numbers]
        paths = [(row, path) for row, (tree, _) in enumerate(batch) for path in tree.paths]
        places = [
            row * size + node
            for (row, path), answer in zip(paths, answers, strict=True)
            for node in path[-len(answer) :]
        ]
        values, greedy = token_log_likelihoods(
            self.model.get_output_embeddings(),
            hidden[torch.tensor(places, device=self.device)],
            torch.tensor([token for answer in answers for token in answer], device=self.device),
        )
        lengths = list(map(len, answers))
        for number, value, hit in zip(
            numbers, values.cpu().split(lengths), greedy.cpu().split(lengths), strict=True
        ):
            yield number, (float(value.sum()), bool(hit.all()))


def _batches(
    trees: list[tuple[TokenTree, list[int]]], batch_size: int
) -> Iterator[list[tuple[TokenTree, list[int]]]]:
    """Fill passes with whole trees, up to `batch_size` requests."""
    batch: list[tuple[TokenTree, list[int]]] = []
    for tree in trees:
        if batch and sum(len(numbers) for _, numbers in [*batch, tree]) > batch_size:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch


def load_language_model(
    model_dir: Path, dtype: str, device: str, batch_size: int
) -> SharedPrefixLM:
    """Load a model folder for evaluation, without any network.

    Raises:
        WorkFailed: the model doesn't fit in memory.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(
            model_dir,
            dtype=getattr(torch, dtype),
            attn_implementation="sdpa",
            device_map=device,
            local_files_only=True,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise WorkFailed(
            f"{model_dir}: the model doesn't fit in the memory of device {device}"
        ) from None
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    return SharedPrefixLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
