"""Similarity of what layers put out: the outputs themselves, CKA of them, and the command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from layer_similarity import cka_off, debiased, plain
from learning_world import LearningWorld
from roundoff import FLOAT32
from transformers import AutoModelForCausalLM

from lemon.cli import main
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.similarity import activations
from lemon.similarity.activations import activation_cka, sublayer_outputs


@pytest.fixture(scope="module")
def outputs(learning_world: LearningWorld) -> list[torch.Tensor]:
    return sublayer_outputs(learning_world.source, PackedText(learning_world.text), "ffn")


@pytest.mark.parametrize(("is_debiased", "measure"), [(False, plain), (True, debiased)])
@pytest.mark.parametrize("rows", [1000, 7])
def test_equals_the_formula(monkeypatch, is_debiased, measure, rows) -> None:
    monkeypatch.setattr(activations, "BLOCK_ROWS", rows)  # all tokens at once, or seven
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(50, p, generator=generator) + 1 for p in (12, 12, 5)]
    layers[1] += layers[0]
    computed = activation_cka(layers, is_debiased)
    exact = [x.double().numpy() for x in layers]
    expected = [[measure(x, y) for y in exact] for x in exact]
    padded = np.stack([np.pad(x, ((0, 0), (0, 12 - x.shape[1]))) for x in exact])
    allowed = cka_off(padded, "debiased" if is_debiased else "plain")
    assert (np.abs(computed - expected) <= allowed).all()
    np.testing.assert_array_equal(computed, computed.T)


def test_outputs_are_what_the_layers_add_to_the_residual_stream(
    learning_world: LearningWorld, outputs: list[torch.Tensor]
) -> None:
    """The hidden state after a layer is the one before it, plus attention's, plus the FFN's."""
    text = PackedText(learning_world.text)
    attention = sublayer_outputs(learning_world.source, text, "mha")
    model = AutoModelForCausalLM.from_pretrained(learning_world.source).eval()
    tokens = torch.from_numpy(text.sequence("heldout", text.domains[0], 0)[:-1])[None]
    with torch.inference_mode():
        states = model(tokens, output_hidden_states=True).hidden_states
    for layer in range(len(outputs) - 1):  # the last hidden state is normalised as well
        added = (states[layer + 1] - states[layer])[0, 1:].float()
        here = (attention[layer] + outputs[layer])[: len(added)]
        kept = [(added - row).abs().amax(1).min() for row in here]
        # Two sums, a difference of states, and a sum of outputs are rounded.
        assert max(kept) <= 4 * FLOAT32 * states[layer + 1].abs().max()


def test_every_layer_has_the_same_tokens_and_no_more_than_there_are(
    learning_world: LearningWorld, outputs: list[torch.Tensor]
) -> None:
    text = PackedText(learning_world.text)
    most = sum(text.num_sequences("heldout", d) for d in text.domains) * (text.sequence_length - 1)
    count = len(outputs[0])
    assert 0 < count <= min(most, activations.TOKENS)
    assert {len(output) for output in outputs} == {count}


def test_constant_outputs_are_refused() -> None:
    with pytest.raises(BadInput, match="layer 1 has the same output for every token"):
        activation_cka([torch.eye(9, 3), torch.ones(9, 3)])


def test_the_command_writes_a_map_and_names_its_mistakes(
    learning_world: LearningWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ffn.csv"
    source, text = map(str, (learning_world.source, learning_world.text))
    words = ["cka", "--source", source, "--activations", text, "--out", str(out)]
    assert main([*words, "--component", "ffn"]) == 0
    written = pd.read_csv(out, index_col=0).to_numpy()
    np.testing.assert_allclose(np.diag(written), 1.0)
    assert main([*words, "--component", "q_proj"]) == 2
    assert "q_proj has no output of its own" in capsys.readouterr().err
    words[4] = str(tmp_path)
    assert main([*words, "--component", "ffn"]) == 2
    assert "manifest of packed text" in capsys.readouterr().err


def test_text_of_another_vocabulary_is_refused(
    learning_world: LearningWorld, tiny_model_folder: Path
) -> None:
    text = PackedText(learning_world.text)
    text.vocab_size = 10_000
    with pytest.raises(BadInput, match="prepare the text with the model's tokenizer"):
        sublayer_outputs(tiny_model_folder, text, "mha")
