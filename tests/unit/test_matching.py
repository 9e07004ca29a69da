"""Matched correlation of neighbouring layers: by hand, of a planted order, its text, its figure."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from learning_world import LearningWorld
from models import GROUPED_TIED, PLAIN_UNTIED, write_tiny_model
from transformers import LlamaForCausalLM

from lemon.checkpoint import Checkpoint
from lemon.cli import main
from lemon.configuration.load import load_project
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.files.manifest import write_manifest
from lemon.reporting.figures.drawing import draw_figure
from lemon.reporting.figures.figure import gathered_numbers
from lemon.similarity import matching
from lemon.similarity.matching import Match, ffn_features, heldout_halves, neighbour_matches

CONFIG = Path(__file__).parents[2] / "config"
FILE = "source/similarity/activations/matched/ffn.csv"


def test_by_hand():
    """x and y are uncorrelated and of one spread, so x + y correlates by 0.5 ** 0.5 with either."""
    x, y = torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])
    first = torch.stack([torch.stack([x, y], 1), torch.stack([x, y], 1)])
    # Where it is found, C = [[0, 0.707], [1, 0.707]], so that the neurons change places.
    second = torch.stack([torch.stack([y, x + y], 1), torch.stack([-y, 3 * x + 2], 1)])
    [found] = neighbour_matches([first, second])
    half = 0.5**0.5
    assert found.layer == 0
    assert found.unpermuted == pytest.approx((0 + half) / 2)
    assert found.permuted == pytest.approx((half + 1) / 2)
    assert found.elsewhere == pytest.approx((1 - 1) / 2, abs=1e-6)


def test_strangers_match_where_the_match_is_found_alone():
    """Of 200 neurons on 400 tokens the best match of strangers is near (2 ln 200 / 400) ** 0.5."""
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(2, 400, 200, generator=generator) for _ in range(3)]
    for found in neighbour_matches(layers):
        assert found.permuted == pytest.approx(0.163, abs=0.04)
        assert abs(found.unpermuted) < 0.02 and abs(found.elsewhere) < 0.02


@pytest.fixture(scope="module", params=[GROUPED_TIED, PLAIN_UNTIED], ids=["grouped", "plain"])
def source(request, tmp_path_factory) -> Checkpoint:
    return Checkpoint(write_tiny_model(tmp_path_factory.mktemp("matched"), **request.param))


def rows(source: Checkpoint, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randint(source.shape.vocab_size, (2, count, 21), generator=generator)


def test_features_are_the_inputs_of_down_proj_without_the_first_token(source):
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    seen: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tokens = rows(source, 5)  # more than run together
    with torch.no_grad():
        model(tokens.flatten(0, 1))
    found = list(ffn_features(source, tokens))
    assert len(found) == len(seen) == source.shape.num_hidden_layers
    for ours, theirs in zip(found, seen, strict=True):
        assert ours.shape == (2, 5 * 20, source.shape.intermediate_size)
        expected = theirs[:, 1:].reshape(2, 100, -1)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_planted_order_is_found_and_holds_on_other_tokens(source, tmp_path):
    """Layer 1 is layer 0 with other numbers for its neurons, and both read the same."""
    model = LlamaForCausalLM.from_pretrained(source.path, dtype=torch.float32)
    first, second = model.model.layers[:2]
    second.load_state_dict(first.state_dict())
    order = torch.randperm(source.shape.intermediate_size)
    with torch.no_grad():
        for name in ("gate_proj", "up_proj"):
            getattr(second.mlp, name).weight.copy_(getattr(first.mlp, name).weight[order])
        for layer in (first, second):
            layer.mlp.down_proj.weight.zero_()
            layer.self_attn.o_proj.weight.zero_()
    model.save_pretrained(tmp_path / "planted")
    planted = Checkpoint(tmp_path / "planted")
    found = next(iter(neighbour_matches(ffn_features(planted, rows(source, 6)))))
    assert found.permuted == pytest.approx(1, abs=1e-4)
    assert found.elsewhere == pytest.approx(1, abs=1e-4)
    assert found.unpermuted < 0.5


def test_the_halves_share_no_row_and_have_all_domains_alike(learning_world, monkeypatch):
    text = PackedText(learning_world.text)
    per_domain = text.num_sequences("heldout", text.domains[0])
    found = heldout_halves(text).tolist()  # 10,240 tokens are more than there are
    expected = [
        [
            text.sequence("heldout", domain, row)[:-1].tolist()
            for domain in text.domains
            for row in part
        ]
        for part in (range(per_domain // 2), range(per_domain // 2, 2 * (per_domain // 2)))
    ]
    assert found == expected
    monkeypatch.setattr(matching, "TOKENS", 3 * text.sequence_length)  # two rows of each domain
    assert heldout_halves(text).shape == (2, 2 * len(text.domains), text.sequence_length)
    monkeypatch.setattr(PackedText, "num_sequences", lambda *_: 1)
    with pytest.raises(BadInput, match="has one held-out sequence, and two are needed"):
        heldout_halves(text)


def test_the_command_writes_a_line_for_each_pair(
    learning_world: LearningWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "match.csv"
    folders = ["--source", str(learning_world.source), "--text", str(learning_world.text)]
    assert main(["match", *folders, "--out", str(out)]) == 0
    written = pd.read_csv(out)
    source, text = Checkpoint(learning_world.source), PackedText(learning_world.text)
    expected = [vars(m) for m in neighbour_matches(ffn_features(source, heldout_halves(text)))]
    pd.testing.assert_frame_equal(written, pd.DataFrame(expected), atol=1e-7)
    assert len(written) == 5
    folders[3] = str(tmp_path)
    assert main(["match", *folders, "--out", str(out)]) == 2
    assert "manifest of packed text" in capsys.readouterr().err


def write_table(path: Path, lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"layer,unpermuted,permuted,elsewhere\n{lines}")
    write_manifest(
        path.with_suffix(".manifest.json"), "match", files=[path], started=time.monotonic()
    )


def test_the_figure_draws_what_was_measured(laptop, tmp_path):
    lines = [Match(n, 0.001 * n, 0.2 + 0.01 * n, 0.1 - 0.001 * n) for n in range(29)]
    table = "".join(f"{m.layer},{m.unpermuted},{m.permuted},{m.elsewhere}\n" for m in lines)
    write_table(tmp_path / FILE, table)
    numbers = gathered_numbers(laptop, "figure-matching", tmp_path)
    assert set(numbers.frame["label"]) == {"SmolLM2-135M-Instruct"}
    [axes] = draw_figure(numbers).axes
    drawn = {line.get_label().partition("\n")[0]: line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(drawn["as they are"], [m.unpermuted for m in lines])
    np.testing.assert_allclose(drawn["aligned, on the tokens"], [m.permuted for m in lines])
    np.testing.assert_allclose(drawn["aligned, on other tokens"], [m.elsewhere for m in lines])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "is not a table of `lemon match`"),
        ("0,0.1,nan,0.1\n", "is not a table of `lemon match`"),
        ("0,0.1,x,0.1\n", "is not a table of `lemon match`"),
        (None, "no such map; `lemon match` writes it"),
    ],
)
def test_a_missing_or_damaged_table_is_named(tmp_path, lines, message):
    if lines is not None:
        write_table(tmp_path / FILE, lines)
    with pytest.raises(BadInput, match=f"ffn.csv: {message}"):
        gathered_numbers(load_project("laptop", CONFIG), "figure-matching", tmp_path)
