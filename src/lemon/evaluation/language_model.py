"""The language model that lm-eval asks: its `hf` model, with each shared context run once.

The answers of a question share the question. Their token sequences are laid out as one tree,

    [ shared prefix | rest of answer 0 | rest of answer 1 | ... ]

with the positions that each token has in its own sequence, and an attention mask under which a
token sees the shared prefix and its own branch only. One forward pass over the tree then gives
every answer the hidden states that it has alone; only those that predict an answer's tokens meet
the vocabulary. Tokenisation, truncation and everything else stay lm-eval's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.errors import BadInput, WorkFailed

Request = tuple[tuple[str, str], list[int], list[int]]
Score = tuple[float, bool]

PREFIX = 0
PADDING = -1
SHARED_AT_LEAST = 0.5  # part of a request that it must share to join a tree: less isn't worth it
HEAD_ROWS = 512  # hidden states that meet the vocabulary at once: 100 MB of logits at 49,152 words


@dataclass(frozen=True)
class TokenTree:
    """Several token sequences with a common prefix, each token stored once.

    `branches` holds for each stored token the number of its sequence (from 1), or PREFIX.
    `scored[i]` are the stored indices whose hidden states predict `targets[i]`.
    """

    tokens: list[int]
    positions: list[int]
    branches: list[int]
    scored: list[list[int]]
    targets: list[list[int]]

    def __len__(self) -> int:
        return len(self.tokens)


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The tokens that all sequences begin with."""
    shortest = min(sequences, key=len)
    for at, token in enumerate(shortest):
        if any(sequence[at] != token for sequence in sequences):
            return shortest[:at]
    return shortest


def token_tree(sequences: Sequence[list[int]], targets: Sequence[list[int]]) -> TokenTree:
    """Lay out `sequences` as a tree; `targets[i]` are the tokens that the last of them predict."""
    prefix = common_prefix(sequences)
    tokens, positions, branches = list(prefix), list(range(len(prefix))), [PREFIX] * len(prefix)
    scored = []
    for branch, (sequence, target) in enumerate(zip(sequences, targets, strict=True), start=1):
        shift = len(tokens) - len(prefix)
        first = len(sequence) - len(target)
        scored.append(
            [at if at < len(prefix) else at + shift for at in range(first, len(sequence))]
        )
        tokens += sequence[len(prefix) :]
        positions += range(len(prefix), len(sequence))
        branches += [branch] * (len(sequence) - len(prefix))
    return TokenTree(tokens, positions, branches, scored, list(targets))


def tree_mask(branches: Tensor, dtype: torch.dtype) -> Tensor:
    """What to add to attention scores: 0 where a token sees another, else minus infinity.

    Args:
        branches: [batch, length], the branch of each token.
        dtype: of the model.

    Returns:
        [batch, 1, length, length] of `dtype`; every token sees itself at least.
    """
    length = branches.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=branches.device).tril()
    same = branches[:, :, None] == branches[:, None, :]
    shared = (branches == PREFIX)[:, None, :]
    seen = (earlier & (same | shared))[:, None]
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(
        ~seen, float("-inf")
    )


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
    `batch_size` is the number of requests in one forward pass.
    """

    def _loglikelihood_tokens(
        self,
        requests: list[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[Score]:
        groups = list(self._groups(requests))
        groups.sort(key=lambda group: -len(group[1]))  # like lengths together: little padding
        scores: dict[int, Score] = {}
        for batch in _batches(groups, override_bs or int(self.batch_size)):
            scores.update(self._score(batch))
        return [scores[number] for number in range(len(requests))]

    def _groups(self, requests: list[Request]) -> Iterator[tuple[list[int], TokenTree]]:
        """Join neighbouring requests into trees: (their numbers, their tree)."""
        numbers: list[int] = []
        sequences: list[list[int]] = []
        for number, (texts, context, continuation) in enumerate(requests):
            if not continuation:
                raise BadInput(f"the answer {texts[1]!r} after {texts[0][-60:]!r} has no tokens")
            sequence = (context + continuation)[-(self.max_length + 1) :][:-1]
            shared = len(common_prefix([*sequences, sequence]))
            if sequences and shared < SHARED_AT_LEAST * len(sequence):
                yield numbers, token_tree(sequences, [requests[i][2] for i in numbers])
                numbers, sequences = [], []
            numbers.append(number)
            sequences.append(sequence)
        if numbers:
            yield numbers, token_tree(sequences, [requests[i][2] for i in numbers])

    @torch.inference_mode()
    def _score(self, batch: list[tuple[list[int], TokenTree]]) -> Iterator[tuple[int, Score]]:
        trees = [tree for _, tree in batch]
        length = max(map(len, trees))

        def padded(rows: Sequence[list[int]], filler: int) -> Tensor:
            whole = [row + [filler] * (length - len(row)) for row in rows]
            return torch.tensor(whole, device=self.device)

        hidden = self.model.base_model(
            input_ids=padded([tree.tokens for tree in trees], 0),
            position_ids=padded([tree.positions for tree in trees], 0),
            attention_mask=tree_mask(
                padded([tree.branches for tree in trees], PADDING), self.model.dtype
            ),
            use_cache=False,
        ).last_hidden_state.flatten(0, 1)
        counts, places, targets = [], [], []
        for row, tree in enumerate(trees):
            for scored, target in zip(tree.scored, tree.targets, strict=True):
                counts.append(len(target))
                places += [row * length + at for at in scored]
                targets += target
        values, greedy = token_log_likelihoods(
            self.model.get_output_embeddings(),
            hidden[torch.tensor(places, device=self.device)],
            torch.tensor(targets, device=self.device),
        )
        numbers = [number for group, _ in batch for number in group]
        for number, value, hit in zip(
            numbers, values.cpu().split(counts), greedy.cpu().split(counts), strict=True
        ):
            yield number, (float(value.sum()), bool(hit.all()))


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


def _batches(
    groups: list[tuple[list[int], TokenTree]], batch_size: int
) -> Iterator[list[tuple[list[int], TokenTree]]]:
    """Fill passes with whole trees, at most `batch_size` requests each but at least one tree."""
    batch: list[tuple[list[int], TokenTree]] = []
    for group in groups:
        if batch and sum(len(numbers) for numbers, _ in [*batch, group]) > batch_size:
            yield batch
            batch = []
        batch.append(group)
    if batch:
        yield batch
