"""fetch -> prepare -> build or learn -> fuse -> pretrain -> evaluate, cka -> table, figure -> track.
`snakemake table3 --cores 2` takes the preset `laptop`; `--config preset=NAME` takes another, and
`from=bundle` finished runs in place of learning.
"""


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/behind.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/unpack.smk"
include: "workflow/rules/learn.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/measures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/track.smk"


rule all:
    default_target: True
    input:
        [behind(table) for table in PROJECT.numbered],
    localrule: True
    message:
        "Every table and figure of the paper is there"


for target, files in TARGETS.items():

    rule:
        name:
            target
        input:
            files,
        message:
            "Everything of this target is there"


check_target(TARGET)
