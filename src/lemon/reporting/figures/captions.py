"""The captions of the figures, with their numbers and findings."""

from __future__ import annotations

from lemon.configuration.figure_specs import COMPONENTS, FigureSpec, MergesSpec
from lemon.configuration.tasks import mean_chance
from lemon.reporting.claims import curves, layer_operators, similarity
from lemon.reporting.facts.curves import APART, LEMON, PARITY, SHEARED, TuneCurveFacts
from lemon.reporting.facts.departures import Departure
from lemon.reporting.facts.figure import FigureFacts, ScoredFigureFacts
from lemon.reporting.facts.quality_costs import QualityCostFacts
from lemon.reporting.facts.receptive_fields import GridFacts, paper_names
from lemon.reporting.facts.similarity_maps import SimilarityFacts
from lemon.reporting.figures.figure_numbers import FigureNumbers, figure_numbers
from lemon.reporting.numbers import rounded_perplexity, widths_in_words

OF_WEIGHTS = (
    "Linear CKA of weights; rows are the residual coordinates, columns the units, centred. Random "
    "floor: plain CKA of independent random matrices, p / (p + n) for p units and n residual "
    "coordinates; debiased CKA of those is 0."
)
OF_ACTIVATIONS = (
    "Linear CKA of outputs before they are added to the residual stream; rows are 2,048 held-out "
    "tokens, the first of a sequence left out, columns the coordinates, centred."
)


def similarity_numbers(facts: SimilarityFacts) -> FigureNumbers:
    """The maps of a figure's panels, with caption and findings."""
    caption = [f"Preset {facts.setup.name}, {facts.setup.label}."]
    for run in facts.runs:
        layers, widths = run.target_shape.num_hidden_layers, widths_in_words(run.target_shape)
        caption.append(f"Run {run.id}: {layers} layers, hidden {widths}.")
    of_weights = facts.spec.renderer == "weight_similarity"
    for component in dict.fromkeys(panel.component for panel in facts.panels):
        parts = COMPONENTS[component]
        if of_weights and len(parts) > 1:
            caption.append(f"{component}: mean of the maps of {', '.join(parts)}.")
    caption += [OF_WEIGHTS if of_weights else OF_ACTIVATIONS, *facts.spec.notes]
    caption.append(_departures(facts.departures))
    bound = similarity.BOUND if "C24" in facts.spec.claims else None
    return figure_numbers(facts, caption, similarity.MEASURED, panels=facts.panels, bound=bound)


def match_numbers(facts: FigureFacts[FigureSpec]) -> FigureNumbers:
    """The matched correlations of a figure's panels, with the caption."""
    caption = [
        f"Preset {facts.setup.name}, {facts.setup.label}. FFN neurons of layers l and l + 1, by "
        "the inputs of down_proj on held-out text, the first token of a sequence left out. Each "
        "neuron is matched with that of the same number, or aligned: by the permutation with the "
        "largest sum of correlations, as FF-merge does. That sum is positive for neurons that have "
        "nothing in common as well, so the permutation is tested on as many other tokens.",
        *facts.spec.notes,
    ]
    return figure_numbers(facts, caption)


def merge_numbers(facts: FigureFacts[MergesSpec]) -> FigureNumbers:
    """The source layers of a figure's merged layers and their shares, with the caption."""
    runs = ", ".join(run.id for run in facts.runs)
    caption = [
        f"Preset {facts.setup.name}, {facts.setup.label}; runs {runs}. Each join makes one layer "
        "of two neighbours. Numbers: how much of the FFN neurons and query-head groups of the "
        "layer made comes from the source layer, after all merges; none where a layer is kept as "
        "it is. What one merge keeps, the next may drop.",
        *facts.spec.notes,
    ]
    return figure_numbers(facts, caption)


def layer_operator_numbers(facts: FigureFacts[FigureSpec]) -> FigureNumbers:
    """The gamma of a figure's panels, learned and initial, with caption and findings."""
    caption = [f"Preset {facts.setup.name}, {facts.setup.label}."]
    for run in facts.runs:
        source, target = run.fused_shape.num_hidden_layers, run.target_shape.num_hidden_layers
        caption.append(
            f"Run {run.id}: {source} layers fused to {target}, gamma learned from "
            f"{run.row.start}; weights frozen."
        )
    for component in dict.fromkeys(panel.component for panel in facts.spec.panels):
        parts = COMPONENTS.get(component, ())
        if len(parts) > 1:
            caption.append(f"{component}: mean of gamma over {', '.join(parts)}.")
    caption += [
        "Row: target layer; column: source layer. One scale, that of the largest change, in all "
        "panels; a dash marks entries below a quarter of its negative end. Start layer: where the "
        "start of a row is largest.",
        *facts.spec.notes,
        _departures(facts.departures),
    ]
    return figure_numbers(facts, caption, layer_operators.MEASURED)


