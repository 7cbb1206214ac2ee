"""Options of a kind of figure: fields of a dataclass, which are also flags of `plot`.

Each field has its help, and what is allowed, as metadata:

    y: str = field(default="acc", metadata=about("what is drawn", choices=("acc",)))

Its annotation says the type of a flag, and whether that takes several values.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

__all__ = [
    "BOOT_SEED",
    "COL_WRAP",
    "DIRECTORIES",
    "N_BOOT",
    "LegendOptions",
    "NoOptions",
    "Option",
    "PanelOptions",
    "about",
    "declared",
]

# The flag that names the directories of experiments.
DIRECTORIES = "exp_sub_dirs"


def about(
    help: str, *, choices: Sequence[str] | None = None, low: float | None = None
) -> Mapping[str, Any]:
    """Returns the metadata of a field that is an option.

    Args:
      help: What the option does, with its unit.
      choices: The values there are, where there are not any more.
      low: Least value of a number.
    """
    return {
        "help": help,
        "choices": None if choices is None else tuple(choices),
        "low": low,
    }


N_BOOT = about("bootstrap samples for intervals of 95 percent", low=1)
BOOT_SEED = about("seed of the bootstrap", low=0)
COL_WRAP = about("panels in a row; 0 for as many as fit", low=0)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options where nothing can be changed."""


@dataclasses.dataclass(frozen=True)
class LegendOptions:
    """Options of a figure with a legend."""

    legend_ncols: int = field(
        default=0, metadata=about("columns of the legend; 0 for as many as fit", low=0)
    )
    legend_loc: str = field(
        default="above",
        metadata=about(
            "where the legend is: above, none, or a place inside such as 'upper right'"
        ),
    )


@dataclasses.dataclass(frozen=True)
class PanelOptions(LegendOptions):
    """Options of a figure of panels with a legend."""

    col_wrap: int = field(default=0, metadata=COL_WRAP)


class Option(typing.NamedTuple):
    """One option, as a flag needs it."""

    name: str
    default: Any
    value_type: type  # of the value, or of each of several
    several: bool
    help: str
    choices: tuple[str, ...] | None
    low: float | None


def declared(options: type) -> tuple[Option, ...]:
    """Lists the options that a dataclass declares.

    Examples:
      >>> [option.name for option in declared(LegendOptions)]
      ['legend_ncols', 'legend_loc']
      >>> declared(LegendOptions)[0].value_type
      <class 'int'>
    """
    hints = typing.get_type_hints(options)
    return tuple(
        Option(each.name, each.default, *_value_type(hints[each.name]), **each.metadata)
        for each in dataclasses.fields(options)
    )


def _value_type(hint: Any) -> tuple[type, bool]:
    """Returns the type of values, and whether there are several."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in hint.__args__ if part is not types.NoneType)
    if typing.get_origin(hint) is Sequence:
        return typing.get_args(hint)[0], True
    return hint, False
