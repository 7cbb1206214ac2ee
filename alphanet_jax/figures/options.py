"""Options of a kind of figure: fields of a dataclass, which are also flags of `plot`.

Annotations hold the help of each, and what is allowed:

    y: Annotated[str, About("what is drawn", choices=("acc", "change"))] = "acc"
    sharey: Annotated[bool, "the same y axis for all panels"] = False
    xlim: Annotated[Sequence[float] | None, "ends of the x axis"] = None
"""

import dataclasses
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

__all__ = [
    "BOOT_SEED",
    "COL_WRAP",
    "DIRECTORIES",
    "N_BOOT",
    "About",
    "LegendOptions",
    "NoOptions",
    "Option",
    "PanelOptions",
    "declared",
]

# The flag that names the directories of experiments.
DIRECTORIES = "exp_sub_dirs"


class About(NamedTuple):
    """Help on an option, and what is allowed."""

    help: str  # with its unit
    choices: Sequence[str] | None = None  # the values there are, if not any more
    low: float | None = None  # least value of a number


N_BOOT = About("bootstrap samples for intervals of 95 percent", low=1)
BOOT_SEED = About("seed of the bootstrap", low=0)
COL_WRAP = About("panels in a row; 0 for as many as fit", low=0)


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options where nothing can be changed."""


@dataclasses.dataclass(frozen=True)
class LegendOptions:
    """Options of a figure with a legend."""

    legend_ncols: Annotated[
        int, About("columns of the legend; 0 for as many as fit", low=0)
    ] = 0
    legend_loc: Annotated[
        str,
        "where the legend is: above (in a flat figure beside, where that leaves panels "
        "more room), beside, none, or a place inside such as 'upper right'",
    ] = "above"
    legend_bbox_to_anchor: Annotated[
        Sequence[float] | None,
        "x and y of what a --legend_loc inside is of, such as 'upper left', or else of "
        "the legend's center: 1 1 is the upper right corner of its panel; with a width "
        "and a height, a box",
    ] = None

    def __post_init__(self) -> None:
        """Puts a legend inside where its place there is all that is said of it."""
        if self.legend_bbox_to_anchor is not None and self.legend_loc == "above":
            object.__setattr__(self, "legend_loc", "center")


@dataclasses.dataclass(frozen=True)
class PanelOptions(LegendOptions):
    """Options of a figure of panels with a legend."""

    col_wrap: Annotated[int, COL_WRAP] = 0


class Option(NamedTuple):
    """One option, as a flag needs it."""

    name: str
    default: Any
    value_type: type  # of the value, or of each of several
    several: bool
    help: str
    choices: Sequence[str] | None
    low: float | None


def declared(options: type) -> tuple[Option, ...]:
    """Lists the options that a dataclass declares.

    Examples:
      >>> [option.name for option in declared(LegendOptions)]
      ['legend_ncols', 'legend_loc', 'legend_bbox_to_anchor']
      >>> declared(LegendOptions)[0].value_type
      <class 'int'>
    """
    hints = typing.get_type_hints(options, include_extras=True)
    made = []
    for each in dataclasses.fields(options):
        hint, what = typing.get_args(hints[each.name])
        what = About(what) if isinstance(what, str) else what
        made.append(Option(each.name, each.default, *_value_type(hint), *what))
    return tuple(made)


def _value_type(hint: Any) -> tuple[type, bool]:
    """Returns the type of values, and whether there are several."""
    if isinstance(hint, types.UnionType):
        (hint,) = (part for part in hint.__args__ if part is not types.NoneType)
    if typing.get_origin(hint) is Sequence:
        return typing.get_args(hint)[0], True
    return hint, False
