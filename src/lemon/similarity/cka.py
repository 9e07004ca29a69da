"""Linear CKA between the weights of a model's layers.

    CKA(X, Y) = ||Xc^T Yc||_F^2 / (||Xc^T Xc||_F * ||Yc^T Yc||_F)

Kornblith et al. 2019, as used in the paper's Figures 2 and 6 to 8. Rows of X are the residual
coordinates, which all layers share; columns are internal units, whose order does not affect CKA
(method.md, section 9). With the Gram matrices K = Xc Xc^T each numerator is an inner product
<K_i, K_j>, so a model of L layers needs L products and one [L, L] matrix of inner products.

Plain CKA of independent random matrices is far from 0 (p / (p + n) for n x p); the debiased form
(Song et al. 2012, eq. 5: U-centred Gram matrices) has expectation 0. Both follow from the same
inner products: let d and e be the diagonals of centred K and M, and < > the sum over entries off
the diagonal. Plain HSIC is <K, M> + d.e. Rows of K sum to 0, so rows without the diagonal sum to
-d, and eq. 5 becomes

    <K, M> - 2 d.e / (n - 2) + sum(d) sum(e) / ((n - 1) (n - 2))
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lemon.architecture import layer_tensor_name
from lemon.checkpoint import Checkpoint
from lemon.configuration.figure_specs import COMPONENTS, MEASURES
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.files.storage import write_text
from lemon.progress import ProgressLine, say
from lemon.provenance import peak_memory_bytes
from lemon.similarity.gram import GramPlan, GramProducts, gram_plan, gram_products, memory_bound

MEGA = 10**6
FEWEST_COORDINATES = 4  # for the debiased estimator: it divides by n - 2, and n - 3 in its scale


def write_cka(source_dir: Path, component: str, out: Path, debiased: bool = False) -> None:
    """Write the similarity of all pairs of layers by `write_map`; raises as `cka_matrices`."""
    started = time.monotonic()
    source = Checkpoint(source_dir)
    source.verify(s.name for s in source.specs.values() if s.type in COMPONENTS[component])
    settings = {"component": component, "debiased": debiased}
    write_map(cka_matrix(source, component, debiased), out, settings, started)


def write_map(matrix: np.ndarray, out: Path, settings: dict[str, Any], started: float) -> None:
    """Write an [L, L] map as CSV, layer indices as header and index, and its manifest."""
    import pandas as pd

    table = pd.DataFrame(matrix)
    write_text(out, table.to_csv(index_label="layer", float_format="%.8f", lineterminator="\n"))
    manifest = out.with_suffix(".manifest.json")
    write_manifest(manifest, "cka", files=[out], settings=settings, started=started)


def cka_matrix(source: Checkpoint, component: str, debiased: bool = False) -> np.ndarray:
    """One map of `cka_matrices`; raises as it does."""
    estimator = "debiased" if debiased else "plain"
    return cka_matrices(source, component, (estimator,))[estimator]


def cka_matrices(
    source: Checkpoint, component: str, estimators: Sequence[str] = MEASURES
) -> dict[str, np.ndarray]:
    """CKA of every pair of layers by each estimator, from the same products.

    Each map is [L, L] float64, symmetric, with ones on the diagonal. `mha` and `ffn` are the mean
    of the maps of their matrices. Plan, progress and speed are printed to standard error.

    Raises:
        BadInput: a model too narrow for the debiased estimator, or a layer whose rows are all
            equal.
    """
    width = source.shape.hidden_size
    if "debiased" in estimators and width < FEWEST_COORDINATES:
        raise BadInput(
            f"{source.path}: hidden_size is {width}; the debiased estimator needs at least "
            f"{FEWEST_COORDINATES} residual coordinates"
        )
    plans = [gram_plan(source, type) for type in COMPONENTS[component]]
    label, flop, done = f"cka {component}", sum(plan.flop for plan in plans), 0
    say(f"{label}: {_announced(plans)}")
    progress = ProgressLine(label, "MFLOP", flop // MEGA)

    def layer_done(of_layer: int) -> None:
        nonlocal done
        done += of_layer
        progress.show(done // MEGA, f"{_giga(done / progress.seconds)} GFLOP/s")

    maps: dict[str, list[np.ndarray]] = {estimator: [] for estimator in estimators}
    for plan in plans:
        products = gram_products(source, plan, layer_done)
        for estimator in estimators:
            values = hsic(products, estimator)
            _require_variation(values, products, source, plan.type)
            maps[estimator].append(normalised(values))
    say(
        f"{label}: {progress.seconds:.1f} s, {_giga(flop / progress.seconds)} GFLOP/s, "
        f"peak memory {peak_memory_bytes() / MEGA:.0f} MB"
    )
    return {estimator: np.mean(of_types, axis=0) for estimator, of_types in maps.items()}


def _announced(plans: Sequence[GramPlan]) -> str:
    """What the computation of these matrices takes, in words."""
    passes = max(len(plan.slabs) for plan in plans)
    read = sum(plan.stored_bytes * len(plan.slabs) for plan in plans)
    return (
        f"{plans[0].num_layers} layers of {', '.join(plan.type for plan in plans)}, "
        f"{_giga(sum(plan.flop for plan in plans))} GFLOP, weights read in {passes} "
        f"{'passes' if passes > 1 else 'pass'} ({_giga(read)} GB), at most "
        f"{memory_bound(plans) / MEGA:.0f} MB of memory"
    )


def _giga(number: float) -> str:
    """In units of 1e9, to about three digits: 0.123, 12.3, 2,349."""
    value = number / 1e9
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def hsic(products: GramProducts, estimator: str) -> np.ndarray:
    """Hilbert-Schmidt independence criterion of all pairs, [L, L], up to a common factor."""
    diagonals = products.diagonals
    n = diagonals.shape[1]
    if estimator == "plain":
        return products.off_diagonal + diagonals @ diagonals.T
    traces = diagonals.sum(1)
    rows = np.outer(traces, traces) / ((n - 1) * (n - 2))
    return products.off_diagonal - 2 / (n - 2) * diagonals @ diagonals.T + rows


def normalised(values: np.ndarray) -> np.ndarray:
    """CKA from HSIC, [L, L], made exactly symmetric."""
    norms = np.sqrt(values.diagonal())
    matrix = values / np.outer(norms, norms)
    return (matrix + matrix.T) / 2


def _require_variation(
    values: np.ndarray, products: GramProducts, source: Checkpoint, type: str
) -> None:
    """Raise for layers whose rows are all equal, or whose HSIC vanishes after debiasing."""
    scale = np.square(products.diagonals).sum(1) + np.abs(products.off_diagonal.diagonal())
    for layer in np.flatnonzero(~(values.diagonal() > 1e-12 * scale)):
        raise BadInput(
            f"{source.path}: {layer_tensor_name(type, int(layer))} is the same for every residual "
            "coordinate, so its similarity is not defined"
        )
