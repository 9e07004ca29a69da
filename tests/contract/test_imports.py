"""Imports point down, outside services have one importer each, and settings need no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "lemon"
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

# A module or package may import those of its own layer and of the layers below it.
LAYERS = (
    {"cli", "commands", "plan", "doctor"},
    {"tracking"},
    {"tracking_database"},
    {"reporting", "learning", "pretraining", "evaluation"},
    {"methods"},
    {"operators", "data", "similarity"},
    {"checkpoint", "tensor_file", "machine"},
    {"presets", "project", "config_reference", "rendering_checks", "stages", "siblings"},
    {"config_checks", "run_checks", "table_checks", "figure_checks", "preset_yaml", "preset_notes"}
    | {"runs_table", "config_files"},
    {"suites"},
    {"registry", "radii"},
    {"figure_entries"},
    {"config"},
    {"bounds", "plain_yaml"},
    {"architecture", "plain_text"},
    {"ownership", "events"},
    {"manifest"},
    {"json_file"},
    {"storage", "errors", "names", "redaction", "outside_calls"},
)
# Stands beside the layers: anyone may use it, and it uses these alone of the package.
BESIDE = {"provenance"}
# Packages of one layer that must not know each other.
STRANGERS = ("learning", "pretraining", "evaluation")
OUTSIDE = {"mlflow": "tracking", "lm_eval": "evaluation"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it but under TYPE_CHECKING."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found.add(node.module)
            if node.module == "lemon":
                found.update(f"lemon.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def part(module: str) -> str:
    """The top-level part of the package that a module belongs to; '' for the package itself."""
    return module.partition(".")[2].partition(".")[0]


def layer(name: str) -> int:
    for index, names in enumerate(LAYERS):
        if name in names:
            return index
    raise AssertionError(f"lemon.{name} is in no layer of tests/contract/test_imports.py")


@pytest.mark.parametrize("module", [name for name in MODULES if part(name)])
def test_imports_point_down(module: str) -> None:
    own = part(module)
    inner = {part(name) for name in imports(MODULES[module]) if name.startswith("lemon.")} - {own}
    if own in BESIDE:
        assert inner <= {"storage", "errors", "redaction"}
        return
    for other in inner - BESIDE - {"__version__"}:
        assert layer(other) >= layer(own), f"{module} imports lemon.{other}, which is above it"
        if layer(other) == layer(own):
            assert not (own in STRANGERS and other in STRANGERS), f"{module} knows {other}"


@pytest.mark.parametrize("module", MODULES)
def test_outside_services_have_one_importer(module: str) -> None:
    for name in {name.partition(".")[0] for name in imports(MODULES[module])}:
        assert name != "snakemake"
        if name in OUTSIDE:
            assert part(module) == OUTSIDE[name], f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_learning_and_evaluation_name_no_method(module: str) -> None:
    if part(module) not in STRANGERS:
        return
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
    modules = (
        "presets",
        "project",
        "config",
        "architecture",
        "errors",
        "storage",
        "stages",
        "registry",
    )
    names = ", ".join(f"lemon.{name}" for name in (*modules, "config_reference", "cli"))
    code = f"import sys, {names}; print(*{{'torch', 'transformers', 'mlflow'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
