"""Everything that is downloaded, and what is made of it: models, text and tasks."""


rule fetch:
    output:
        lock="<data>/assets.lock.json",
    log:
        "<logs>/fetch.log",
    benchmark:
        "<logs>/fetch.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        preset=PRESET,
        settings=settings("fetch"),
    message:
        "Downloading the assets of the preset (only what the cache lacks)"
    shell:
        "unset HF_HUB_OFFLINE HF_DATASETS_OFFLINE TRANSFORMERS_OFFLINE; "
        "lemon fetch --preset {params.preset:q} --out {output.lock:q} 2>&1 | logged {log:q}"


rule prepare_source:
    input:
        lock="<data>/assets.lock.json",
        given=given_files(PROJECT.preset.source),
    output:
        manifest=update("<data>/source/manifest.json"),
        files=expand("<data>/source/{file}", file=MODEL_FILES),
    log:
        "<logs>/prepare_source.log",
    benchmark:
        "<logs>/prepare_source.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        preset=PRESET,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("source"),
    message:
        "Preparing the source model"
    shell:
        "OMP_NUM_THREADS={threads} lemon prepare source --preset {params.preset:q} "
        "--assets {input.lock:q} --out {params.out:q} > {log:q} 2>&1"


rule prepare_second_size:
    input:
        lock="<data>/assets.lock.json",
        given=given_files(PROJECT.preset.second_size),
    output:
        manifest=update("<data>/second-size/manifest.json"),
        files=expand("<data>/second-size/{file}", file=MODEL_FILES),
    log:
        "<logs>/prepare_second_size.log",
    benchmark:
        "<logs>/prepare_second_size.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        preset=PRESET,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("second_size"),
    message:
        "Preparing the second size, whose weights are compared with the source's"
    shell:
        "OMP_NUM_THREADS={threads} lemon prepare second-size --preset {params.preset:q} "
        "--assets {input.lock:q} --out {params.out:q} > {log:q} 2>&1"


rule prepare_text:
    input:
        lock="<data>/assets.lock.json",
        source="<data>/source/manifest.json",
    output:
        manifest=update("<data>/text/manifest.json"),
        files=expand("<data>/text/{file}", file=TEXT_FILES),
    log:
        "<logs>/prepare_text.log",
    benchmark:
        "<logs>/prepare_text.tsv"
    # It needs all cores, so it goes before long jobs of one core; all that learns waits for it.
    priority: 30
    threads: ALL_CORES
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        preset=PRESET,
        source=folder("source"),
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("text"),
    message:
        "Tokenising and packing the text"
    shell:
        "OMP_NUM_THREADS={threads} RAYON_NUM_THREADS={threads} "
        "lemon prepare text --preset {params.preset:q} --assets {input.lock:q} "
        "--source {params.source:q} --out {params.out:q} > {log:q} 2>&1"


rule prepare_tasks:
    input:
        lock="<data>/assets.lock.json",
    output:
        manifest=update("<data>/tasks/manifest.json"),
    log:
        "<logs>/prepare_tasks.log",
    benchmark:
        "<logs>/prepare_tasks.tsv"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        preset=PRESET,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("tasks"),
    message:
        "Laying out the rows of the evaluation tasks"
    shell:
        "OMP_NUM_THREADS={threads} lemon prepare tasks --preset {params.preset:q} "
        "--assets {input.lock:q} --out {params.out:q} > {log:q} 2>&1"
