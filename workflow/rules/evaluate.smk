"""The scores of a model, document by document. Jobs of one thread run side by side."""


rule evaluate:
    input:
        model=lambda wildcards: model_manifest(wildcards.run),
        tasks="<data>/tasks/manifest.json",
        text="<data>/text/manifest.json",
    output:
        manifest="<runs>/{run}/outcomes/manifest.json",
    log:
        "<logs>/evaluate/{run}.log",
    benchmark:
        "<logs>/evaluate/{run}.tsv"
    threads: 1
    resources:
        mem_mb=3500,
        runtime=240,
        gpu=GPUS,
    params:
        model=folder("model"),
        heldout=folder("text"),
        options=evaluation_options,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("evaluate"),
    message:
        "Evaluating {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={threads} lemon evaluate --model {params.model} {params.options} "
        "--heldout {params.heldout} --out {params.out} > {log} 2>&1"
