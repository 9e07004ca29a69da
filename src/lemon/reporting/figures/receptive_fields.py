"""The numbers and text of Figure 4 right."""

from __future__ import annotations

from lemon.reporting.facts.receptive_fields import GridFacts, paper_names
from lemon.reporting.figures.figure_numbers import FigureNumbers, figure_numbers
from lemon.reporting.numbers import widths_in_words


def grid_numbers(facts: GridFacts) -> FigureNumbers:
    """Scores, operator sizes and step times of the figure's runs, with the caption."""
    frame, setup = facts.frame, facts.setup
    small = " and ".join(
        f"hidden {widths_in_words(sizes.here)}, {sizes.here.num_hidden_layers} layers"
        for sizes in facts.targets.values()
    )
    seeds = int(frame["seeds"].max())
    starts = {run.row.start for run in facts.runs if run.changes_widths and run.row.radii}
    caption = [
        f"{setup.label}, preset {setup.name}: hidden {widths_in_words(setup.source)}, "
        f"{setup.source.num_hidden_layers} layers, fused to {small}.",
        f"Dimension operators alone are learned, from {' or '.join(sorted(filter(None, starts)))}.",
        "One seed a cell." if seeds <= 1 else f"Means over up to {seeds} seeds.",
        f"Mean of {len(facts.spec.tasks)} tasks with {facts.documents} rows each at most, "
        "zero-shot, with the 95 % bootstrap interval over documents, tasks held fixed; perplexity "
        "on held-out text of the training domains.",
        "Operator size: entries of the small factors of B, A_attn and A_ffn, before rotary halves "
        "are tied; % of the small model's parameters. Step time: median and quartiles, on the "
        "machine that ran it, with what else ran there at the time.",
    ]
    grid = frame[frame["r_a"].notna()]
    if (grid["r_h"] == grid["r_i"]).all():
        caption.append("r_h, of the hidden axis, is r_i.")
    else:
        pairs = ", ".join(f"{line.method}: {line.r_h}" for line in grid.itertuples())
        caption.append(f"r_h, of the hidden axis: {pairs}.")
    absent = frame.loc[frame["seeds"] == 0, "method"]
    if len(absent):
        caption.append(f"Not yet run: {', '.join(absent)}.")
    keys = ("steps of fusion", "tokens of fusion", "rate of the dimension operators")
    listed = {departure.setting: departure for departure in facts.departures}
    changed = [listed[key].in_words() for key in keys if key in listed]
    if changed:
        caption.append(f"Departures: {'; '.join(changed)}; all are in the manifest.")
    caption.append("Paper: LLaMA2-7B. Lighter is better in every panel.")
    return figure_numbers(facts, caption, radius_names=paper_names(facts.runs))
