"""The scores of a model, document by document: one job for each suite of tasks.

Jobs of one thread run side by side.
"""


rule evaluate:
    input:
        model=lambda wildcards: model_manifest(wildcards.run),
        tasks="<data>/tasks/manifest.json",
        text=heldout_manifest,
    output:
        manifest="<runs>/{run}/{outcomes}/manifest.json",
    log:
        "<logs>/evaluate/{run}/{outcomes}.log",
    benchmark:
        "<logs>/evaluate/{run}/{outcomes}.tsv"
    wildcard_constraints:
        outcomes=OUTCOMES,
    threads: 1
    resources:
        mem_mb=3500,
        runtime=240,
        gpu=GPUS,
    params:
        model=folder("model"),
        heldout=heldout_option,
        options=evaluation_options,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("evaluate"),
    message:
        "Evaluating {wildcards.run}: {wildcards.outcomes}"
    shell:
        "OMP_NUM_THREADS={threads} lemon evaluate --model {params.model} {params.options} "
        "{params.heldout} --out {params.out} > {log} 2>&1"
