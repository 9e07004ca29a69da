"""The operators of a run, chosen or learned, and the model that they make of the source."""


rule build:
    input:
        source=source_manifest,
        start=start_manifest,
        text=calibration_text,
    output:
        manifest=update("<runs>/{run}/manifest.json"),
        files=update(expand("<runs>/{{run}}/{file}", file=BUILT_FILES)),
    log:
        "<logs>/build/{run}.log",
    benchmark:
        "<logs>/build/{run}.tsv"
    wildcard_constraints:
        run=made_by("build"),
    threads: lambda wildcards: ALL_CORES if calibration_text(wildcards) else 1
    resources:
        mem_mb=host_memory(3000, 2),
        runtime=120,
        gpu=lambda wildcards: GPUS if calibration_text(wildcards) else 0,
        rounds=f"{DATA}/rounds",  # no param: another one would make finished runs again
    params:
        preset=PRESET,
        source=folder("source"),
        start=folder_option("start", "start"),
        text=folder_option("text", "text"),
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("build"),
    message:
        "Choosing the operators of {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={threads} lemon build --preset {params.preset:q} --run {wildcards.run:q} "
        "--source {params.source:q} {params.start} {params.text} --rounds {resources.rounds:q} "
        "--out {params.out:q} > {log:q} 2>&1"


rule learn:
    input:
        source=source_manifest,
        text="<data>/text/manifest.json",
        start=start_manifest,
        teacher=teacher_manifest,
    output:
        manifest=update("<runs>/{run}/manifest.json"),
        files=update(expand("<runs>/{{run}}/{file}", file=LEARNED_FILES)),
    log:
        "<logs>/learn/{run}.log",
    benchmark:
        "<logs>/learn/{run}.tsv"
    wildcard_constraints:
        run=made_by("learn"),
    priority: 10  # first, so that no core waits for the last evaluations
    threads: TRAINING_CORES
    resources:
        **TRAINING,
    params:
        preset=PRESET,
        threads=shared_threads,
        starter=TORCHRUN,
        source=folder("source"),
        text=folder("text"),
        start=folder_option("start", "start"),
        teacher=folder_option("teacher", "teacher"),
        cache=f"{DATA}/teacher",
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("learn"),
    message:
        "Learning the operators of {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={params.threads} {params.starter}lemon learn --preset {params.preset:q} "
        "--run {wildcards.run:q} "
        "--source {params.source:q} --text {params.text:q} {params.start} {params.teacher} "
        "--teacher-cache {params.cache:q} --out {params.out:q} 2>&1 | logged {log:q}"


rule trial:
    input:
        source=source_manifest,
        text="<data>/text/manifest.json",
        start=start_manifest,
        teacher=teacher_manifest,
        reference=reference_manifest,
    output:
        manifest=update("<runs>/tuning/{rates}/{number}/manifest.json"),
        metrics=update("<runs>/tuning/{rates}/{number}/metrics.jsonl"),
    log:
        "<logs>/trial/{rates}/{number}.log",
    benchmark:
        "<logs>/trial/{rates}/{number}.tsv"
    wildcard_constraints:
        rates=pattern(PROJECT.trials if TAKEN.learns else ()),
        number=r"[1-9][0-9]*",
    threads: TRAINING_CORES
    resources:
        **TRAINING,
    params:
        preset=PRESET,
        threads=shared_threads,
        starter=TORCHRUN,
        source=folder("source"),
        text=folder("text"),
        start=folder_option("start", "start"),
        teacher=folder_option("teacher", "teacher"),
        reference=folder_option("reference", "reference"),
        cache=f"{DATA}/teacher",
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("trial"),
    message:
        "Trying rates of {wildcards.rates}, trial {wildcards.number}"
    shell:
        "OMP_NUM_THREADS={params.threads} {params.starter}lemon try --preset {params.preset:q} "
        "--rates {wildcards.rates:q} --trial {wildcards.number:q} --source {params.source:q} --text {params.text:q} "
        "{params.start} {params.teacher} {params.reference} "
        "--teacher-cache {params.cache:q} --out {params.out:q} 2>&1 | logged {log:q}"


rule fuse:
    input:
        operators="<runs>/{run}/manifest.json",
        source=source_manifest,
    output:
        manifest=update("<runs>/{run}/model/manifest.json"),
        files=expand("<runs>/{{run}}/model/{file}", file=MODEL_FILES),
    log:
        "<logs>/fuse/{run}.log",
    benchmark:
        "<logs>/fuse/{run}.tsv"
    wildcard_constraints:
        run=FUSED,
    threads: 1
    resources:
        mem_mb=host_memory(3000, 2),
        runtime=60,
    params:
        weights=fused_weights,
        operators=lambda wildcards, input: f"{os.path.dirname(input.operators)}/operators.safetensors",
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("fuse"),
    message:
        "Fusing the model of {wildcards.run}"
    shell:
        "OMP_NUM_THREADS={threads} lemon fuse --source {params.weights:q} "
        "--operators {params.operators:q} --out {params.out:q} > {log:q} 2>&1"
