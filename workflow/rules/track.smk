"""The replay of finished files into MLflow; a tracker out of reach never fails the workflow."""


rule track:
    input:
        rendered=rendered_manifest,
        files=table_files,
        pictures=lambda wildcards: pictures(wildcards.table),
    output:
        state="<runs>/tracking/{table}.json",
    log:
        "<logs>/track/{table}.log",
    benchmark:
        "<logs>/track/{table}.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        preset=PRESET,
        seeds=SEEDS,
        runs=lambda wildcards, output: os.path.dirname(os.path.dirname(output.state)),
        results=lambda wildcards, input: os.path.dirname(
            os.path.dirname(input.rendered)
        ),
        retry=replay,
        settings=settings("track"),
    message:
        "Replaying the files of {wildcards.table} into MLflow"
    shell:
        "lemon track --table {wildcards.table:q} --preset {params.preset:q} --seeds {params.seeds} "
        "--runs {params.runs:q} --results {params.results:q} --out {output.state:q} 2>&1 | logged {log:q}"
