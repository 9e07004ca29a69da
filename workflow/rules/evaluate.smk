"""The scores of a model, document by document: one rule and job for each suite of tasks.

Jobs of one thread run side by side.
"""

for SUITE in SUITES.values():

    rule:
        name:
            "evaluate" if SUITE.name == ABLATION else f"evaluate_{SUITE.name}"
        input:
            model=lambda wildcards: model_manifest(wildcards.run),
            tasks="<data>/tasks/manifest.json",
            text="<data>/text/manifest.json" if SUITE.has_heldout else [],
        output:
            manifest=update(f"<runs>/{{run}}/{SUITE.folder}/manifest.json"),
            scores=update(
                expand(
                    "<runs>/{{run}}/{folder}/{file}",
                    folder=SUITE.folder,
                    file=SUITE.files,
                )
            ),
        log:
            f"<logs>/evaluate/{{run}}/{SUITE.folder}.log",
        benchmark:
            f"<logs>/evaluate/{{run}}/{SUITE.folder}.tsv"
        wildcard_constraints:
            run=pattern([*PROJECT.runs, *SNAPSHOTS]),
        threads: 1
        resources:
            mem_mb=3500,
            runtime=240,
            gpu=GPUS,
        params:
            model=folder("model"),
            heldout=folder_option("heldout", "text"),
            options=evaluation_options(SUITE),
            out=lambda wildcards, output: os.path.dirname(output.manifest),
            settings=settings("evaluate", SUITE.name),
        message:
            f"Evaluating {{wildcards.run}}: {SUITE.folder}"
        shell:
            "OMP_NUM_THREADS={threads} lemon evaluate --model {params.model:q} {params.options} "
            "{params.heldout} --out {params.out:q} > {log:q} 2>&1"
