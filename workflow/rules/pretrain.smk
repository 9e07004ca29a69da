"""Small models trained on text alone: one rule for runs whose models a figure shows on their way,
and one for the others.
"""

# The runs with snapshots have the same: `lemon.configuration.rendering_checks` requires it.
WITH_SNAPSHOTS = {
    tuple(run.snapshots.values()) for run in PROJECT.runs.values() if run.snapshots
}

for KEPT in [(), *sorted(WITH_SNAPSHOTS)[:1]]:

    rule:
        name:
            "pretrain_with_snapshots" if KEPT else "pretrain"
        input:
            model=source_manifest,
            text="<data>/text/manifest.json",
            reference=reference_manifest,
        output:
            manifest=update("<runs>/{run}/manifest.json"),
            files=update(expand("<runs>/{{run}}/{file}", file=PRETRAINED_FILES)),
            models=update(
                expand(
                    "<runs>/{{run}}/{model}/{file}",
                    model=["model", *(f"{snapshot_folder(n)}/model" for n in KEPT)],
                    file=["manifest.json", *MODEL_FILES],
                )
            ),
        log:
            "<logs>/pretrain/{run}.log",
        benchmark:
            "<logs>/pretrain/{run}.tsv"
        wildcard_constraints:
            run=pattern(
                run.id
                for run in PROJECT.runs.values()
                if TAKEN.learns
                and run.method.pretrains
                and tuple(run.snapshots.values()) == KEPT
            ),
        priority: 20  # before what learns: it takes longer, and runs begin from its models
        threads: TRAINING_CORES
        resources:
            **TRAINING,
        params:
            preset=PRESET,
            threads=shared_threads,
            starter=TORCHRUN,
            model=folder("model"),
            text=folder("text"),
            reference=folder_option("reference", "reference"),
            out=lambda wildcards, output: os.path.dirname(output.manifest),
            settings=settings("pretrain"),
        message:
            "Pre-training {wildcards.run}"
        shell:
            "OMP_NUM_THREADS={params.threads} {params.starter}lemon pretrain --preset {params.preset:q} "
            "--run {wildcards.run:q} --source {params.model:q} --text {params.text:q} "
            "{params.reference} --out {params.out:q} 2>&1 | logged {log:q}"
