"""Change the code of the numbers in one place at a time, and see whether a test fails.

    python tests/attacks/mutants.py --scratch DIR [MODULE ...]

Needs cosmic-ray, in an environment that has the project's packages too. Of each module a few places
are drawn, the same ones for a seed, and one change at each. Changes that the tests of the module do
not notice are printed. Left out is what changes no number: annotations, messages, assertions,
decorators, and replacements that fail for every float.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lm_eval.models.huggingface  # noqa: F401
import pandas  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401
import transformers.models.llama.modeling_llama
import transformers.models.llama.tokenization_llama  # noqa: F401
from cosmic_ray.commands.init import _all_work_items
from cosmic_ray.mutating import use_mutation
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_item import MutationSpec
from kills import copied_checkout

sys.dont_write_bytecode = True  # which would outlive its change

# By module in src/lemon the files or folders in tests/unit that test it; of several the quickest.
TESTS = {
    "training/batches": "training",
    "training/divergence": "divergence",
    "training/loop": "schedule training",
    "training/objective": "objective",
    "training/tune_losses": "training",
    "learning/dimension_fusion": "dimension_fusion",
    "learning/fusion": "learning student tied_learning",
    "learning/hard_concrete": "hard_concrete",
    "learning/hierarchical": "hierarchical",
    "learning/lagrangian": "masks",
    "learning/masked_fusion": "masks shearing",
    "learning/masks": "masks shearing",
    "learning/residual_layers": "dimension_fusion families",
    "learning/student": "student",
    "data/text/dynamic_batch_loading": "dynamic_batch_loading",
    "data/text/floors": "floors",
    "data/text/order": "packing dynamic_batch_loading",
    "data/text/packing": "packing",
    "similarity/agreement": "agreement",
    "similarity/alignment": "alignment",
    "similarity/blocks": "blocks",
    "similarity/cka": "cka",
    "similarity/gram": "cka",
    "similarity/layer_pairs": "profile",
    "similarity/profile": "profile",
    "reporting/facts/heldout": "measures",
    "reporting/facts/outcomes": "results",
    "reporting/facts/statistics": "statistics",
    "evaluation/outcomes": "outcomes",
    "evaluation/perplexity": "perplexity",
    "evaluation/prefix_lm": "prefix_lm",
    "evaluation/token_tree": "token_tree",
    "perplexity": "results",
}
OPERATORS = re.compile(
    r"core/(ReplaceBinaryOperator_((Add|Sub|Mul|Div|FloorDiv|Mod|Pow)_(Add|Sub|Mul|Div|FloorDiv|Pow)"
    r"|Bit(Or|And)_Bit(Or|And)|[LR]Shift_[LR]Shift)"
    r"|ReplaceComparisonOperator_((Eq|NotEq|LtE?|GtE?)_(Eq|NotEq|LtE?|GtE?)|Is_IsNot|IsNot_Is)"
    r"|ReplaceUnaryOperator_(USub_UAdd|Delete_.*)|AddNot|NumberReplacer|ExceptionReplacer"
    r"|ZeroIterationForLoop|Replace(True|False|And|Or|Break|Continue)With.*)"
)
UNIT = Path("tests", "unit")
TELLS = re.compile(r"print|say|log\.\w+|.*\.show|MapProgress|ProgressLine")


def tests_of(name: str) -> Path:
    """The folder or file of tests of this name."""
    folder = UNIT / name
    return folder if folder.is_dir() else UNIT / f"test_{name}.py"


def left_out(code: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Begin and end of what changes no number."""
    for node in ast.walk(ast.parse(code)):
        parts: list[ast.AST | None] = []
        tells = isinstance(node, ast.Call) and TELLS.fullmatch(ast.unparse(node.func))
        if tells or isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr):
            parts = [node]
        elif isinstance(node, ast.FunctionDef):
            parts = [node.returns, *node.decorator_list]
        elif isinstance(node, ast.ClassDef):
            parts = [*node.decorator_list]
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts = [node]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            parts = [node.annotation]
        for part in filter(None, parts):
            yield (part.lineno, part.col_offset), (part.end_lineno, part.end_col_offset)


def drawn(path: Path, count: int, seed: int) -> list[MutationSpec]:
    """A change at each of some random places of a module."""
    code = path.read_text()
    ignored, lines = list(left_out(code)), code.splitlines()
    places: dict[tuple[object, ...], list[MutationSpec]] = {}
    for item in _all_work_items([path], {}):
        [spec] = item.mutations
        line, column = place = spec.start_pos
        if not OPERATORS.fullmatch(spec.operator_name) or lines[line - 1].startswith("*,", column):
            continue  # the star before keyword arguments is no product
        if any(first <= place < last for first, last in ignored):
            continue
        kind = spec.operator_name.split("_")[0]
        places.setdefault((place, kind), []).append(spec)
    source = random.Random(f"{seed} {path.stem}")
    chosen = source.sample(sorted(places), min(count, len(places)))
    return [source.choice(places[place]) for place in chosen]


def passes(files: list[str], limit_s: float) -> bool:
    """Whether tests pass in time, in a fork of this process, which has the libraries imported."""
    child = os.fork()
    if child == 0:
        os.setsid()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *files]))
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=[*TESTS], metavar="MODULE")
    parser.add_argument("--each", type=int, default=4, help="changes of a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scratch", type=Path, required=True, help="an empty folder")
    given = parser.parse_args()
    folder = copied_checkout(given.scratch.resolve())
    sys.path.insert(0, str(folder / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    os.chdir(folder)
    total, survived = 0, 0
    for module in given.modules:
        path = Path("src/lemon") / f"{module}.py"
        files = [str(tests_of(name)) for name in TESTS[module].split()]
        begun = time.monotonic()
        assert passes(files, 3600), f"{files} fail without a change"
        clean_s = time.monotonic() - begun
        print(f"{module}: its tests take {clean_s:.0f} s", flush=True)
        for spec in drawn(path, given.each, given.seed):
            operator = get_operator(spec.operator_name)()
            with use_mutation(path, operator, spec.occurrence) as (before, after):
                survives = passes(files, 3 * clean_s + 10)
            total, survived = total + 1, survived + survives
            outcome = "survived" if survives else "killed"
            print(f"{module}:{spec.start_pos[0]} {spec.operator_name} {outcome}", flush=True)
            if survives:
                change = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="")
                print(*list(change)[2:], sep="\n", flush=True)
    print(f"{total - survived} of {total} killed")


if __name__ == "__main__":
    main()
