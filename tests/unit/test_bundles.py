"""Finished runs as one file: packed, unpacked, and rendered without weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from drawn_figures import falling_map, write_maps
from fabricated_runs import write_trial
from finished_runs import write_finished
from manifests import seal_again
from replanned import replanned

from lemon.bundles.archive import read_contents, read_index
from lemon.bundles.pack import pack
from lemon.bundles.taken import require_enough, seeds_from, taken
from lemon.bundles.unpack import unpack
from lemon.cli import main
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import files_below
from lemon.reporting.facts.layer_operators import leading_layers
from lemon.reporting.figures.figure import write_figure_numbers
from lemon.reporting.tables.table import KINDS, write_table
from lemon.tracking.records import table_records

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "config"
TABLE = "table3"
SHOWN = ("source", "lemon-cut-75", "cut-75")  # in Figure 6


@pytest.fixture(scope="module")
def made(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which every run of the table is finished."""
    return write_finished(smoke, TABLE, tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def bundle(smoke: Project, made: Path) -> Path:
    pack(smoke, made, made / "runs.bundle")
    return made / "runs.bundle"


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path, without locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".in-use"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_table_from_the_bundle_is_that_of_the_runs_byte_for_byte(
    smoke: Project, made: Path, bundle: Path, tmp_path: Path
) -> None:
    unpack(smoke, bundle, "bundle", tmp_path)
    assert not list(tmp_path.rglob("model*")) and not list(tmp_path.rglob("*.bin"))
    records = {}
    for folder in (made, tmp_path):
        runs = folder / "runs" / "smoke"
        text = folder / "data" / "smoke" / "text"
        write_table(smoke, TABLE, runs, folder / "results" / "tables", text)
        records[folder] = table_records(smoke, TABLE, runs, folder / "results")
    for kind in KINDS:
        name = f"results/tables/{TABLE}.{kind}"
        assert (tmp_path / name).read_bytes() == (made / name).read_bytes(), kind
    # What MLflow gets of the runs; the first record is of the table's own files.
    assert [r.digest for r in records[tmp_path][1:]] == [r.digest for r in records[made][1:]]


def test_figures_from_the_bundle_are_those_of_the_runs_and_need_no_width_factors(
    smoke: Project, made: Path, tmp_path: Path
) -> None:
    folder, work = tmp_path / "made", tmp_path / "work"
    shutil.copytree(made / "runs", folder / "runs")
    runs = folder / "runs" / "smoke"
    maps = {run: falling_map(smoke.run(run).target_shape.num_hidden_layers) for run in SHOWN}
    write_maps(smoke, "figure6", runs, maps)
    pack(smoke, folder, tmp_path / "runs.bundle")
    unpack(smoke, tmp_path / "runs.bundle", "rest", work)
    for figure in ("figure5", "figure6"):
        for place in (folder, work):
            write_figure_numbers(smoke, figure, place / "runs" / "smoke", place / "figures")
    assert content(work / "figures") == content(folder / "figures")
    # Figure 8 shows a run whose factors are in no bundle: it keeps all layers in their places.
    layers = smoke.source_shape().num_hidden_layers
    assert leading_layers(smoke.run("lemon-prune-width"), runs) == list(range(layers))


def test_all_that_is_packed_comes_back_and_what_is_large_is_named(
    smoke: Project, made: Path, bundle: Path, tmp_path: Path
) -> None:
    unpack(smoke, bundle, "bundle", tmp_path)
    for name, read in content(tmp_path).items():
        assert (made / name).read_bytes() == read, name
    run = tmp_path / "runs" / "smoke" / "shear-75"
    assert {path.name for path in files_below(run)} >= {"masks.csv", "metrics.jsonl"}
    left_out = read_index(bundle).parts["runs/shear-75"].left_out
    assert left_out == {
        "runs/shear-75/model": "fused anew",
        "runs/shear-75/trained_source": "weights of the source's size",
    }
    absent = {
        path.relative_to(made) for path in (made / "runs" / "smoke").rglob("*") if path.is_file()
    }
    absent -= {path.relative_to(tmp_path) for path in (tmp_path / "runs").rglob("*")}
    assert {path.parts[3] for path in absent} == {"model", "trained_source"}


def test_a_bundle_keeps_its_number_of_seeds(smoke: Project, made: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs.bundle"
    command = ["--config", str(CONFIG), "bundle", "--preset", "smoke", "--folder", str(made)]
    for given, kept in (([], 1), (["--seeds", "2"], 2), ([], 2), (["--seeds", "1"], 1)):
        assert main([*command, "--out", str(out), *given]) == 0
        assert read_index(out).seeds == seeds_from(smoke, str(out)) == kept


def test_trials_are_kept_and_their_table_is_that_of_the_runs(
    smoke: Project, made: Path, tmp_path: Path
) -> None:
    folder, work = tmp_path / "made", tmp_path / "work"
    shutil.copytree(made / "runs", folder / "runs")
    trials = smoke.every_trial
    for number, trial in enumerate(trials):
        write_trial(smoke, trial, folder / "runs" / "smoke", tune_loss=5.0 + number)
    budgets = {**smoke.preset.budgets, "pruning": 9}
    other = replanned(smoke, preset=smoke.preset.model_copy(update={"budgets": budgets}))
    assert pack(other, folder, tmp_path / "other.bundle")[1]["runs/tuning/shear/1"] == (
        "was tried with other settings than the preset has now"
    )
    parts, _ = pack(smoke, folder, tmp_path / "runs.bundle")
    assert {f"runs/{trial.folder}" for trial in trials} <= parts.keys()
    index = read_index(tmp_path / "other.bundle")
    held = taken(smoke, tmp_path / "other.bundle", index, "bundle")
    lacking = "can't give tuning what it needs: runs/tuning/shear/1 is not in it"
    with pytest.raises(BadInput, match=lacking):
        require_enough(smoke, held, "tuning")
    unpack(smoke, tmp_path / "runs.bundle", "rest", work)
    for place in (folder, work):
        write_table(smoke, "tuning", place / "runs" / "smoke", place / "tables")
    assert content(work / "tables")["tuning.csv"] == content(folder / "tables")["tuning.csv"]


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(
    smoke: Project, made: Path, bundle: Path, tmp_path: Path
) -> None:
    unpack(smoke, bundle, "bundle", tmp_path)
    pack(smoke, tmp_path, tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == bundle.read_bytes()


def test_unpacking_twice_writes_nothing_and_mends_what_is_gone(
    smoke: Project, bundle: Path, tmp_path: Path
) -> None:
    _, written = unpack(smoke, bundle, "bundle", tmp_path)
    assert written == len(read_index(bundle).files)
    assert unpack(smoke, bundle, "bundle", tmp_path)[1] == 0
    (tmp_path / "runs" / "smoke" / "lemon-cut-75" / "metrics.jsonl").unlink()
    assert unpack(smoke, bundle, "bundle", tmp_path)[1] == 1


def test_operators_alone_leave_out_the_scores_of_what_can_be_fused(
    smoke: Project, bundle: Path
) -> None:
    found = taken(smoke, bundle, read_index(bundle), "operators")
    assert "runs/lemon-cut-75" in found.files and "runs/shear-75" in found.files
    assert "runs/lemon-cut-75/outcomes" not in found.files
    assert "runs/source/outcomes" not in found.files
    assert "data/text" not in found.files
    # Its weights were trained and are in no bundle, so its scores are kept.
    assert {"runs/shear-75/outcomes", "runs/shear-50/outcomes"} <= found.files.keys()
    assert "shear-75" not in found.fused and "average-75" in found.fused
    require_enough(smoke, found, TABLE)


def test_dense_width_factors_stay_out_and_their_scores_are_kept(
    smoke: Project, tmp_path: Path
) -> None:
    bundle = tmp_path / "runs.bundle"
    pack(smoke, write_finished(smoke, "table4", tmp_path), bundle)
    index = read_index(bundle)
    part = index.parts["runs/lemon-width-2-2"]
    assert part.left_out["runs/lemon-width-2-2/operators.safetensors"] == "dense width factors"
    assert "runs/lemon-width-2-2/operators.safetensors" not in part.files
    assert "runs/cut-width/operators.safetensors" in index.files  # a selection
    found = taken(smoke, bundle, index, "operators")
    assert "lemon-width-2-2" not in found.fused and "cut-width" in found.fused
    assert "runs/lemon-width-2-2/outcomes" in found.files
    assert "runs/cut-width/outcomes" not in found.files


def test_a_first_stage_without_weights_is_made_again_for_its_second(
    smoke: Project, tmp_path: Path
) -> None:
    bundle = tmp_path / "runs.bundle"
    write_finished(smoke, "small", tmp_path)
    pack(smoke, tmp_path, bundle)
    index = read_index(bundle)
    assert "runs/lemon-width-small" in taken(smoke, bundle, index, "rest", "small").files
    shutil.rmtree(tmp_path / "runs" / "smoke" / "lemon-small-width-first")
    pack(smoke, tmp_path, bundle)
    index = read_index(bundle)
    found = taken(smoke, bundle, index, "rest", "small")
    assert "runs/lemon-width-small" not in found.files  # its model is needed and can't be fused
    assert "runs/lemon-small-depth-first" in found.files
    # Pre-training needs the model of its second stage; a table without it does not.
    assert "runs/lemon-width-small" not in taken(smoke, bundle, index, "rest", "table2").files
    assert "runs/lemon-width-small" in taken(smoke, bundle, index, "rest", "table4").files
    assert "runs/lemon-width-small" in taken(smoke, bundle, index, "bundle").files
    with pytest.raises(BadInput, match="small what it needs: runs/lemon-small-width-first is not"):
        require_enough(smoke, taken(smoke, bundle, index, "bundle"), "small")


def test_a_start_with_width_factors_is_made_again_for_what_starts_from_it(
    smoke: Project, tmp_path: Path
) -> None:
    bundle = tmp_path / "runs.bundle"
    pack(smoke, write_finished(smoke, "table4", tmp_path), bundle)
    row = smoke.run("lemon-width-2-2").row
    later = row.model_copy(update={"id": "later", "start": "lemon-width-2-2"})
    found = taken(replanned(smoke, later), bundle, read_index(bundle), "rest")
    assert "runs/lemon-width-2-2" not in found.files
    assert {"runs/lemon-width-2-4", "runs/cut-width"} <= found.files.keys()


def test_what_has_other_settings_is_neither_packed_nor_taken(
    smoke: Project, made: Path, bundle: Path, tmp_path: Path
) -> None:
    learning = smoke.preset.learning.model_copy(update={"layer_rate": 0.1})
    changed = replanned(smoke, preset=smoke.preset.model_copy(update={"learning": learning}))
    parts, refused = pack(changed, made, tmp_path / "runs.bundle")
    learned_with_it = {"runs/lemon-cut-75", "runs/lemon-cut-50", "runs/lemon-prune-75"}
    assert learned_with_it <= refused.keys()
    assert "runs/lemon-cut-75/outcomes" in refused  # scores of another model
    assert "runs/cut-75/outcomes" in parts
    found = taken(changed, bundle, read_index(bundle), "bundle")
    assert not learned_with_it & found.files.keys() and "runs/cut-75" in found.files
    with pytest.raises(BadInput, match=r"runs/lemon-\S+ was made with other settings"):
        require_enough(changed, found, TABLE)
    require_enough(changed, taken(changed, bundle, read_index(bundle), "rest"), TABLE)


def test_scores_of_other_rows_are_not_packed(smoke: Project, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "runs", tmp_path / "runs")
    scores = tmp_path / "runs" / "smoke" / "cut-75" / "outcomes" / "manifest.json"
    seal_again(scores, settings={"limit": 1})
    _, refused = pack(smoke, tmp_path, tmp_path / "runs.bundle")
    assert refused == {
        "runs/cut-75/outcomes": "was made with another limit than the preset has now"
    }


def test_scores_of_other_weights_are_not_packed(smoke: Project, tmp_path: Path) -> None:
    write_finished(smoke, "table2-starts", tmp_path)
    scores = tmp_path / "runs" / "smoke" / "shear-small" / "outcomes-main" / "manifest.json"
    seal_again(scores, inputs={"weights": "0" * 64})
    _, refused = pack(smoke, tmp_path, tmp_path / "runs.bundle")
    said = "was scored with other weights than the run's other scores; score both again"
    assert refused == {"runs/shear-small/outcomes-main": said}


def test_the_commands_say_what_they_did(
    smoke: Project, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, config = str(tmp_path / "runs.bundle"), ["--config", str(CONFIG)]
    command = [*config, "bundle", "--preset", "smoke", "--out", out, "--folder", str(made)]
    assert main(command) == 0
    assert "parts of finished runs, 0." in capsys.readouterr().out
    command = [*config, "unpack", "--preset", "smoke", "--bundle", out]
    assert main([*command, "--folder", str(tmp_path)]) == 0
    index = read_index(Path(out))
    said = f"{len(index.parts)} parts taken, {len(read_contents(Path(out), index))} files written"
    assert said in capsys.readouterr().out


def test_without_a_finished_run_there_is_nothing_to_pack(smoke: Project, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no finished run"):
        pack(smoke, tmp_path, tmp_path / "runs.bundle")
    assert not (tmp_path / "runs.bundle").exists()


def test_a_snapshot_that_is_not_scored_makes_its_run_and_start_anew(
    smoke: Project, tmp_path: Path
) -> None:
    """Weights are in no bundle: without its scores a model must be trained, from its start."""
    bundle, run = tmp_path / "runs.bundle", "lemon-width-2-2-pretrained"
    pack(smoke, write_finished(smoke, "figure4-left", tmp_path), bundle)
    index = read_index(bundle)
    for scope in ("bundle", "operators"):
        require_enough(smoke, taken(smoke, bundle, index, scope), "figure4-left")
    assert f"runs/{run}" in taken(smoke, bundle, index, "rest", "figure4-left").files
    tokens = min(smoke.run(run).snapshots.values())
    missing = f"runs/{run}/snapshots/{tokens}/outcomes"
    shutil.rmtree(tmp_path / "runs/smoke" / run / f"snapshots/{tokens}")
    pack(smoke, tmp_path, bundle)
    index = read_index(bundle)
    with pytest.raises(BadInput, match=f"what it needs: {missing} is not in it"):
        require_enough(smoke, taken(smoke, bundle, index, "bundle"), "figure4-left")
    found = taken(smoke, bundle, index, "rest", "figure4-left").files
    assert f"runs/{run}" not in found and "runs/lemon-width-2-2" not in found
    assert "runs/scratch-width" in found and "runs/shear-width-pretrained" in found
