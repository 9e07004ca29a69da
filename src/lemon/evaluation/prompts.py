"""The prompts of a task: as many shared few-shot examples as fit.

lm-eval renders all texts. A fixed few-shot prefix is rendered once and prepended to each question:
the same prompts as rendering it for each of them, many times faster.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask
    from transformers import PreTrainedConfig

Fewshot = Literal["fixed", "drawn"]
"""fixed: the first few-shot rows for every question; drawn: random rows, chosen by lm-eval."""

FEWSHOT_SEED = 1234  # lm-eval's default
SEAM = 8  # tokens by which a text's tokenised length may change with the text before it


@dataclass(frozen=True)
class Window:
    """A model's context window."""

    tokens: Callable[[str], int]  # counts the tokens of a text
    size: int  # maximum tokens of a context and its answer
    reserve_for_generation: int = 256  # tokens for a generated answer, lm-eval's `max_gen_toks`

    @classmethod
    def of_model(cls, model_dir: Path) -> Window:
        """The window of a model folder, without loading its weights."""
        from transformers import AutoConfig, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
        config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
        size = within_sliding_window(config.max_position_embeddings, config)
        return cls(lambda text: len(tokenizer(text)["input_ids"]), size)

    def length(self, request: Instance, prefix: str = "") -> int:
        """Tokens of a request after a prefix, including its answer."""
        context, answer = request.args
        if request.request_type == "generate_until":
            return self.tokens(prefix + context) + self.reserve_for_generation
        return self.tokens(prefix + context + answer)


def within_sliding_window(size: int, config: PreTrainedConfig) -> int:
    """Maximum tokens of a pass: at most the model's sliding window, which a pass ignores."""
    return min(size, getattr(config, "sliding_window", None) or size)


def requests_of(
    rules: ConfigurableTask, id: int, row: dict[str, Any], context: str | list[str]
) -> list[Instance]:
    """The requests of a question, one for each answer."""
    metadata = (rules.config.task, id, rules.config.repeats)
    requests = rules.construct_requests(doc=row, ctx=context, metadata=metadata)
    return requests if isinstance(requests, list) else [requests]


def first_answer(rules: ConfigurableTask, generated: Instance) -> Instance:
    """The request for the log-likelihood of the first accepted answer where one is generated."""
    context, _ = generated.args
    answer = f"{rules.config.target_delimiter}{generated.doc['answer'][0]}"
    return replace(generated, request_type="loglikelihood", arguments=(context, answer))


def shared_prefix(rules: ConfigurableTask, row: dict[str, Any], shots: int) -> str:
    """The text before every question: the description and the first `shots` examples."""
    context, question = rules.fewshot_context(row, shots), rules.doc_to_text(row)
    assert context.endswith(question)
    return str(context[: len(context) - len(question)])


def fixed_contexts(
    rules: ConfigurableTask, rows: Sequence[dict[str, Any]], asked: int, window: Window | None
) -> tuple[list[str | list[str]], int]:
    """Each row's context after the same examples, and how many of the `asked` ones fit.

    A row that is one of the examples gets lm-eval's context, which excludes it from them unless the
    task has a separate few-shot split.
    """
    if not asked:
        return [rules.fewshot_context(row, 0) for row in rows], 0
    questions = [rules.doc_to_text(row) for row in rows]
    shots, examples = asked, rules.sampler.df[:asked]
    any_row = next((row for row in rows if row not in examples), rows[0])
    if window is not None:
        texts = zip(rows, questions, strict=True)
        requests = [one for row, text in texts for one in requests_of(rules, 0, row, text)]
        lengths = [window.length(request) for request in requests]
        bound = max(lengths) - SEAM  # only these may be the longest after a prefix
        longest = [one for one, own in zip(requests, lengths, strict=True) if own >= bound]

        def length(count: int) -> int:
            prefix = shared_prefix(rules, any_row, count)
            return max(window.length(request, prefix) for request in longest)

        shots = bisect_right(range(1, asked + 1), window.size, key=length)  # length increases
    prefix = shared_prefix(rules, any_row, shots)
    contexts = [
        rules.fewshot_context(row, shots) if row in examples[:shots] else prefix + question
        for row, question in zip(rows, questions, strict=True)
    ]
    return contexts, shots
