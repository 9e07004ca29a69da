"""What holds for every builder that looks at activations."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from calibrated_models import LAYERS, METHODS, ROWS, context

from lemon.architecture import layer_tensor_name
from lemon.configuration.methods import METHODS as METHODS_BY_NAME
from lemon.methods.build import builder_of
from lemon.methods.calibration import Calibration
from lemon.operators.fuse import fuse_tensors, fused_layer


@pytest.mark.parametrize("method", METHODS)
def test_the_layers_of_an_unfinished_model_are_those_that_fuse_writes(source, calibration, method):
    operators = builder_of(method)(context(source, calibration, 4))
    assert operators.target.num_hidden_layers == 4
    written = dict(fuse_tensors(source, operators))
    for layer in range(4):
        for type, weight in fused_layer(source, operators, layer):
            expected = written[layer_tensor_name(type, layer)]
            torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "method", [*METHODS, "minitron", "ff-merge", "ff-merge-vanilla", "aligned"]
)
def test_a_builder_reads_the_rows_that_its_method_says(source, calibration, monkeypatch, method):
    read = {"training": 0, "tune": 0}
    embedded = Calibration.embedded

    def counted(self: Calibration) -> torch.Tensor:
        kind = "training" if self.tune is not None else "tune"
        read[kind] = max(read[kind], len(self.tokens_NT1))
        return embedded(self)

    monkeypatch.setattr(Calibration, "embedded", counted)
    given = context(
        source, calibration, LAYERS if method in ("minitron", "aligned") else LAYERS - 1
    )
    if method.startswith("ff-merge"):
        given = replace(given, target=source.shape, tied_ffn_layers=2)
    if method == "aligned":
        given = replace(given, start=given.keeping_layers(range(LAYERS)))
    builder_of(method)(replace(given, method=method))
    rows = {"sequences": ROWS, "search_sequences": 4, None: 0}
    said = METHODS_BY_NAME[method]
    assert read == {"training": rows[said.calibration_rows], "tune": ROWS * said.chooses}
