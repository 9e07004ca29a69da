"""The tables and figures, rendered from the outcomes of their runs, and one page with them all."""

from lemon.bundles.taken import given_entries

# Where finished runs are taken from a bundle, the report has what they give.
GIVEN = given_entries(PROJECT, TAKEN)


rule table:
    input:
        files=table_files,
        text=scored_text,
    output:
        manifest="<results>/tables/{table}.manifest.json",
        page=report(
            "<results>/tables/{table}.html",
            caption="../report/table.rst",
            category="Tables",
        ),
        others=expand(
            "<results>/tables/{{table}}.{format}", format=["csv", "md", "tex", "png"]
        ),
    log:
        "<logs>/table/{table}.log",
    benchmark:
        "<logs>/table/{table}.tsv"
    wildcard_constraints:
        table=entry_pattern(lambda entry: not entry.is_figure),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        seeds=SEEDS,
        runs=RUNS,
        text=folder_option("text", "text"),
        out=lambda wildcards, output: os.path.dirname(output.manifest),
        settings=settings("table"),
    message:
        "Rendering {wildcards.table}"
    shell:
        "lemon table --table {wildcards.table:q} --preset {params.preset:q} --seeds {params.seeds} "
        "--runs {params.runs:q} {params.text} --out {params.out:q} > {log:q} 2>&1"


rule figure_numbers:
    input:
        files=figure_files,
        text=learned_text,
    output:
        numbers="<results>/figures/{figure}.csv",
        facts="<results>/figures/{figure}.facts.json",
    log:
        "<logs>/figure_numbers/{figure}.log",
    benchmark:
        "<logs>/figure_numbers/{figure}.tsv"
    wildcard_constraints:
        figure=entry_pattern(lambda entry: entry.is_figure),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        seeds=SEEDS,
        runs=RUNS,
        text=folder_option("text", "text"),
        out=lambda wildcards, output: os.path.dirname(output.numbers),
        settings=settings("figure_numbers"),
    message:
        "Computing the numbers of {wildcards.figure}"
    shell:
        "lemon figure --figure {wildcards.figure:q} --preset {params.preset:q} "
        "--seeds {params.seeds} --runs {params.runs:q} {params.text} --out {params.out:q} --numbers "
        "> {log:q} 2>&1"


rule figure:
    input:
        numbers="<results>/figures/{figure}.csv",
        facts="<results>/figures/{figure}.facts.json",
        notebook="analysis/{figure}.ipynb",
    output:
        manifest="<results>/figures/{figure}.manifest.json",
        picture=report(
            "<results>/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
        ),
        others=expand("<results>/figures/{{figure}}.{format}", format=["svg", "pdf"]),
    log:
        notebook="<logs>/figure/{figure}.ipynb",
    benchmark:
        "<logs>/figure/{figure}.tsv"
    wildcard_constraints:
        figure=entry_pattern(lambda entry: entry.is_figure),
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        settings=settings("figure"),
    message:
        "Drawing {wildcards.figure}; the executed notebook is {log.notebook}"
    notebook:
        "../../analysis/{wildcards.figure}.ipynb"


rule claims:
    input:
        rendered=[rendered(name) for name in GIVEN],
    output:
        page="<results>/claims.md",
        others=expand("<results>/claims.{format}", format=["csv", "manifest.json"]),
    log:
        "<logs>/claims.log",
    benchmark:
        "<logs>/claims.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        results=lambda wildcards, output: os.path.dirname(output.page),
        settings=settings("claims"),
    message:
        "Giving every claim a verdict"
    shell:
        "lemon claims --preset {params.preset:q} --results {params.results:q} "
        "--out {output.page:q} > {log:q} 2>&1"


rule report:
    input:
        entries=[behind(name) for name in GIVEN],
        claims="<results>/claims.md",
    output:
        page="<results>/report.html",
    log:
        "<logs>/report.log",
    benchmark:
        "<logs>/report.tsv"
    localrule: True
    threads: 1
    resources:
        mem_mb=2000,
        runtime=15,
    params:
        preset=PRESET,
        results=lambda wildcards, output: os.path.dirname(output.page),
        settings=settings("report"),
    message:
        "Putting every table and figure on one page"
    shell:
        "lemon report --preset {params.preset:q} --results {params.results:q} "
        "--out {output.page:q} > {log:q} 2>&1"
