"""The interface of the notebooks under `analysis/`: one figure's numbers, findings and picture.

In the workflow a notebook draws from the input files of its rule and writes the pictures next to
them. Opened by hand it draws from the committed results, and writes nothing.
"""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lemon.errors import BadInput
from lemon.reporting.figures.drawing import draw_figure, save_picture, write_pictures
from lemon.reporting.figures.figure_numbers import FigureNumbers, read_numbers


@dataclass(frozen=True)
class Picture:
    """A drawn figure, which Jupyter displays."""

    figure: Figure

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        save_picture(self.figure, buffer, "png")
        return buffer.getvalue()


@dataclass(frozen=True)
class OpenFigure:
    """A figure of a preset, opened for drawing.

    Attributes:
        folder: the folder of its numbers.
        managed: whether the workflow runs this notebook.
    """

    name: str
    folder: Path
    numbers: FigureNumbers
    managed: bool

    @property
    def frame(self) -> pd.DataFrame:
        """The numbers in tidy form."""
        return self.numbers.frame

    def findings(self) -> pd.DataFrame:
        """The findings on the paper's claims, one for each line."""
        return pd.DataFrame(
            [vars(finding) for finding in self.numbers.words.findings],
            columns=["claim", "statement", "measured", "verdict"],
        ).set_index("claim")

    def draw(self) -> Picture:
        """The picture of the numbers."""
        return Picture(draw_figure(self.numbers))

    def write(self, picture: Picture) -> str:
        """Write the pictures and, last, the manifest, only in the workflow; returns a message."""
        if not self.managed:
            return f"not written: `make {self.name}` draws {self.folder / self.name}.png again"
        write_pictures(
            *(self.name, self.numbers, picture.figure, self.folder),
            started=time.monotonic(),
            command=[f"analysis/{self.name}.ipynb"],
        )
        return f"{self.folder / self.name}.png"


def open_figure(name: str, job: Any = None, *, preset: str = "laptop") -> OpenFigure:
    """Open a figure for a notebook.

    Args:
        name: as in `paper.yaml`.
        job: the `snakemake` object of the workflow; None if the notebook is opened by hand.
        preset: if opened by hand, the preset whose results are shown.

    Raises:
        BadInput: the notebook is outside of the project, or the figure has no numbers.
    """
    pd.set_option("display.max_colwidth", None)  # a finding is read to its end
    if job is not None:
        folder = Path(job.input["numbers"]).parent
        return OpenFigure(name, folder, read_numbers(folder, name), managed=True)
    here = (Path.cwd(), *Path.cwd().parents)
    top = next((folder for folder in here if (folder / "config").is_dir()), None)
    if top is None:
        raise BadInput(f"{Path.cwd()}: not inside the project; open the notebook in its checkout")
    folder = top / "results" / Path(preset).stem / "figures"
    return OpenFigure(name, folder, read_numbers(folder, name), managed=False)
