"""Reference losses: the law through three models, and the published losses found again."""

from __future__ import annotations

import csv
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from roundoff import FLOAT64

from lemon.configuration.load import load_project
from lemon.data.text.reference_losses import ScalingLaw, fit_scaling_law, scaling_law_references

CONFIG = Path(__file__).parents[2] / "config"
SIZES = (6_738_415_616, 13_015_864_320, 68_976_648_192)
with (files("lemon") / "published" / "reference_losses.csv").open(encoding="utf-8") as lines:
    CELLS = list(csv.DictReader(lines))
EXTRAPOLATED = [cell for cell in CELLS if cell["is_extrapolated"] == "1"]


def test_a_law_worked_by_hand_is_found():
    # 1 + 8 / N at N = 1, 2, 4 is 9, 5, 3.
    law = fit_scaling_law((1, 2, 4), (9.0, 5.0, 3.0))
    assert (law.asymptote, law.factor, law.exponent) == pytest.approx((1.0, 8.0, 1.0))
    assert law.loss(8) == pytest.approx(2.0)


@given(st.floats(-3.0, 3.0), st.floats(0.1, 5.0), st.floats(0.02, 1.5))
def test_the_law_that_made_three_losses_is_found(asymptote, fall, exponent):
    law = ScalingLaw(asymptote, fall * SIZES[0] ** exponent, exponent)
    losses = [law.loss(size) for size in SIZES]
    fitted = fit_scaling_law(SIZES, losses)
    # A loss is rounded four times, and a fall is off by two losses. The exponent is found from the
    # logarithm of the ratio of the falls, which rises by 0.66 or more for each unit of it.
    loss_off = 4 * FLOAT64 * (abs(asymptote) + fall)
    falls_off = 2 * loss_off * sum(1 / (a - b) for a, b in pairwise(losses))
    exponent_off = (falls_off + 16 * FLOAT64) / 0.66
    assert fitted.exponent == pytest.approx(exponent, abs=exponent_off)
    for size in (1e8, *SIZES, 1e12):
        # L(N) = L1 + fall (g - 1) with g = (N1 / N)^exponent; fall itself is found from the first
        # fall over 1 - (N1 / N2)^exponent, which is in proportion to a small exponent.
        g = (SIZES[0] / size) ** exponent
        of_fall = abs(g - 1) * (falls_off + exponent_off / exponent)
        of_exponent = g * abs(math.log(SIZES[0] / size)) * exponent_off
        allowed = loss_off * max(1, g) + fall * (of_fall + of_exponent)
        assert fitted.loss(size) == pytest.approx(law.loss(size), abs=allowed)


def test_fourteen_published_losses_are_extrapolated():
    assert len(EXTRAPOLATED) == 14
    assert {cell["num_parameters"] for cell in EXTRAPOLATED} == {"1345423360", "2701560320"}


@pytest.mark.parametrize("cell", EXTRAPOLATED, ids=lambda c: f"{c['model']}-{c['domain']}")
def test_a_published_reference_loss_is_found_to_its_last_digit(cell):
    references = scaling_law_references(int(cell["num_parameters"]))
    assert references[cell["domain"]] == pytest.approx(float(cell["loss"]), abs=0.5e-4)


def test_the_references_are_of_the_domains_of_the_paper_preset():
    domains = load_project("paper", CONFIG).preset.text.domains
    assert set(scaling_law_references(1.3e9)) == set(domains)


def test_the_degenerate_law_of_commoncrawl_is_found():
    law = fit_scaling_law(SIZES, (1.7520, 1.6680, 1.4621))
    assert law.exponent == pytest.approx(0.028, abs=5e-4)
    assert law.asymptote == pytest.approx(-2.80, abs=5e-3)
    for size, loss in zip(SIZES, (1.7520, 1.6680, 1.4621), strict=True):
        assert law.loss(size) == pytest.approx(loss, abs=1e-10)


@pytest.mark.parametrize("losses", [(3.0, 2.0, 1.0), (3.0, 2.0, 0.5), (3.0, 2.0, 2.0 - 1e-5)])
def test_losses_that_no_law_fits_are_refused(losses):
    # A line in the logarithm of the size, a loss that falls faster and faster, and a step.
    with pytest.raises(ValueError, match="different signs"):
        fit_scaling_law((1, 2, 4), losses)
