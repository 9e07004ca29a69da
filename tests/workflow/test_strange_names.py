"""Names and folders that a shell or a format would read: refused with one message, or they work."""

import json
import shutil
import subprocess

import pytest
from workspaces import STRANGE, DrivenWorkspace, copy_workflow

pytestmark = pytest.mark.workflow


def refused(space, *arguments):
    """The one message of a call that does nothing."""
    done = space.snakemake(*arguments)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stdout
    assert done.stdout.count("error: ") == 1
    assert not list(space.path.rglob("pwn*")) and not list(space.path.parent.glob("pwn*"))
    return done.stdout.partition("error: ")[2]


@pytest.mark.parametrize("folder", ["x$(touch pwn1)", "x';touch pwn2;'", "x{run}y"])
def test_a_preset_in_such_a_folder_is_refused(folder, workspace):
    place = workspace.path / folder
    place.mkdir()
    shutil.copy(workspace.path / "config" / "presets" / "smoke.yaml", place)
    workspace.preset = f"{folder}/smoke.yaml"
    assert "rename that file or folder" in refused(workspace, "table1")


@pytest.mark.parametrize("name", ["x$(touch pwn1)", "x`touch pwn2`", "x;touch pwn3"])
def test_a_preset_of_such_a_name_is_refused(name, workspace):
    presets = workspace.path / "config" / "presets"
    shutil.copy(presets / "smoke.yaml", presets / f"{name}.yaml")
    for workspace.preset in (name, f"config/presets/{name}.yaml"):
        message = refused(workspace, "table1")
        assert "is no name; take letters" in message or "which shells or Snakemake" in message


@pytest.mark.parametrize(
    "word",
    [
        "target=a/$(touch pwn1)",
        "target=a/b #'$(touch pwn2)",
        "presett=smoke",
        "target=x`touch pwn3`",
    ],
)
def test_any_other_setting_is_refused(word, workspace):
    done = subprocess.run(
        [*workspace.command("table1"), word],
        cwd=workspace.path,
        env=workspace.variables(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --config: ")
    assert not list(workspace.path.glob("pwn*"))


@pytest.mark.parametrize(
    "file", ["tracking/{}.json", "{}/outcomes/manifest.json", "source/similarity/{}/plain/ffn.csv"]
)
def test_a_file_of_no_run_or_table_has_no_rule(file, workspace):
    done = workspace.snakemake(f"runs/smoke/{file.format('$(touch pwn)')}")
    assert done.returncode == 1
    assert "No rule to produce" in done.stdout
    assert not list(workspace.path.rglob("pwn*"))


@pytest.mark.parametrize("folder", ["a$(touch pwn1)", "a'b`touch pwn2`"])
def test_a_working_folder_of_such_a_name_is_refused(folder, tmp_path):
    space = copy_workflow(tmp_path / folder)
    assert refused(space, "table1").startswith("the working folder ")


def test_every_rule_works_with_a_preset_in_a_strange_folder(tmp_path):
    """And with the commands themselves in test_notebooks.py."""
    laid = copy_workflow(tmp_path / "a b" / STRANGE)
    (laid.path / STRANGE).mkdir()
    preset = f"{STRANGE}/smoke.yaml"
    (laid.path / "config" / "presets" / "smoke.yaml").rename(laid.path / preset)
    space = DrivenWorkspace(laid.path, preset=preset)
    assert space.jobs("figure7")[-2:] == ["notebook figure7", "track figure7"]
    assert f"fetch --preset {preset} --out data/smoke" in space.calls.read_text()
    assert "table table1" in space.jobs("table1")
    assert space.jobs("table1") == []


def test_a_folder_of_rows_reaches_the_command_as_it_is(workspace):
    (workspace.path / STRANGE).mkdir()
    workspace.change_preset(lambda values: values["evaluation"].update(source=STRANGE))
    done = workspace.snakemake("table3", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout
    assert f"--source '{STRANGE}' --limit 8" in done.stdout


def test_a_folder_of_rows_that_is_not_there_is_known_at_the_start(workspace):
    workspace.change_preset(lambda values: values["evaluation"].update(source="nowhere"))
    assert "evaluation.source: 'nowhere' is not packaged, generated, hub or a folder" in refused(
        workspace, "table3"
    )


def test_a_mistake_in_another_preset_is_one_message_where_it_matters(workspace):
    file = workspace.path / "config" / "presets" / "gpu.yaml"
    file.write_text(file.read_text().replace("layer_rate:", "layer_rat:"))
    assert "gpu.yaml" in refused(workspace, "table1")
    assert workspace.snakemake("table3", "--dry-run").returncode == 0


def test_a_figure_of_too_few_layers_is_known_at_the_start(workspace):
    workspace.change_preset(lambda values: values["source"]["shape"].update(num_hidden_layers=5))
    expected = "figure2.panels[0]: source is about 5 layers; at least 6 are needed"
    assert expected in refused(workspace, "figure2")
    assert workspace.snakemake("table3", "--dry-run").returncode == 0


def test_ordinary_names_are_quoted_as_they_were(workspace):
    """Snakemake makes again what has other params, so quotes must not change them."""
    done = workspace.snakemake("everything", "--dry-run", "--printshellcmds")
    assert done.returncode == 0, done.stdout
    for command in (
        "lemon fetch --preset smoke --out data/smoke/assets.lock.json 2>&1",
        "lemon evaluate --model runs/smoke/cut-75/model --tasks sciq,piqa,winogrande --source "
        "data/smoke/tasks --limit 8 --batch-size 8 --dtype float32 --device cpu --heldout "
        "data/smoke/text --out runs/smoke/cut-75/outcomes >",
        "lemon build --preset smoke --run shear-selection-75 --source data/smoke/source --start "
        "runs/smoke/shear-75  --rounds data/smoke/rounds --out runs/smoke/shear-selection-75 >",
        "--text data/smoke/text  --teacher data/smoke/source --teacher-cache data/smoke/teacher "
        "--out runs/smoke/lemon-small-width-first 2>&1",
        "--component mha --debiased --activations data/smoke/text --out runs/smoke/source/",
    ):
        assert command in done.stdout
    assert "'" not in json.dumps([line for line in done.stdout.splitlines() if "lemon " in line])
