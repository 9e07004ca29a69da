"""The tables and figures, rendered from the outcomes of their runs."""


rule table:
    input:
        outcomes=table_outcomes,
    output:
        manifest="<results>/tables/{table}.manifest.json",
        files=expand(
            "<results>/tables/{{table}}.{format}",
            format=["csv", "md", "tex", "html", "png"],
        ),
    log:
        "<logs>/table/{table}.log",
    benchmark:
        "<logs>/table/{table}.tsv"
    wildcard_constraints:
        table=entry_pattern(lambda entry: not entry.is_figure),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        runs=RUNS,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("table"),
    message:
        "Rendering {wildcards.table}"
    shell:
        "lemon table --table {wildcards.table} --preset {params.preset:q} --runs {params.runs} "
        "--out {params.out} > {log} 2>&1"


rule figure:
    input:
        outcomes=figure_outcomes,
    output:
        manifest="<results>/figures/{figure}.manifest.json",
        files=expand(
            "<results>/figures/{{figure}}.{format}",
            format=["csv", "png", "svg", "pdf"],
        ),
    log:
        "<logs>/figure/{figure}.log",
    benchmark:
        "<logs>/figure/{figure}.tsv"
    wildcard_constraints:
        figure=entry_pattern(lambda entry: entry.is_figure),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        runs=RUNS,
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("figure"),
    message:
        "Drawing {wildcards.figure}"
    shell:
        "lemon figure --figure {wildcards.figure} --preset {params.preset:q} "
        "--runs {params.runs} --out {params.out} > {log} 2>&1"
