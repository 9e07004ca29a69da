"""Outcomes are read back as they were written, and only comparable ones together."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from fabricated_runs import DOCUMENTS, write_outcomes
from manifests import seal_again

from lemon.errors import BadInput
from lemon.perplexity import perplexity_of
from lemon.reporting.facts.outcomes import read_run, read_runs

RIGHT = {"sciq": [True, False, True], "piqa": [False, False]}


def test_reads_scores_and_perplexity(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    result = read_run(tmp_path, "cut", ["sciq", "piqa"])
    assert result.correct["sciq"].mean() == pytest.approx(2 / 3)
    assert result.correct["piqa"].mean() == 0.0
    heldout = result.heldout
    assert heldout is not None
    assert heldout.perplexity == pytest.approx(math.exp(2))
    assert heldout.domains == {"wikipedia": pytest.approx(math.exp(2))}
    assert (heldout.tokens, heldout.temperature, heldout.calibrated_loss) == (4096, 1.6, 1.75)
    assert heldout.sequences["wikipedia"].mean() == pytest.approx(2.0)
    assert heldout.design.documents == {"wikipedia": DOCUMENTS}


def test_documents_are_put_in_the_order_of_their_ids(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    path = tmp_path / "cut" / "outcomes" / "sciq.parquet"
    pd.read_parquet(path).iloc[[2, 0, 1]].to_parquet(path)
    seal_again(path.with_name("manifest.json"))
    assert read_run(tmp_path, "cut", ["sciq"]).correct["sciq"].tolist() == RIGHT["sciq"]


def test_runs_on_other_rows_are_refused(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    write_outcomes(tmp_path / "lemon", RIGHT, loss=2.0, rows_digest="others")
    with pytest.raises(BadInput, match=r"task sciq: runs 'cut' .* and 'lemon' .* different"):
        read_runs(tmp_path, ["cut", "lemon"], ["sciq"])


def test_runs_with_other_limits_are_refused(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    write_outcomes(tmp_path / "lemon", {"sciq": [True, False]}, loss=2.0)
    with pytest.raises(BadInput, match=r"'cut' \(3 documents\) and 'lemon' \(2\)"):
        read_runs(tmp_path, ["cut", "lemon"], ["sciq"])


def test_other_heldout_text_is_refused(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    write_outcomes(tmp_path / "lemon", RIGHT, loss=2.0)
    seal_again(tmp_path / "lemon" / "outcomes" / "manifest.json", inputs={"heldout": "other"})
    with pytest.raises(BadInput, match="perplexity: runs 'cut' and 'lemon'"):
        read_runs(tmp_path, ["cut", "lemon"], ["sciq"])


def test_missing_and_damaged_outcomes_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cut/outcomes/manifest\.json"):
        read_run(tmp_path, "cut", ["sciq"])
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    with pytest.raises(BadInput, match="task logiqa was not evaluated"):
        read_run(tmp_path, "cut", ["logiqa"])
    path = tmp_path / "cut" / "outcomes" / "sciq.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        BadInput, match=r"sciq\.parquet: is damaged; its sha256 is .*manifest\.json"
    ):
        read_run(tmp_path, "cut", ["sciq"])
    seal_again(path.with_name("manifest.json"))
    with pytest.raises(BadInput, match=r"sciq\.parquet: not readable"):
        read_run(tmp_path, "cut", ["sciq"])
    path.unlink()
    with pytest.raises(BadInput, match=r"sciq\.parquet: missing, though .*manifest\.json lists it"):
        read_run(tmp_path, "cut", ["sciq"])


def test_a_document_twice_is_refused(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    path = tmp_path / "cut" / "outcomes" / "sciq.parquet"
    rows = pd.read_parquet(path)
    pd.concat([rows, rows.iloc[:1]]).to_parquet(path)
    seal_again(path.with_name("manifest.json"))
    with pytest.raises(BadInput, match="one twice"):
        read_run(tmp_path, "cut", ["sciq"])


def test_the_suites_of_a_run_are_read_together(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "cut", RIGHT, loss=2.0)
    write_outcomes(tmp_path / "cut", {"boolq": [True, True, False]}, loss=None, suite="main")
    result = read_run(tmp_path, "cut", ["sciq", "boolq", "piqa"])
    assert list(result.correct) == ["sciq", "boolq", "piqa"]
    assert result.correct["boolq"].mean() == pytest.approx(2 / 3)
    assert result.heldout and result.heldout.perplexity == pytest.approx(math.exp(2))
    assert result.row_hash("boolq") == "rows-boolq" and result.heldout_hash == "text"
    assert result.manifest["wall_s"] == 120.0
    with pytest.raises(BadInput, match=r"cut/outcomes-dense/manifest\.json"):
        read_run(tmp_path, "cut", ["sciq"], "dense")


def test_runs_that_were_shown_other_examples_are_refused(tmp_path: Path) -> None:
    for run, shots in (("cut", 32), ("lemon", 11)):
        answers = {"boolq": [True, False]}
        write_outcomes(tmp_path / run, answers, loss=None, suite="main", shots={"boolq": shots})
    with pytest.raises(BadInput, match="task boolq: runs 'cut' and 'lemon' were shown different"):
        read_runs(tmp_path, ["cut", "lemon"], ["boolq"])


def test_perplexity_beyond_floating_point_is_infinite() -> None:
    assert perplexity_of(709.7) == math.exp(709.7)  # exp overflows above 709.78
    assert perplexity_of(709.8) == perplexity_of(1000.0) == perplexity_of(math.inf) == math.inf
