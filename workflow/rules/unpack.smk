"""The runs of a bundle, with `--config from=`: no other rule makes what is taken from it."""

if TAKEN.files:

    # Over the rules with wildcards it is preferred anyhow.
    ruleorder: unpack > prepare_text
    ruleorder: unpack > time

    rule unpack:
        input:
            bundle=str(TAKEN.bundle),
        output:
            files=update([taken for part in TAKEN.files for taken in taken_files(part)]),
        log:
            "<logs>/unpack.log",
        benchmark:
            "<logs>/unpack.tsv"
        localrule: True
        threads: 1
        resources:
            mem_mb=2000,
            runtime=15,
        params:
            preset=PRESET,
            seeds=SEEDS,
            scope=TAKEN.scope,
            folder=FOLDER or ".",
            entry=option("for", ENTRY) if ENTRY else "",
            settings=settings("unpack"),
        message:
            "Unpacking finished runs of {input.bundle}"
        shell:
            "lemon unpack --preset {params.preset:q} --seeds {params.seeds} --bundle {input.bundle:q} "
            "--take {params.scope:q} {params.entry} --folder {params.folder:q} > {log:q} 2>&1"
