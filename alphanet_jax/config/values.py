"""What values of settings may be, and how a config writes them."""

import numbers
import typing
from collections.abc import Mapping
from typing import Any

from alphanet_jax.errors import UserError
from alphanet_jax.lookup.params import Params, format_params

__all__ = ["Limit", "as_declared", "as_text"]


class Limit(str):
    """A number, or a quantile in percent, as text; empty for none.

    Examples:
      >>> Limit(20) == Limit(20.0) == "20", Limit("25%")
      (True, '25%')
    """

    def __new__(cls, value: float | str) -> "Limit":
        """Makes text of a number."""
        is_whole = not isinstance(value, str) and float(value).is_integer()
        return super().__new__(cls, int(value) if is_whole else value)


# Declared type -> what values may be, and what to call that.
_KINDS: Mapping[Any, tuple[Any, str]] = {
    str: (str, "text"),
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    Params: (Mapping, "a mapping of names to values"),
    Limit: ((str, numbers.Real), "a number, or a quantile such as '25%'"),
}


def as_declared(name: str, declared: Any, value: Any) -> Any:
    """Turns a value into one of its field's declared type.

    Raises:
      UserError: If it is of another type.

    Examples:
      >>> as_declared("hdims", tuple[int, ...], [8, 4])
      (8, 4)
    """
    kind, *more = typing.get_args(declared) or (declared,)
    allowed, called = _KINDS[kind]
    several = bool(more)  # tuple[kind, ...]
    if several and not isinstance(value, list | tuple):
        raise UserError(f"{name} must be a list or tuple, got {value!r}")
    for item in value if several else (value,):
        is_bool = isinstance(item, bool)  # which is an integer to Python
        if not isinstance(item, allowed) or (is_bool and kind is not bool):
            each = "each of " if several else ""
            raise UserError(f"{each}{name} must be {called}, got {value!r}")
    return tuple(map(kind, value)) if several else kind(value)


def as_text(value: Any) -> Any:
    """Turns parameters and limits into the text that a config holds.

    Examples:
      >>> as_text((Params({"r": 0.5}), Params())), as_text(3)
      (('r=0.5', ''), 3)
    """
    if isinstance(value, Params):
        return format_params(value)
    if isinstance(value, Limit):
        return str(value)
    if isinstance(value, tuple):
        return tuple(as_text(item) for item in value)
    return value
