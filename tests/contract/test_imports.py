"""Imports point down, outside services have one importer each, and settings need no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "lemon"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# A room, or a module that stands alone, may import those of its own layer and of the layers below.
LAYERS = (
    {"cli"},
    {"commands"},
    {"plan", "doctor", "tracking", "bundles"},
    {"memory", "work_left"},
    {"reporting", "learning", "pretraining"},
    {"methods", "training", "evaluation"},
    {"similarity", "flops"},
    {"data"},
    {"operators", "configuration"},
    {"model_folder"},
    {"published", "checkpoint", "decoder"},
    {"radii", "config_json", "events", "machine", "gpus", "progress", "perplexity", "logits"},
    {"files", "architecture"},
    {"provenance"},
    {"errors", "redaction"},
)
# The wings of reporting, as layers: what is gathered, judged, worded, put together.
WINGS = (
    {"report"},
    {"tables", "figures"},
    {"claims"},
    {"facts"},
    {"numbers", "style"},
)
# The modules that take a project; whoever words or draws has its facts alone.
ENTRIES = {"lemon.reporting.tables.table", "lemon.reporting.figures.figure"}
# Rooms that must not know each other.
STRANGERS = (
    {"learning", "pretraining"},
    {"training", "evaluation"},
    {"operators", "configuration"},
)
OUTSIDE = {"mlflow": "tracking", "lm_eval": "evaluation", "snakemake": "nobody"}


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, for its types as well."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & MODULES.keys()) or {node.module}
    return found


def part(module: str) -> str:
    """The top-level part of the package that a module belongs to; '' for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def layer(name: str, layers: tuple[set[str], ...] = LAYERS) -> int:
    for index, names in enumerate(layers):
        if name in names:
            return index
    raise AssertionError(f"{name} is in no layer of tests/contract/test_imports.py")


def wing(module: str) -> str:
    """The wing of reporting, or the module that stands alone in it; '' outside of reporting."""
    room, _, inner = module.partition("lemon.reporting.")
    return "" if room else inner.partition(".")[0]


def test_imports_point_down() -> None:
    for module, path in MODULES.items():
        own = part(module)
        inner = {part(name) for name in imports(path) if name.startswith("lemon.")} - {own}
        for other in inner if own else ():
            assert layer(other) >= layer(own), f"{module} imports lemon.{other}, which is above it"
            assert not any({own, other} <= rooms for rooms in STRANGERS), f"{module} knows {other}"


@pytest.mark.parametrize("module", [name for name in MODULES if wing(name)])
def test_wings_of_reporting_are_layers(module: str) -> None:
    for other in {wing(name) for name in imports(MODULES[module])} - {wing(module), ""}:
        above = f"{module} imports lemon.reporting.{other}, which is above it"
        assert layer(other, WINGS) >= layer(wing(module), WINGS), above
        assert {wing(module), other} != {"tables", "figures"}, f"{module} knows {other}"


@pytest.mark.parametrize("module", [m for m in MODULES if wing(m) in ("tables", "figures")])
def test_whoever_words_does_not_ask_the_project(module: str) -> None:
    """Tables and figures are made from gathered facts: only the entries take a project."""
    asked = {"lemon.configuration.project", "lemon.configuration.load"}
    files = {"lemon.evaluation.outcomes", "lemon.events", "lemon.operators.file"}
    if module not in ENTRIES:
        assert not imports(MODULES[module]) & (asked | files)


def test_no_circle() -> None:
    graph = {name: imports(path) & MODULES.keys() for name, path in MODULES.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


@pytest.mark.parametrize("path", [p for p in MODULES.values() if p.name == "__init__.py"])
def test_packages_are_empty(path: Path) -> None:
    if path.parent != PACKAGE:
        assert path.read_text() == ""


def test_outside_services_have_one_importer() -> None:
    for module, path in MODULES.items():
        for name in {name.partition(".")[0] for name in imports(path)}:
            assert OUTSIDE.get(name, part(module)) == part(module), f"{module} imports {name}"


THAT_NAME_NO_METHOD = ("learning", "pretraining", "training", "evaluation")


@pytest.mark.parametrize("module", [m for m in MODULES if part(m) in THAT_NAME_NO_METHOD])
def test_learning_and_evaluation_name_no_method(module: str) -> None:
    from lemon.configuration.methods import METHODS

    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    compared = [
        constant.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare | ast.Match)
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    ]
    assert not set(compared) & set(METHODS)


def test_settings_and_the_command_line_need_no_torch() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    rooms = {name for name in MODULES if part(name) in ("configuration", "published", "files")}
    alone = {"lemon.cli", "lemon.architecture", "lemon.errors", "lemon.provenance"}
    names = ", ".join(sorted(packages | rooms | alone))
    code = f"import sys, {names}; print(*{{'torch', 'transformers', 'mlflow'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.parents[1].joinpath("benchmarks").glob("*.py")), ids=lambda p: p.stem
)
def test_what_a_benchmark_imports_of_the_project_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lemon"):
            for alias in node.names:
                if f"{node.module}.{alias.name}" not in MODULES:
                    assert hasattr(import_module(str(node.module)), alias.name), alias.name
