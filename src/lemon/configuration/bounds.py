"""Limits of names, texts and numbers in config files.

The limits are far above real use, so that a typing error gives a message, not days of work or full
memory.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from lemon.architecture import LARGEST_SIZE, MOST_LAYERS
from lemon.files.names import LINE, NAME


class Section(BaseModel):
    """A block of settings: unknown keys are refused, types are not coerced, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Name = Annotated[str, StringConstraints(pattern=NAME)]
IDENTIFIER = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
Line = Annotated[str, StringConstraints(pattern=LINE, max_length=500)]

MOST_ENTRIES = 100  # of one list or block
T = TypeVar("T")

Block = Annotated[dict[Name, T], Field(max_length=MOST_ENTRIES)]


def _without_nothing(value: Any) -> Any:
    """The block without its null entries."""
    if not isinstance(value, dict):
        return value
    return {name: entry for name, entry in value.items() if entry is not None}


Entries = Annotated[Block[T], BeforeValidator(_without_nothing)]
"""A block of a preset; null removes an entry of the base preset."""

List = Annotated[tuple[T, ...], Field(strict=False, max_length=MOST_ENTRIES)]
Names = List[Name]
Lines = List[Line]

Version = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+!_-]{0,63}$")]
Repository = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,95}(/[0-9A-Za-z][0-9A-Za-z._-]{0,95})?$"
    ),
]
Revision = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z][0-9A-Za-z._/-]{0,199}$")]

MOST = 10**9  # of any count: steps, sequences, rows
HIGHEST_RATE = 1000

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Margin = Annotated[float, Field(gt=0.0, le=100.0)]
Rate = Annotated[float, Field(gt=0.0, le=HIGHEST_RATE)]
Decay = Annotated[float, Field(ge=0.0, le=HIGHEST_RATE)]
Share = Annotated[float, Field(gt=0.0, le=1e12)]

Gigabytes = Annotated[int, Field(ge=1, le=10**6)]

Layers = Annotated[int, Field(ge=1, le=MOST_LAYERS)]
Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
Count = Annotated[int, Field(ge=1, le=MOST)]
Tokens = Annotated[int, Field(ge=1, le=10**13)]

RATIO = r"^(100|[1-9][0-9]?(\.[0-9]{1,4})?)%$"
Ratio = Annotated[str, StringConstraints(pattern=RATIO)]


def _is_written(value: Any) -> str:
    return "ratio" if isinstance(value, str) and value.endswith("%") else "number"


Number = Annotated[T, Tag("number")] | Annotated[Ratio, Tag("ratio")]
LayersOrRatio = Annotated[Number[Layers], Discriminator(_is_written)]
SizeOrRatio = Annotated[Number[Size], Discriminator(_is_written)]

Steps = Annotated[int, Field(ge=0, le=MOST)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]  # fits torch, and 64-bit numbers in files

MOST_PARAMETERS = 10**13  # of a model
MOST_RANDOM_PARAMETERS = 10**9  # of a model initialised in memory, 4 bytes each
