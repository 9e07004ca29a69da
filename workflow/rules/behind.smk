"""All files behind a table or figure. Its target asks for each: a missing one is made again."""

from pathlib import Path

from lemon.bundles.taken import runs_behind, runs_to_compare, shown_parts
from lemon.configuration.tasks import ABLATION, FOLDERS


def rendered(table):
    """The manifest of a table or figure."""
    if PROJECT.entry(table).is_figure:
        return f"<results>/figures/{table}.manifest.json"
    return f"<results>/tables/{table}.manifest.json"


def pictures(table):
    """The files of a rendered table or figure beside its manifest."""
    if PROJECT.entry(table).is_figure:
        folder, formats = "figures", ["csv", "facts.json", "png", "svg", "pdf"]
    else:
        folder, formats = "tables", ["csv", "md", "tex", "html", "png"]
    return below(f"<results>/{folder}", [f"{table}.{format}" for format in formats])


def below(folder, names):
    """Files in a folder."""
    return [f"{folder}/{name}" for name in names]


def taken_files(part):
    """The files of a part of the runs that are taken from a bundle; none where it is not."""
    paths = [Path(file).parts for file in TAKEN.files.get(part, ())]
    return [f"<{first}>/{Path(*rest)}" for first, *rest in paths]


def behind(table):
    """A table or figure with its record, and every declared file from which it was made."""
    shown, suites = PROJECT.shown_models(table), PROJECT.table_suites(table)
    runs = [] if table not in PROJECT.whole else runs_behind(PROJECT, table)
    learned = any(run.method.learned for run in runs)
    files = [f"<runs>/tracking/{table}.json", rendered(table)]
    files += pictures(table) + shown_files(table)
    for run in runs:
        if run.method.needs_target:
            made = ["manifest.json", *MADE_FILES[run.method.stage]]
            whole = below(f"<runs>/{run.id}", made)
            files += taken_files(f"runs/{run.id}") or whole
    for model, run in shown.items() if suites or shows_similarity(table) else []:
        if not TAKEN.files.keys() >= {*shown_parts(PROJECT, table, run.id)}:
            weights = os.path.dirname(model_manifest(model))
            files += below(weights, ["manifest.json", *MODEL_FILES])
        for name in suites:
            files += below(f"<runs>/{model}/{FOLDERS[name]}", SUITES[name].files)
    if suites or learned:
        whole = below("<data>/text", ["manifest.json", *TEXT_FILES])
        files += taken_files("data/text") or whole
    return list(dict.fromkeys(files))


def shows_similarity(table):
    """Whether a figure compares the layers of models."""
    return any("/similarity/" in file for file in PROJECT.figure_files(table))


def scored_anew(wildcards):
    """The scores that `lemon compare` holds against those in the bundle."""
    runs = checked(runs_to_compare, PROJECT, TAKEN)
    return [f"<runs>/{run}/{FOLDERS[ABLATION]}/manifest.json" for run in runs]


TARGETS = {name: behind(name) for name in PROJECT.tables}
TARGETS["everything"] = [behind(name) for name in PROJECT.whole]
TARGETS["check_results"] = scored_anew
