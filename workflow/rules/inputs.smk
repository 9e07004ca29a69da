"""What the jobs read, by their wildcards: manifests, each of which names the files beside it."""

import os
from pathlib import Path

from lemon.bundles.taken import require_enough
from lemon.configuration.rendering_checks import require_renderable
from lemon.configuration.tasks import FOLDERS


def learned_run(wildcards):
    """The run that a job builds or learns: its own, or the one that a trial is of."""
    if "rates" in wildcards.keys():
        return PROJECT.run(
            PROJECT.trials[wildcards.rates][int(wildcards.number) - 1].run
        )
    return PROJECT.run(wildcards.run)


def model_manifest(run):
    """The manifest of the model of a run: a given one as prepared, or what was fused or trained.
    A model that pre-training kept on its way is named like its folder.
    """
    prepared = None if run in SNAPSHOTS else PROJECT.run(run).method.prepared
    if prepared:
        return f"<data>/{prepared}/manifest.json"
    return f"<runs>/{run}/model/manifest.json"


def source_manifest(wildcards):
    """The manifest of the model that a run is fused from."""
    return model_manifest(learned_run(wildcards).source.id)


def start_manifest(wildcards):
    """The manifest of the earlier run that a run starts from; nothing where there is none."""
    start = learned_run(wildcards).start
    return f"<runs>/{start.id}/manifest.json" if start else []


def teacher_manifest(wildcards):
    """The manifest of the source model, where it teaches a second stage; else nothing."""
    return (
        "<data>/source/manifest.json" if learned_run(wildcards).taught_by_source else []
    )


def reference_manifest(wildcards):
    """The manifest of the source model, where its losses steer the mixture of pre-training."""
    steers = learned_run(wildcards).mixture_reference
    return "<data>/source/manifest.json" if steers else []


def calibration_text(wildcards):
    """The manifest of the text on which a method looks at activations; nothing for others."""
    calibrates = PROJECT.run(wildcards.run).method.calibrates
    return "<data>/text/manifest.json" if calibrates else []


def fused_weights(wildcards, input):
    """The weights that the operators apply to: the run's own where it trained or rearranged them."""
    own = PROJECT.run(wildcards.run).own_weights
    if own is not None:
        return os.path.join(os.path.dirname(input.operators), own)
    return os.path.dirname(input.source)


def activation_text(wildcards):
    """The manifest of the text on which activations are compared; nothing for weights."""
    return "<data>/text/manifest.json" if wildcards.of == "activations" else []


def given_files(model):
    """The files of a model that the user gives as a folder: changed ones are prepared again."""
    if model is None or model.path is None:
        return []
    folder = Path(model.path)
    return sorted(
        str(file)
        for file in folder.glob("*")
        if file.suffix in (".json", ".safetensors", ".model", ".txt", ".jinja")
    )


def outcomes(table):
    """The outcomes of every model that a table shows, in the suites that its tasks belong to."""
    return expand(
        "<runs>/{model}/{outcomes}/manifest.json",
        model=PROJECT.shown_models(table),
        outcomes=[FOLDERS[name] for name in PROJECT.table_suites(table)],
    )


def shown_files(table):
    """What a table or figure shows: outcomes, similarity maps, operators, or trials."""
    files = outcomes(table) + below(RUNS, PROJECT.figure_files(table))
    if table not in PROJECT.whole:
        files += [f"{RUNS}/{t.folder}/manifest.json" for t in PROJECT.every_trial]
    return files


def table_files(wildcards):
    """What a table shows. Recording it needs them too: a committed table alone is not up to date."""
    checked(require_renderable, PROJECT, wildcards.table)
    checked(require_enough, PROJECT, TAKEN, wildcards.table)
    return shown_files(wildcards.table)


def figure_files(wildcards):
    """What a figure shows."""
    checked(require_renderable, PROJECT, wildcards.figure)
    checked(require_enough, PROJECT, TAKEN, wildcards.figure)
    return shown_files(wildcards.figure)


def scored_text(wildcards):
    """The manifest of the text that the runs of a table were scored on; nothing if on none."""
    suites = PROJECT.table_suites(wildcards.table)
    scored = any(SUITES[name].has_heldout for name in suites)
    return "<data>/text/manifest.json" if scored else []


def learned_text(wildcards):
    """The manifest of the text whose floor belongs to a figure; nothing for other figures."""
    renderer = PROJECT.entry(wildcards.figure).renderer
    with_floor = renderer in ("tune_curves", "quality_by_cost")
    return "<data>/text/manifest.json" if with_floor else []


def rendered_manifest(wildcards):
    """The manifest of the table, or of the figure, that is to be recorded."""
    return rendered(wildcards.table)
