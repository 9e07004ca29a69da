"""Fusing written down literally: every operator as a full matrix made by `numpy.kron`.

Slow, in float64 and free of the code under test; models are dicts of arrays by tensor name.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lemon.architecture import Axis, LlamaShape
from lemon.operators.algebra import Operators
from lemon.operators.factor import Dense

Weights = dict[str, np.ndarray]


def on_queries(key_value: np.ndarray, source: LlamaShape, target: LlamaShape) -> np.ndarray:
    """The operator of the key/value axis, applied alike to each query head of a group."""
    d, group = source.head_dim, source.group_size
    large, small = source.num_key_value_heads, target.num_key_value_heads
    full = np.zeros((small * group * d, large * group * d))
    for out in range(small):
        for into in range(large):
            block = key_value[out * d : (out + 1) * d, into * d : (into + 1) * d]
            for copy in range(group):
                row, column = (out * group + copy) * d, (into * group + copy) * d
                full[row : row + d, column : column + d] = block
    return full


def axis_operator(operators: Operators, axis: Axis, layer: int | None) -> np.ndarray:
    """The full [out, in] matrix on one axis."""
    source, radii = operators.source, operators.radii

    def expand(factor, radius: int, size: int) -> np.ndarray:
        return np.eye(size) if factor is None else np.kron(factor.dense().numpy(), np.eye(radius))

    if axis is Axis.HIDDEN:
        return expand(operators.hidden, radii.hidden, source.axis_size(axis))
    if axis is Axis.FFN:
        return expand(operators.ffn.get(layer), radii.ffn, source.axis_size(axis))
    if axis in (Axis.VOCAB, Axis.HEAD):
        return np.eye(source.axis_size(axis))
    factor = operators.attn.get(layer)
    key_value = expand(factor, radii.attention, source.axis_size(Axis.KEY_VALUE))
    if axis is Axis.KEY_VALUE:
        return key_value
    return on_queries(key_value, source, operators.target)


def naive_fusion(weights: Weights, operators: Operators) -> Weights:
    """`W_small[i] = sum_j gamma[i, j] Row_j W[j] Col_j^T` for every tensor of the target."""

    def mapped(name: str, axes: tuple[Axis, ...], layer: int | None) -> np.ndarray:
        weight = axis_operator(operators, axes[0], layer) @ weights[name]
        return weight @ axis_operator(operators, axes[1], layer).T if len(axes) == 2 else weight

    stream, table = (Axis.HIDDEN,), (Axis.VOCAB, Axis.HIDDEN)
    outside = {"model.embed_tokens.weight": table, "model.norm.weight": stream}
    if not operators.target.tie_word_embeddings:
        outside["lm_head.weight"] = table
    fused = {name: mapped(name, axes, None) for name, axes in outside.items()}
    depth = operators.source.num_hidden_layers
    for tensor in operators.source.layer_tensors.values():
        names = [f"model.layers.{layer}.{tensor.name}" for layer in range(depth)]
        large = [mapped(name, tensor.axes, layer) for layer, name in enumerate(names)]
        given = operators.gamma.get(tensor.follows)
        gamma = np.eye(depth) if given is None else given.dense().numpy()
        for name, row in zip(names, gamma, strict=False):  # the first layers are the target's
            fused[name] = np.tensordot(row, np.stack(large), 1)
    return fused


def absolute_terms(weights: Weights, operators: Operators) -> Weights:
    """Of each entry of `naive_fusion` the sum of its absolute terms, to which rounding is in
    proportion.
    """

    def sizes(factors: dict) -> dict:
        return {key: Dense(factor.dense().abs()) for key, factor in factors.items()}

    positive = replace(
        operators,
        hidden=sizes({0: operators.hidden})[0] if operators.hidden else None,
        attn=sizes(operators.attn),
        ffn=sizes(operators.ffn),
        gamma=sizes(operators.gamma),
    )
    return naive_fusion({name: np.abs(weight) for name, weight in weights.items()}, positive)
