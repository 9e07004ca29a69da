"""What is measured beside scores: how alike the layers of a model are, one job a map, and the time of
inference of every shape, in one process that has the machine to itself.
"""


rule cka:
    input:
        model=lambda wildcards: model_manifest(wildcards.run),
        text=activation_text,
    output:
        map="<runs>/{run}/similarity/{of}/{measure}/{component}.csv",
        manifest="<runs>/{run}/similarity/{of}/{measure}/{component}.manifest.json",
    log:
        "<logs>/cka/{run}/{of}/{measure}/{component}.log",
    benchmark:
        "<logs>/cka/{run}/{of}/{measure}/{component}.tsv"
    wildcard_constraints:
        of="weights|activations",
        measure="|".join(MEASURES),
        component="|".join(COMPONENTS),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        model=folder("model"),
        options=cka_options,
        settings=settings("cka"),
    message:
        "Comparing the layers of {wildcards.run}: {wildcards.of}, {wildcards.component}, "
        "{wildcards.measure}"
    shell:
        "OMP_NUM_THREADS={threads} lemon cka --source {params.model:q} "
        "--component {wildcards.component:q} {params.options} --out {output.map:q} > {log:q} 2>&1"


rule match:
    input:
        model=lambda wildcards: model_manifest(wildcards.run),
        text="<data>/text/manifest.json",
    output:
        table="<runs>/{run}/similarity/activations/matched/ffn.csv",
        manifest="<runs>/{run}/similarity/activations/matched/ffn.manifest.json",
    log:
        "<logs>/match/{run}.log",
    benchmark:
        "<logs>/match/{run}.tsv"
    threads: 1
    resources:
        mem_mb=host_memory(3000, 1),
        runtime=240,
    params:
        model=folder("model"),
        text=folder("text"),
        settings=settings("match"),
    message:
        "Matching the FFN neurons of neighbouring layers of {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={threads} lemon match --source {params.model:q} --text {params.text:q} "
        "--out {output.table:q} > {log:q} 2>&1"


rule time:
    output:
        table="<runs>/inference.csv",
        manifest="<runs>/inference.manifest.json",
    log:
        "<logs>/time.log",
    benchmark:
        "<logs>/time.tsv"
    threads: ALL_CORES
    resources:
        mem_mb=host_memory(3000, 2 * len(PROJECT.timed_shapes())),
        runtime=60,
        gpu=GPUS,
    params:
        preset=PRESET,
        settings=settings("time"),
    message:
        "Timing the inference of models of every shape"
    shell:
        "OMP_NUM_THREADS={threads} lemon time --preset {params.preset:q} --out {output.table:q} "
        "> {log:q} 2>&1"
