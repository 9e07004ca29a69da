"""Linear CKA between the weights of a model's layers.

    CKA(X, Y) = ||Xc^T Yc||_F^2 / (||Xc^T Xc||_F * ||Yc^T Yc||_F)

Kornblith et al. 2019, as used in the paper's Figures 2 and 6 to 8. Rows of X are the residual
coordinates, which all layers share; columns are internal units, to whose order CKA is blind
(method.md, section 9). With the Gram matrices K = Xc Xc^T each numerator is an inner product
<K_i, K_j>, so a model of L layers takes L products and one [L, L] matrix of inner products.

Plain CKA of independent random matrices is far from 0 (p / (p + n) for n x p); the debiased form
(Song et al. 2012, eq. 5: U-centred Gram matrices) is 0 for them in expectation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lemon.architecture import Axis, TensorSpec, layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.errors import BadInput
from lemon.storage import write_text

if TYPE_CHECKING:
    import torch

# Component of a map -> layer types whose maps are averaged (method.md, open point 31).
COMPONENTS: dict[str, tuple[str, ...]] = {
    **{f"{t}_proj": (t,) for t in ("q", "k", "v", "o", "gate", "up", "down")},
    "mha": ("q", "k", "v", "o"),
    "ffn": ("gate", "up", "down"),
}
SLAB_BYTES = 256 << 20  # of Gram matrices in memory, over all layers


def check_component(component: str) -> None:
    """Refuse an unknown component, without torch.

    Raises:
        BadInput: naming the legal ones.
    """
    if component not in COMPONENTS:
        raise BadInput(f"component {component!r} is unknown; take one of {', '.join(COMPONENTS)}")


def write_cka(source_dir: Path, component: str, out: Path, debiased: bool = False) -> None:
    """Write the similarity of all pairs of layers as CSV, layer indices as header and index.

    Raises:
        BadInput: the model or the component is not valid, or `out` may not be written.
    """
    check_component(component)
    matrix = cka_matrix(Checkpoint(source_dir), component, debiased)
    lines = [",".join(["layer", *map(str, range(len(matrix)))])]
    lines += [
        ",".join([str(i), *(f"{value:.8f}" for value in row)]) for i, row in enumerate(matrix)
    ]
    write_text(out, "\n".join(lines) + "\n")


def cka_matrix(source: Checkpoint, component: str, debiased: bool = False) -> np.ndarray:
    """CKA of every pair of layers, [L, L] float64, symmetric, ones on the diagonal.

    `mha` and `ffn` are the mean of the maps of their matrices.

    Raises:
        BadInput: an unknown component, or a layer of which every row is alike.
    """
    check_component(component)
    return np.mean([_type_matrix(source, type, debiased) for type in COMPONENTS[component]], axis=0)


def _type_matrix(source: Checkpoint, type: str, debiased: bool) -> np.ndarray:
    """CKA between the layers' matrices of one type, from slabs of rows of their Gram matrices.

    Each slab reads the type's tensors again; one slab is enough up to a width of about 1,000.
    """
    import torch

    num_layers, width = source.shape.num_hidden_layers, source.shape.hidden_size
    slab_rows = min(width, max(1, SLAB_BYTES // (4 * num_layers * width)))
    inner = torch.zeros(num_layers, num_layers, dtype=torch.float64)
    for first in range(0, width, slab_rows):
        rows = slice(first, min(first + slab_rows, width))
        slab = torch.empty(num_layers, (rows.stop - first) * width)
        for layer in range(num_layers):
            spec = source.specs[layer_tensor_name(type, layer)]
            centred = _centred(source.tensor(spec.name), spec)
            gram = centred[rows] @ centred.T
            if debiased:
                _u_centre(gram, centred.square().sum(1), first)
            slab[layer] = gram.flatten()
        inner += (slab @ slab.T).double()
    inner = (
        inner + inner.T
    ) / 2  # not every machine's product of a matrix with itself is symmetric
    norms = inner.diagonal().sqrt()
    if not (norms > 0).all():
        layer = int((norms <= 0).nonzero()[0])
        raise BadInput(
            f"{source.path}: {layer_tensor_name(type, layer)} is the same for every residual "
            "coordinate, so its similarity is not defined"
        )
    return (inner / norms.outer(norms)).numpy()


def _centred(weight: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """The weight as [residual coordinate, unit] in float32, each column of mean 0."""
    matrix = weight.float() if spec.axes[0] is Axis.HIDDEN else weight.float().T
    return matrix - matrix.mean(0)


def _u_centre(gram: torch.Tensor, diagonal: torch.Tensor, first: int) -> None:
    """U-centre rows `first`, ... of a Gram matrix in place.

    With the diagonal set to zero, the mean over the others of row i and of column j is taken off
    and the overall mean put back. Rows of a centred Gram matrix sum to 0, so a row without its
    diagonal sums to minus that diagonal: the rest of the matrix is not needed.
    """
    n = len(diagonal)
    row = diagonal[first : first + len(gram)]
    gram += (row[:, None] + diagonal) / (n - 2) - diagonal.sum() / ((n - 1) * (n - 2))
    gram.diagonal(first).zero_()
