"""What is generated from the types is what lies in the repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from lemon.configuration.bounds import Section
from lemon.configuration.generated import drifted, guide, write_generated
from lemon.configuration.load import load_project
from lemon.configuration.methods import METHODS
from lemon.configuration.preset import Preset
from lemon.configuration.tasks import TASKS
from lemon.errors import BadInput

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "config" / "presets").glob("*.yaml"))


def test_generated_files_have_not_drifted() -> None:
    assert drifted(ROOT / "config") == [], "run `lemon config write`"


def test_presets_are_left_as_they_are_written(config: Path) -> None:
    """`lemon config write` makes schemas and guide, and keeps every value and comment."""
    path = config / "presets" / "smoke.yaml"
    path.write_text(path.read_text().replace("fusion: 8", "fusion:   9") + "# mine\n")
    before = path.read_bytes()
    written = write_generated(config)
    assert written and config not in {parent for file in written for parent in file.parents}
    assert drifted(config) == []
    assert path.read_bytes() == before
    assert load_project("smoke", config).preset.budgets["fusion"] == 9


def test_a_folder_without_presets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="presets: no presets here; give --config DIR"):
        write_generated(tmp_path / "config")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_file_is_short(name: str) -> None:
    lines = (ROOT / "config" / "presets" / f"{name}.yaml").read_text().splitlines()
    assert len(lines) <= 80 and max(map(len, lines)) <= 100


def test_every_key_of_a_preset_is_explained_in_the_guide() -> None:
    guide = (ROOT / "docs" / "guide" / "configuration.md").read_text()

    def places(kind: Any, place: str = "") -> Iterator[str]:
        for key, field in kind.model_fields.items():
            yield f"| `{place}{key}` |"
            assert field.description.replace("|", "\\|") in guide
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from places(field.annotation, f"{place}{key}.")

    missing = [row for row in places(Preset) if row not in guide]
    assert missing == []


@pytest.mark.parametrize("name", PRESETS)
def test_the_schema_accepts_the_presets_and_refuses_unknown_keys(name: str) -> None:
    schema = json.loads((ROOT / "workflow" / "schemas" / "preset.schema.json").read_text())
    values = YAML(typ="safe").load((ROOT / "config" / "presets" / f"{name}.yaml").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError, match="layer_rat"):
        values.setdefault("learning", {})["layer_rat"] = 1.0
        jsonschema.validate(values, schema)


def test_every_setting_has_a_description() -> None:
    undescribed = [line for line in guide().splitlines() if line.endswith("|  |")]
    assert undescribed == []


def test_every_method_has_its_file_and_every_builder_its_method() -> None:
    folder = ROOT / "src" / "lemon" / "methods"
    files = {path.stem: path.read_text() for path in folder.glob("*.py")}
    builders = {name for name, text in files.items() if "\ndef build(context: " in text}
    assert builders == {method.module for method in METHODS.values()} - {None}


def test_the_known_tasks_are_those_that_have_a_task_file_and_packaged_rows() -> None:
    from lemon.data.benchmarks.rows import BENCHMARKS

    files = {path.stem for path in (ROOT / "src/lemon/evaluation/task_files").glob("*.yaml")}
    assert set(TASKS) == set(BENCHMARKS) == files
