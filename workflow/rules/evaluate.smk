"""The scores of a model, document by document: one rule and job for each suite of tasks.

The wildcard is not `run`, because Snakemake would hand it on to the rule that makes the model, and a
snapshot is named otherwise than its run.

Jobs of one thread run side by side.
"""

for SUITE in SUITES.values():

    rule:
        name:
            "evaluate" if SUITE.name == ABLATION else f"evaluate_{SUITE.name}"
        input:
            model=lambda wildcards: model_manifest(wildcards.scored),
            tasks="<data>/tasks/manifest.json",
            text="<data>/text/manifest.json" if SUITE.has_heldout else [],
        output:
            manifest=update(f"<runs>/{{scored}}/{SUITE.folder}/manifest.json"),
            scores=update(
                expand(
                    "<runs>/{{scored}}/{folder}/{file}",
                    folder=SUITE.folder,
                    file=SUITE.files,
                )
            ),
        log:
            f"<logs>/evaluate/{{scored}}/{SUITE.folder}.log",
        benchmark:
            f"<logs>/evaluate/{{scored}}/{SUITE.folder}.tsv"
        wildcard_constraints:
            scored=pattern([*PROJECT.runs, *SNAPSHOTS]),
        threads: 4 if GPUS else 1
        resources:
            mem_mb=host_memory(3500, 2),
            runtime=240,
            gpu=GPUS,
        params:
            model=folder("model"),
            heldout=folder_option("heldout", "text"),
            options=evaluation_options(SUITE),
            out=lambda wildcards, output: os.path.dirname(output.manifest),
            settings=settings("evaluate", SUITE.name),
        message:
            f"Evaluating {{wildcards.scored}}: {SUITE.folder}"
        shell:
            "OMP_NUM_THREADS={threads} lemon evaluate --model {params.model:q} {params.options} "
            "{params.heldout} --out {params.out:q} > {log:q} 2>&1"
