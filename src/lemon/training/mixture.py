"""The mixture that a run reads: fixed, or following the losses of its domains.

While masks learn, the mixture follows the losses as in Sheared-LLaMA; the layer operator reads a
fixed one (method.md, section 6).
"""

from __future__ import annotations

from lemon.configuration.project import Project
from lemon.data.text.dynamic_batch_loading import DynamicBatchLoader
from lemon.data.text.packing import PackedText
from lemon.data.text.reference_losses import scaling_law_references
from lemon.learning.fusion import LayerSelection
from lemon.learning.student import FusedStudent
from lemon.training.batches import Batches, DynamicBatches, FixedBatches, training_sequences
from lemon.training.heldout import heldout_losses

SCALING_LAW_FAMILY = "LLaMA2"


def batches_of(project: Project, run_id: str, text: PackedText, student: FusedStudent) -> Batches:
    """The training rows of a run.

    Args:
        project: the configuration.
        run_id: a run that learns.
        text: packed sequences.
        student: of the run, before anything has learned.

    Raises:
        BadInput: a domain has no text, or the scaling law has no such domain.
    """
    seed = project.run(run_id).seed
    loading = project.pruning(run_id).loading
    prunes = project.run(run_id).method.prunes
    if not prunes or loading.update_every is None:
        return FixedBatches(text, seed)
    if loading.reference == "scaling-law":
        references = scaling_law_references(
            project.target_shape(run_id).num_parameters, SCALING_LAW_FAMILY
        )
    else:
        references = _source_losses(project, run_id, text, student)
    loader = DynamicBatchLoader(
        training_sequences(text),
        text.weights,
        seed,
        references=references,
        clip=loading.clip,
        smoothing=loading.smoothing,
    )
    return DynamicBatches(text, loader, loading.update_every)


def _source_losses(
    project: Project, run_id: str, text: PackedText, student: FusedStudent
) -> dict[str, float]:
    """The held-out losses of the source's own weights, before anything has learned."""
    settings = project.learning(run_id)
    depth = student.source.shape.num_hidden_layers
    whole = FusedStudent(
        student.source,
        LayerSelection(range(depth)),
        student.decoder,
        layers_per_segment=depth,
        recompute=False,
    )
    return heldout_losses(
        whole,
        text,
        sequences=settings.heldout_sequences,
        batch_sequences=settings.microbatch_sequences,
        chunk_tokens=settings.loss_chunk_tokens,
        device=student.source.embedding.device,
    )