def grid_numbers(facts: GridFacts) -> FigureNumbers:
    """Scores, operator sizes and step times of the figure's runs, with the caption."""
    frame, setup = facts.frame, facts.setup
    small = " and ".join(
        f"hidden {widths_in_words(shape)}, {shape.num_hidden_layers} layers"
        for shape in facts.targets.values()
    )
    seeds = int(frame["seeds"].max())
    starts = {run.row.start for run in facts.runs if run.changes_widths and run.row.radii}
    chance = mean_chance(facts.spec.tasks)
    guessing = "" if chance is None else f" Guessing gives {chance:.1f}."
    caption = [
        f"{setup.label}, preset {setup.name}: hidden {widths_in_words(setup.source)}, "
        f"{setup.source.num_hidden_layers} layers, fused to {small}.",
        f"Dimension operators alone are learned, from {' or '.join(sorted(filter(None, starts)))}.",
        "One seed a cell." if seeds <= 1 else f"Means over up to {seeds} seeds.",
        f"Mean of {len(facts.spec.tasks)} tasks with {facts.documents} rows each at most, "
        "zero-shot, with the 95 % bootstrap interval over documents, tasks held fixed; its colours "
        f"span the intervals.{guessing} Perplexity on held-out text of the training domains.",
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


def score_curve_numbers(facts: ScoredFigureFacts) -> FigureNumbers:
    """Scores over the tokens of pre-training, with the caption."""
    seeds = int(facts.frame["seeds"].max())
    caption = [
        f"Preset {facts.setup.name}, {facts.setup.label}. Every model is trained on the same "
        "number of tokens of the same text, whose mixture of domains follows its own losses. A "
        "curve begins before the first token; that of a model from random weights begins at its "
        "first snapshot.",
        f"Mean of {len(facts.spec.tasks)} tasks with {facts.documents} rows each at most, "
        "zero-shot; bands: 95 % bootstrap intervals over documents, tasks held fixed.",
        "One seed a curve." if seeds <= 1 else f"Means over up to {seeds} seeds.",
        "The paper's figure has no numbers to set beside these: its text says that LEMON is above "
        "Sheared-LLaMA at the first and at the last point (C05; the orderings are in Table 2 and "
        "table2-starts).",
        *facts.spec.notes,
        _departures(facts.departures),
    ]
    return figure_numbers(facts, caption)


def tune_curve_numbers(facts: TuneCurveFacts) -> FigureNumbers:
    """Perplexity over training of fusion and of pruning, with caption and findings."""
    seeds = int(facts.frame.groupby("curve")["seed"].nunique().max())
    quoted = facts.quoted
    said = ", ".join(f"{k} {quoted[k][1]} at step {quoted[k][0]:,}" for k in (LEMON, SHEARED))
    caption = [
        f"Preset {facts.setup.name}, {facts.setup.label}. Perplexity on the tune text of the "
        "model of the target's sizes, of pruning with its gates folded in; tokens a step and text "
        f"are the same for both. A unigram model has {rounded_perplexity(facts.floor)}.",
        "One seed a curve." if seeds <= 1 else f"Means and ranges over {seeds} seeds.",
        f"Paper (LLaMA2-7B): {said}; equal near step {quoted[PARITY][0]}, and {quoted[APART][1]} "
        f"apart at step {quoted[APART][0]:,}.",
        *facts.spec.notes,
        _departures(facts.departures),
    ]
    return figure_numbers(facts, caption, curves.MEASURED)


def quality_cost_numbers(facts: QualityCostFacts) -> FigureNumbers:
    """Quality over cost of the figure's rows, with the caption."""
    frame = facts.frame
    rows = frame[frame["target"].notna()]
    absent = rows[rows["seeds"] == 0].groupby("target", sort=False)["method"].agg("; ".join)
    caption = [
        f"Preset {facts.setup.name}, {facts.setup.label}. Lower and further left is better. "
        "Named are the models that no other of their target beats at no more cost; all are in the "
        "CSV.",
        "Colours: the target that a model is made for. Markers: what the row itself learns; what "
        "its start learned is in its cost. Held-out loss is at each model's best temperature; bits "
        f"per byte are of the right answer, the mean of {len(facts.spec.tasks)} tasks with "
        f"{facts.documents} rows each at most. Vertical bars: 95 % bootstrap intervals over "
        "documents.",
        "FLOP are computed from shapes and settings: matrix products of weights, causal attention "
        f"and head, for sequences of {facts.sequence_length} tokens. Training has the teacher, the "
        "fusing, the losses on the tune text, and all runs that a row builds on. Making a model is "
        "training and the passes of builders over text, at most. Models of tied FFNs keep all "
        "layers: they have about the parameters of their target and compute as much as the source. "
        "The CSV has the time of inference, which was measured for all shapes in turn.",
        *facts.spec.notes,
        *(
            f"Not yet run, for the target of {target}: {methods}."
            for target, methods in absent.items()
        ),
        "Departures from the paper are in the manifest.",
    ]
    return figure_numbers(facts, caption)


def _departures(departures: list[Departure]) -> str:
    """The departures as the last sentence of a caption."""
    if not departures:
        return "No departure from the paper."
    return f"Departures: {'; '.join(departure.in_words() for departure in departures)}."
