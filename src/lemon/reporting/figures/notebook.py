"""What the notebooks under `analysis/` open: one figure with its numbers, findings and picture.

Under the workflow a notebook draws from the files that its rule names and writes the pictures
beside them. Opened by hand it draws from the committed results, and writes nothing.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lemon.errors import BadInput
from lemon.reporting.figures.drawing import PICTURES, draw_figure, save_picture, write_pictures
from lemon.reporting.figures.figure_numbers import FigureNumbers, read_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A drawn figure, which Jupyter shows as its last value in a cell."""

    figure: Figure

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        save_picture(self.figure, buffer, "png", PICTURES["png"])
        return buffer.getvalue()


@dataclass(frozen=True)
class OpenFigure:
    """A figure of a preset, opened for drawing.

    Attributes:
        name: as in `paper.yaml`.
        folder: where its numbers are.
        numbers: everything that the picture is drawn from.
        managed: whether the workflow runs this notebook.
    """

    name: str
    folder: Path
    numbers: FigureNumbers
    managed: bool

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers, tidy."""
        return self.numbers.frame

    def findings(self) -> pd.DataFrame:
        """What the numbers say of the paper's claims, a line each."""
        return pd.DataFrame(
            [vars(finding) for finding in self.numbers.words.findings],
            columns=["claim", "statement", "measured", "verdict"],
        ).set_index("claim")

    def draw(self) -> Picture:
        """The figure as its renderer draws it."""
        return Picture(draw_figure(self.numbers))

    def write(self, picture: Picture) -> str:
        """Write the pictures and, last, the manifest; by hand nothing, and say so."""
        if not self.managed:
            return f"not written: `make {self.name}` draws {self.folder / self.name}.png again"
        write_pictures(
            self.name,
            self.numbers,
            picture.figure,
            self.folder,
            notebook=f"analysis/{self.name}.ipynb",
        )
        return f"{self.folder / self.name}.png"


def open_figure(name: str, job: Any = None, *, preset: str | None = None) -> OpenFigure:
    """Open a figure for a notebook.

    Args:
        name: as in `paper.yaml`.
        job: the `snakemake` object of the workflow; None where the notebook is opened by hand.
        preset: by hand, the preset whose committed results are shown; LEMON_PRESET, or laptop.

    Raises:
        BadInput: the notebook lies outside of the project, or the figure has no numbers.
    """
    if job is not None:
        folder = Path(job.input["numbers"]).parent
        return OpenFigure(name, folder, read_numbers(folder, name), managed=True)
    top = next(
        (folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "config").is_dir()),
        None,
    )
    if top is None:
        raise BadInput(f"{Path.cwd()}: not inside the project; open the notebook in its checkout")
    shown = Path(preset or os.environ.get("LEMON_PRESET", "laptop")).stem
    folder = top / "results" / shown / "figures"
    return OpenFigure(name, folder, read_numbers(folder, name), managed=False)
