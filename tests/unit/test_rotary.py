"""Attention operators and the rotary embedding, by Hugging Face's own rotation.

A map of queries and keys is harmless where it commutes with the rotation: the small model then
attends with the mapped heads at every distance. Channel c of a head turns with channel c + d / 2,
by an angle of their own (method.md, open point 11).
"""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from lemon.operators.factor import Dense
from lemon.operators.receptive_field import AxisMap

LARGE, SMALL, GROUP, HEAD = 3, 2, 2, 16  # key/value heads, queries of one, channels of one
TOKENS = 40
CONFIG = LlamaConfig(
    hidden_size=LARGE * GROUP * HEAD,
    num_attention_heads=LARGE * GROUP,
    num_key_value_heads=LARGE,
    head_dim=HEAD,
)
EXACT, CLEAR = 1e-12, 1e-2


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotary() -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [1, T, d] of every position, at the angles of the model."""
    steps = torch.arange(TOKENS)[None]
    cos, sin = LlamaRotaryEmbedding(CONFIG)(normal(1), steps)
    assert cos.dtype == torch.float64
    return cos, sin


def common_angle() -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine [1, T, d] of one angle a position, the same for every pair."""
    angles = (0.7 * torch.arange(TOKENS, dtype=torch.float64))[None, :, None].expand(1, -1, HEAD)
    return angles.cos(), angles.sin()


def turned(channels: torch.Tensor, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """[heads x d, T] after the rotation of its heads."""
    heads = channels.reshape(1, -1, HEAD, TOKENS).transpose(2, 3)
    return apply_rotary_pos_emb(heads, heads, *angles)[0].transpose(2, 3).reshape(-1, TOKENS)


def apart(factor: torch.Tensor, radius: int, angles: tuple[torch.Tensor, torch.Tensor]) -> float:
    """How far mapping and rotating are from commuting on keys and queries: the larger distance."""
    distances = []
    for copies in (1, GROUP):
        operator = AxisMap(Dense(factor), radius, copies=copies, blocks_per_head=HEAD // radius)
        channels = normal(LARGE * copies * HEAD, TOKENS, seed=copies)
        mapped = operator.rows(channels)
        assert mapped.shape == (SMALL * copies * HEAD, TOKENS)
        difference = operator.rows(turned(channels, angles)) - turned(mapped, angles)
        distances.append(difference.abs().max().item())
    return max(distances)


def free(radius: int) -> torch.Tensor:
    """A factor with every entry drawn."""
    return normal(SMALL * HEAD // radius, LARGE * HEAD // radius, seed=radius)


def halved(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The factor on whole heads that maps their halves by [k, P, K, P] each and mixes neither."""
    both = torch.zeros(SMALL, 2, first.shape[1], LARGE, 2, first.shape[3], dtype=torch.float64)
    both[:, 0, :, :, 0], both[:, 1, :, :, 1] = first, second
    return both.reshape(SMALL * 2 * first.shape[1], -1)


def tied(radius: int) -> torch.Tensor:
    """A factor whose two rotary halves are one drawn map."""
    half = normal(SMALL, HEAD // 2 // radius, LARGE, HEAD // 2 // radius, seed=radius)
    return halved(half, half)


def of_equal_places(radius: int, seed: int) -> torch.Tensor:
    """A half that mixes the heads block by block: block p of one with block p of the others."""
    blocks = HEAD // 2 // radius
    return torch.einsum(
        "kKp,pP->kpKP",
        normal(SMALL, LARGE, blocks, seed=seed),
        torch.eye(blocks, dtype=torch.float64),
    )


def test_whole_heads_commute_with_the_rotation():
    assert apart(free(HEAD), HEAD, rotary()) < EXACT


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_mixing_inside_a_head_does_not(radius):
    assert apart(free(radius), radius, rotary()) > CLEAR


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_tied_halves_commute_with_a_rotation_by_one_angle_and_free_ones_do_not(radius):
    """Pairs stay pairs: the map is linear over the complex numbers x[c] + i x[c + d / 2]."""
    assert apart(tied(radius), radius, common_angle()) < EXACT
    assert apart(free(radius), radius, common_angle()) > CLEAR


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_tied_halves_are_an_approximation_where_blocks_of_other_angles_meet(radius):
    assert apart(tied(radius), radius, rotary()) > CLEAR


def test_tied_halves_of_one_block_are_whole_heads():
    assert apart(tied(HEAD // 2), HEAD // 2, rotary()) < EXACT


@pytest.mark.parametrize("radius", [1, 2, 4])
def test_mixing_equal_places_of_heads_commutes_if_the_halves_are_tied(radius):
    place = of_equal_places(radius, seed=radius)
    assert apart(halved(place, place), radius, rotary()) < EXACT
    other = of_equal_places(radius, seed=radius + 10)
    assert apart(halved(place, other), radius, rotary()) > CLEAR


@pytest.mark.parametrize("radius", [1, 2, 4, HEAD])
@pytest.mark.parametrize("kept", [[0, 1], [2, 0]])
def test_cut_and_any_selection_of_heads_commute_exactly(radius, kept):
    per_head = HEAD // radius
    blocks = [head * per_head + block for head in kept for block in range(per_head)]
    selection = torch.eye(LARGE * per_head, dtype=torch.float64)[blocks]
    assert apart(selection, radius, rotary()) == 0.0
