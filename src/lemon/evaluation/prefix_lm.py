"""lm-eval's `hf` model, with each shared context computed once.

Contexts are shared in two ways: all questions of a few-shot task begin with the same examples,
whose keys and values are kept (`PrefixLM.sharing`), and all answers of a question begin with the
question (`TokenTree`). A forward pass packs many short sequences into one row, without padding.
Logits are computed only for answer tokens. Tokenisation, truncation and stop strings are lm-eval's.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from torch import Tensor, nn
from transformers import DynamicCache

from lemon.data.pretrained import load_model, load_tokenizer
from lemon.errors import BadInput
from lemon.evaluation.prompts import within_sliding_window
from lemon.evaluation.token_tree import TokenTree, common_beginning

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Request = tuple[tuple[str, str], list[int], list[int]]
"""((context, answer) as text, the context's tokens, the answer's tokens)."""

Score = tuple[float, bool]
"""(log-likelihood of the answer in nats, the answer is the greedy continuation)."""

log = logging.getLogger(__name__)

PREFIX_AT_LEAST = 32  # tokens; recomputing a shorter prefix costs less than looking it up
# Nodes of one pass. Attention also computes the masked pairs, and a CPU is as fast per token with
# 256 rows as with more.
PASS_TOKENS = {"cpu": 256, "cuda": 4096}
HEAD_ROWS = 512  # rows of logits that exist at once: 100 MB at a vocabulary of 49,152


class PrefixLM(HFLM):
    """lm-eval's `hf` model for LLaMA-family decoders, faster for requests that share a context.

    Log-likelihoods equal those of `HFLM(..., softmax_dtype="float32")` up to rounding, generated
    texts those of its greedy decoding. `batch_size` limits the requests in one forward pass.
    """

    _prefix: tuple[int, ...] = ()
    _states: DynamicCache | None = None  # of the prefix

    @property
    def max_length(self) -> int:
        """Maximum tokens of a sequence."""
        return within_sliding_window(super().max_length, self.model.config)

    @contextmanager
    def sharing(self, requests: Sequence[Instance]) -> Iterator[None]:
        """Inside the block, compute the common prefix of all these requests only once.

        The prefix depends only on `requests`, not on which of them are asked, so that scores do not
        change if some were known before. A single context counts as a prefix too: causal attention
        without an explicit mask skips the masked half.
        """
        contexts = list(dict.fromkeys(str(request.args[0]) for request in requests))
        encoded = [self.tok_encode(context.rstrip()) for context in contexts if context.strip()]
        self._keep(encoded if len(encoded) == len(contexts) else [])
        try:
            yield
        finally:
            self._keep([])

    @torch.inference_mode()
    def _keep(self, contexts: list[list[int]]) -> None:
        """Compute and keep the common prefix of these contexts, without their last tokens."""
        self._prefix, self._states = (), None
        shared = common_beginning([tokens[:-1] for tokens in contexts]) if contexts else []
        # A context that is too long is truncated on the left, so it shares no prefix.
        if len(shared) < PREFIX_AT_LEAST or max(map(len, contexts)) > self.max_length:
            return
        states = DynamicCache()
        self.model.base_model(
            input_ids=torch.tensor([shared], device=self.device),
            past_key_values=states,
            use_cache=True,
        )
        self._prefix, self._states = tuple(shared), states

    def _behind_prefix(self, sequence: list[int], context_length: int) -> bool:
        length = len(self._prefix)
        return context_length > length > 0 and tuple(sequence[:length]) == self._prefix

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Score]:
        room = self.max_length + 1  # the last token is predicted, not read
        if long := sum(len(context) + len(answer) > room for _, context, answer in requests):
            log.warning("%d requests exceed %d tokens and lose their beginning", long, room)
        scores: dict[int, Score] = {}
        split: dict[bool, list[int]] = {True: [], False: []}
        sequences = []
        for number, (texts, context, answer) in enumerate(requests):
            if not answer:
                raise BadInput(f"the answer {texts[1]!r} after {texts[0][-60:]!r} has no tokens")
            sequence = (context + answer)[-room:][:-1]
            kept = self._behind_prefix(sequence, len(sequence) + 1 - len(answer))
            sequences.append(sequence[len(self._prefix) :] if kept else sequence)
            split[kept].append(number)
        for kept, numbers in split.items():
            for part in self._passes(numbers, sequences, override_bs or int(self.batch_size)):
                answers = {number: requests[number][2] for number in part}
                scores.update(self._score(part, sequences, answers, kept))
        return [scores[number] for number in range(len(requests))]

    def _passes(
        self, numbers: list[int], sequences: list[list[int]], batch_size: int
    ) -> Iterator[list[int]]:
        """Split the requests, in order, into passes of up to `batch_size` and `PASS_TOKENS`.

        A request that shares at least half of its tokens with a pass may exceed `PASS_TOKENS`.
        """
        part, tree = list[int](), TokenTree()
        most = PASS_TOKENS[self.device.type]
        for number in numbers:
            sequence = sequences[number]
            shared = tree.shared(sequence)
            new = len(sequence) - shared
            crowded = len(tree.tokens) + new > most and new > shared
            if part and (crowded or len(part) == batch_size):
                yield part
                part, tree = [], TokenTree()
            tree.add(sequence)
            part.append(number)
        if part:
            yield part

    @torch.inference_mode()
    def _score(
        self,
        part: list[int],
        sequences: list[list[int]],
        answers: dict[int, list[int]],
        behind_prefix: bool,
    ) -> Iterator[tuple[int, Score]]:
        """Score the requests of one pass; yields (index of the request, score)."""
        tree = TokenTree(len(self._prefix) if behind_prefix else 0)
        paths = {number: tree.add(sequences[number]) for number in part}
        hidden = self._hidden(tree, self._states if behind_prefix else None)
        if behind_prefix and self._states is not None:
            self._states.crop(-len(tree.tokens))
        nodes = [node for number in part for node in paths[number][-len(answers[number]) :]]
        values, greedy = token_log_likelihoods(
            self.model.get_output_embeddings(),
            hidden[torch.tensor(nodes, device=self.device)],
            torch.tensor([t for number in part for t in answers[number]], device=self.device),
        )
        lengths = [len(answers[number]) for number in part]
        answered = zip(values.cpu().split(lengths), greedy.cpu().split(lengths), strict=True)
        for number, (value, hit) in zip(part, answered, strict=True):
            yield number, (float(value.sum()), bool(hit.all()))

    def _hidden(self, tree: TokenTree, states: DynamicCache | None, first: int = 0) -> Tensor:
        """The last hidden states [nodes, hidden_size] of a tree's nodes from `first` on.

        `states` holds the keys and values of the prefix and the nodes before `first`; those of the
        new nodes are appended.
        """
        seen = tree.visible(first)
        mask = torch.zeros(seen.shape, dtype=self.model.dtype).masked_fill_(~seen, float("-inf"))
        return self.model.base_model(
            input_ids=torch.tensor([tree.tokens[first:]], device=self.device),
            position_ids=torch.tensor([tree.positions[first:]], device=self.device),
            attention_mask=mask[None, None].to(self.device),
            past_key_values=states,
            use_cache=states is not None,
        ).last_hidden_state[0]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Decode each context greedily up to a stop string, the end token or the length limit.

        BadInput if a request asks for sampling.
        """
        size, texts = int(self.batch_size), list[str]()
        for first in range(0, len(requests), size):
            texts += self._generated([request.args for request in requests[first : first + size]])
        return texts

    @torch.inference_mode()
    def _generated(self, requests: list[tuple[str, dict]]) -> list[str]:
        """Decode several requests together, each as a growing branch of one tree."""
        decodings = [_Decoding(self, context, settings) for context, settings in requests]
        behind_prefix = all(self._behind_prefix(one.context, len(one.context)) for one in decodings)
        length = len(self._prefix) if behind_prefix else 0
        tree, states = TokenTree(length), self._states if behind_prefix else DynamicCache()
        assert states is not None
        last = {one: tree.add(one.context[length:])[-1] for one in decodings}
        known = 0
        while last:
            hidden = self._hidden(tree, states, known)
            rows = torch.tensor([node - known for node in last.values()], device=self.device)
            tokens = self.model.get_output_embeddings()(hidden[rows]).argmax(dim=-1).tolist()
            known = len(tree.tokens)
            for (one, node), token in zip(list(last.items()), tokens, strict=True):
                if one.ends_with(token):
                    del last[one]
                else:
                    last[one] = tree.grow(token, behind=node)
        states.crop(-known)
        return [one.text for one in decodings]


