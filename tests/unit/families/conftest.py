"""A model of each family."""

from __future__ import annotations

import pytest
from family_models import SIZES
from own_models import FAMILIES, save_model

from lemon.checkpoint import Checkpoint


@pytest.fixture(scope="module", params=FAMILIES)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp(request.param)
    return Checkpoint(save_model(folder, request.param, **SIZES))
