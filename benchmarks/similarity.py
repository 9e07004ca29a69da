"""Layer similarity side by side: ours, the bare products, every pair on its own, PyPI packages.

The promises, on 32 matrices of 1024 x 1024: at least 8 times as fast as the best of the packages
`torch-cka` and `ckatorch` and as every pair on its own; at most 1.5 times the time of the bare
products (one Gram product a layer and the inner products of all pairs, in float32 from memory);
equal to numpy in float64 to 1e-6.

    python benchmarks/similarity.py --rounds 5

Ours is `cka_matrices` on a model folder: reading, centring and both estimators are in its time.
The others get the matrices in memory:

* pairs: ||Xc^T Yc||_F^2 of each pair i <= j in torch, float32;
* torch-cka: `CKA(model, model).compare(loader)`, with a model whose 32 modules give the matrices
  as features, in one batch of all 1024 rows, which is debiased linear CKA of the whole matrices;
* ckatorch: `cka_base(x, y)` of each pair i < j, its plain linear CKA, in float64 as it has it. Its
  class `CKA` calls `cka_batch` instead, five products a pair, for all ordered pairs, and is slower.

The packages take minutes a round, and so they run in the first `--package-rounds` rounds only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from lemon.architecture import LlamaShape, layer_tensor_name, tensor_specs
from lemon.checkpoint import WEIGHTS, Checkpoint
from lemon.files.tensor_file import write_tensor_file
from lemon.similarity.cka import cka_matrices

FASTER = 8.0
OVER_BARE = 1.5
PACKAGES = {"torch-cka": "torch_cka", "ckatorch": "ckatorch"}
MEND = "pip install --no-deps torch-cka==0.21 ckatorch==1.0.3 seaborn==0.13.2"

Maps = dict[str, np.ndarray]


def related_layers(num_layers: int, size: int) -> torch.Tensor:
    """[L, n, p] random matrices that share more and more with each other towards the last."""
    generator = torch.Generator().manual_seed(0)
    layers = torch.randn(num_layers, size, size, generator=generator)
    shared = torch.randn(size, size, generator=generator)
    return layers + torch.linspace(0, 1, num_layers)[:, None, None] * shared


def write_model(folder: Path, layers: torch.Tensor) -> Checkpoint:
    """A model whose `up` matrices are the layers."""
    num_layers, width, units = layers.shape
    shape = LlamaShape(
        num_hidden_layers=num_layers,
        hidden_size=width,
        intermediate_size=units,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=8,
        vocab_size=16,
        tie_word_embeddings=True,
    )
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, **shape.sizes()}
    (folder / "config.json").write_text(json.dumps(config))
    ups = {layer_tensor_name("up", j): x.T.contiguous() for j, x in enumerate(layers)}
    write_tensor_file(
        folder / WEIGHTS,
        {spec.name: spec.shape for spec in tensor_specs(shape)},
        ((s.name, ups.get(s.name, torch.zeros(s.shape))) for s in tensor_specs(shape)),
        format="F32",
        metadata={"format": "pt"},
    )
    return Checkpoint(folder)


def bare_products(layers: torch.Tensor) -> Maps:
    """What cannot be avoided without symmetry: one Gram product a layer, all inner products."""
    num_layers, size, _ = layers.shape
    grams = torch.empty(num_layers, size, size)
    for gram, x in zip(grams, layers, strict=True):
        torch.mm(x, x.T, out=gram)
    grams.flatten(1) @ grams.flatten(1).T
    return {}


def pairs(layers: torch.Tensor) -> Maps:
    num_layers = len(layers)
    centred = layers - layers.mean(1, keepdim=True)
    products = torch.empty(num_layers, num_layers, dtype=torch.float64)
    for i in range(num_layers):
        for j in range(i, num_layers):
            value = torch.linalg.norm(centred[i].T @ centred[j]).double() ** 2
            products[i, j] = products[j, i] = value
    norms = products.diagonal().sqrt()
    return {"plain": (products / norms.outer(norms)).numpy()}


class FeaturesAreLayers(torch.nn.Module):
    """Modules of which number j turns a batch of row numbers into those rows of matrix j."""

    def __init__(self, layers: torch.Tensor) -> None:
        super().__init__()
        self.stages = torch.nn.ModuleList(
            torch.nn.Embedding.from_pretrained(matrix) for matrix in layers
        )

    def forward(self, rows: torch.Tensor) -> None:
        for stage in self.stages:
            stage(rows)


def torch_cka(layers: torch.Tensor) -> Maps:
    rows = torch.utils.data.TensorDataset(torch.arange(layers.shape[1]))
    loader = torch.utils.data.DataLoader(rows, batch_size=layers.shape[1])
    names = [f"stages.{j}" for j in range(len(layers))]
    model = FeaturesAreLayers(layers)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),  # its bar and its warnings
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        cka = import_module("torch_cka").CKA(
            model, model, "model", "itself", model1_layers=names, model2_layers=names
        )
        cka.compare(loader)
    return {"debiased": cka.export()["CKA"].double().numpy()}


def ckatorch(layers: torch.Tensor) -> Maps:
    cka_base = import_module("ckatorch").cka_base
    matrix = np.eye(len(layers))
    for i in range(len(layers)):
        for j in range(i + 1, len(layers)):
            matrix[i, j] = matrix[j, i] = float(cka_base(layers[i], layers[j]))
    return {"plain": matrix}


def in_float64(layers: torch.Tensor) -> Maps:
    """Both estimators by numpy in float64, from whole centred and U-centred Gram matrices."""
    n = layers.shape[1]
    grams: dict[str, list[np.ndarray]] = {"plain": [], "debiased": []}
    for x in layers.double().numpy():
        centred = x - x.mean(0)
        gram = centred @ centred.T
        grams["plain"].append(gram.ravel().copy())
        np.fill_diagonal(gram, 0)
        means = gram.sum(0) / (n - 2)
        gram += means.sum() / (n - 1) - means[:, None] - means
        np.fill_diagonal(gram, 0)
        grams["debiased"].append(gram.ravel())
    maps = {}
    for estimator, of_layers in grams.items():
        products = np.array([[a @ b for b in of_layers] for a in of_layers])
        norms = np.sqrt(products.diagonal())
        maps[estimator] = products / np.outer(norms, norms)
    return maps


def present(package: str) -> bool:
    """Whether a package can be imported; says what to do if not."""
    try:
        import_module(PACKAGES[package])
    except ImportError as error:
        print(f"{package} is left out ({error}); to time it too: {MEND}")
        return False
    return True


def measure(
    candidates: dict[str, Callable[[], Maps]], slow: set[str], options: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, Maps]]:
    """Seconds of each candidate by round, in turn, and what each computed last."""
    for name in candidates.keys() - slow:  # once without counting
        candidates[name]()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    results: dict[str, Maps] = {}
    for number in range(options.rounds):
        for name, compute in candidates.items():
            if name in slow and number >= options.package_rounds:
                continue
            begun = time.perf_counter()
            results[name] = compute()
            seconds[name].append(time.perf_counter() - begun)
    return seconds, results


def kept(promise: str, value: float, is_kept: bool) -> bool:
    """Report one promise."""
    print(f"{'kept' if is_kept else 'MISSED'}: {promise} ({value:.3g})")
    return is_kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--package-rounds", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.layers} matrices of {options.size} x {options.size}, {torch.get_num_threads()} "
        f"threads, {options.rounds} rounds in turn, of the packages {options.package_rounds}"
    )
    layers = related_layers(options.layers, options.size)
    packages = {name for name in PACKAGES if present(name)}
    with tempfile.TemporaryDirectory() as folder:
        source = write_model(Path(folder), layers)

        def ours() -> Maps:
            with contextlib.redirect_stderr(io.StringIO()):  # its lines
                return cka_matrices(source, "up_proj")

        candidates: dict[str, Callable[[], Maps]] = {
            "ours": ours,
            "bare products": lambda: bare_products(layers),
            "pairs": lambda: pairs(layers),
            "torch-cka": lambda: torch_cka(layers),
            "ckatorch": lambda: ckatorch(layers),
        }
        for absent in PACKAGES.keys() - packages:
            del candidates[absent]
        seconds, results = measure(candidates, packages, options)

    times: dict[str, float] = {}
    for name, taken in seconds.items():
        ratios = [theirs / own for theirs, own in zip(taken, seconds["ours"], strict=False)]
        times[name] = statistics.median(ratios)
        print(
            f"  {name:14} {statistics.median(taken):8.2f} s  {times[name]:7.2f} x ours "
            f"(from {min(ratios):.2f} to {max(ratios):.2f})"
        )
    exact = in_float64(layers)
    promises = []
    # torch-cka adds up in float32, and takes its U-statistic from matrices that are not centred.
    tolerances = {"ours": 1e-6, "pairs": 5e-5, "torch-cka": 1e-3, "ckatorch": 1e-6}
    for name, maps in results.items():
        for estimator, matrix in maps.items():
            off = np.abs(matrix - exact[estimator]).max()
            promise = f"{name}, {estimator}: within {tolerances[name]:g} of float64"
            promises.append(kept(promise, off, off <= tolerances[name]))
    over = 1 / times["bare products"]
    promises.append(kept(f"at most {OVER_BARE} x the bare products", over, over <= OVER_BARE))
    others = {name: times[name] for name in ("pairs", *packages)}
    best = min(others, key=others.__getitem__)
    promise = f"at least {FASTER:g} x as fast as the best of {', '.join(sorted(others))}: {best}"
    promises.append(kept(promise, others[best], others[best] >= FASTER))
    return not all(promises)


if __name__ == "__main__":
    sys.exit(main())