class _Decoding:
    """One request in decoding, with lm-eval's stopping rules."""

    def __init__(self, model: PrefixLM, context: str, settings: dict) -> None:
        asked = normalize_gen_kwargs(settings, model.max_gen_toks)
        if asked.get("do_sample") or asked.get("temperature"):
            raise BadInput(f"a request asks for sampling ({settings}); decoding here is greedy")
        self._model = model
        self._end = model.eot_token_id
        ends = model.tok_decode(self._end, skip_special_tokens=False)
        self._stops = handle_stop_sequences(asked["until"], eos=ends)
        self._left = asked["max_gen_toks"]
        self.context = model.tok_encode(context)[-(model.max_length - self._left) :]
        self._tokens: list[int] = []

    def ends_with(self, token: int) -> bool:
        """Append a token; returns whether it is the last."""
        self._tokens.append(token)
        if token == self._end or len(self._tokens) == self._left:
            return True
        text = self._model.tok_decode(self._tokens)
        return any(stop in text for stop in self._stops if stop)

    @property
    def text(self) -> str:
        """The generated text up to the first stop string."""
        text = self._model.tok_decode(self._tokens)
        return postprocess_generated_text(text, self._stops, None)


def token_log_likelihoods(
    head: nn.Module, hidden: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Score `targets`, token ids [rows], from hidden states [rows, hidden_size] that predict them.

    `head` maps hidden states to logits over the vocabulary, `HEAD_ROWS` rows at a time. Returns
    [rows] float32 log-likelihoods in nats, and [rows] bool: whether the target is the argmax.
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


def load_language_model(model_dir: Path, dtype: str, device: str, batch_size: int) -> PrefixLM:
    """Load a model folder for evaluation; raises as `load_model` and `load_tokenizer`."""
    model = load_model(
        model_dir, dtype=getattr(torch, dtype), attn_implementation="sdpa", device_map=device
    )
    tokenizer = load_tokenizer(model_dir, model.config.vocab_size)
    return PrefixLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
