"""What is generated from the types is what lies in the repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from lemon.configuration.generated import drifted, generated_files, write_generated
from lemon.configuration.load import load_project
from lemon.configuration.methods import METHODS
from lemon.configuration.preset import Preset, Section, TextSettings
from lemon.configuration.preset_yaml import WIDTH, preset_yaml
from lemon.configuration.tasks import TASKS
from lemon.errors import BadInput

ROOT = Path(__file__).parents[2]
PRESETS = sorted(path.stem for path in (ROOT / "config" / "presets").glob("*.yaml"))


def test_generated_files_have_not_drifted() -> None:
    assert drifted(ROOT / "config") == [], "run `lemon config write`"


def test_writing_once_is_enough_and_an_edited_value_survives(tmp_path: Path) -> None:
    config = Path(shutil.copytree(ROOT / "config", tmp_path / "config"))
    path = config / "presets" / "smoke.yaml"
    path.write_text(path.read_text().replace("fusion: 8", "fusion: 9   # mine"))
    assert path in write_generated(config)
    assert drifted(config) == []
    assert load_project("smoke", config).preset.budgets["fusion"] == 9


def tree(tmp_path: Path) -> Path:
    """A copy of the config folder, with the schemas beside it."""
    shutil.copytree(ROOT / "workflow" / "schemas", tmp_path / "workflow" / "schemas")
    return Path(shutil.copytree(ROOT / "config", tmp_path / "config"))


def test_comments_of_the_user_are_kept_where_they_stand(tmp_path: Path) -> None:
    config = tree(tmp_path)
    path = config / "presets" / "smoke.yaml"
    text = path.read_text()
    for before, after in (
        ("# device and format", "# mine: above\n#   layer_rate: 7\n# device and format"),
        ("  layer_rate: 0.005", "  layer_rate: 0.005  # mine: in place of the description, x"),
        ("  width-62:\n", "  # mine: of a target\n  width-62:\n"),
        ("    hidden_size: 32  # width", "    hidden_size: 32  # mine: inside # width"),
        ("  '2-4':\n", "  '2-4':  # mine: # of a name in quotes\n"),
        ("    ffn: 4\n", "    ffn: 4\n    hidden: null  # mine: of what is left out\n"),
        ("[sciq, piqa,", "[sciq,  # mine: in a list\n    piqa,"),
    ):
        assert before in text
        text = text.replace(before, after, 1)
    path.write_text(text + "# mine: at the end\n")
    before = {line.split("mine: ")[1] for line in text.splitlines() if "mine: " in line}
    assert path in write_generated(config)
    written = path.read_text()
    for words in (*before, "at the end", "layer_rate: 7"):
        assert words in written
    assert written.index("# mine: above\n#   layer_rate: 7\n# device") > 0
    assert "  # mine: of a target\n  width-62:" in written
    assert load_project("smoke", config).preset == load_project("smoke", ROOT / "config").preset
    assert drifted(config) == []


def test_a_description_that_changed_is_no_comment_of_the_user(tmp_path: Path) -> None:
    """The schema still has it as it was when the presets were last written."""
    config = tree(tmp_path)
    schema = tmp_path / "workflow" / "schemas" / "preset.schema.json"
    old = "peak learning rate of gamma"
    schema.write_text(schema.read_text().replace(old, "rate of gamma at its peak"))
    path = config / "presets" / "smoke.yaml"
    path.write_text(path.read_text().replace(old, "rate of gamma at its peak"))
    assert path in write_generated(config)
    assert path.read_text() == (ROOT / "config" / "presets" / "smoke.yaml").read_text()


@pytest.mark.parametrize("fault", ["a: [", "seed: x", "\0", "\ud7ff\n---\n"])
def test_a_file_that_is_not_read_is_not_written_over(fault: str, tmp_path: Path) -> None:
    config = tree(tmp_path)
    path, other = config / "presets" / "smoke.yaml", config / "presets" / "gpu.yaml"
    path.write_text(path.read_text() + fault)
    other.write_text(other.read_text().replace("seed: 0", "seed:  0"))
    before = path.read_bytes(), other.read_bytes()
    with pytest.raises(BadInput, match=r"smoke\.yaml:\d+"):
        write_generated(config)
    assert (path.read_bytes(), other.read_bytes()) == before


def test_a_file_whose_name_is_none_is_refused(tmp_path: Path) -> None:
    config = tree(tmp_path)
    odd = config / "presets" / "smoke (copy).yaml"
    shutil.copy(config / "presets" / "smoke.yaml", odd)
    with pytest.raises(BadInput, match=r"the preset's name 'smoke \(copy\)' is no name"):
        write_generated(config)
    assert load_project("smoke", config).preset_name == "smoke"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_file_reads_back_as_the_same_preset(name: str, tmp_path: Path) -> None:
    preset = load_project(name, ROOT / "config").preset
    text = preset_yaml(preset)
    values = YAML(typ="safe").load(text)
    assert Preset.model_validate(values) == preset
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("name", PRESETS)
def test_every_key_of_a_preset_file_is_explained(name: str) -> None:
    text = (ROOT / "config" / "presets" / f"{name}.yaml").read_text()

    def descriptions(kind: type[Section]) -> set[str]:
        return {str(field.description) for field in kind.model_fields.values()}

    words = " ".join(line.strip(" #") for line in text.replace("  # ", "\n# ").splitlines())
    for description in descriptions(Preset) | descriptions(TextSettings):
        assert description in words


@pytest.mark.parametrize("name", PRESETS)
def test_the_schema_accepts_the_presets_and_refuses_unknown_keys(name: str) -> None:
    schema = json.loads((ROOT / "workflow" / "schemas" / "preset.schema.json").read_text())
    values = YAML(typ="safe").load((ROOT / "config" / "presets" / f"{name}.yaml").read_text())
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError, match="layer_rat"):
        values["learning"]["layer_rat"] = 1.0
        jsonschema.validate(values, schema)


def test_every_setting_has_a_description() -> None:
    text = generated_files(ROOT / "config")[ROOT / "docs" / "guide" / "configuration.md"]
    before, after = text.split("### The presets side by side")
    described = before + after.split("\n## ", 1)[1]
    undescribed = [line for line in described.splitlines() if line.endswith("|  |")]
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
