"""What a person asks for by a name and parameters, and what to say if it is wrong."""

from collections.abc import Callable, Mapping
from typing import Any

from alphanet_jax.errors import did_you_mean

__all__ = [
    "call",
    "check_flag",
    "check_integer",
    "check_number",
    "check_pair",
    "look_up",
]


def look_up(
    name: str, what: str, known: Mapping[str, Any], refused: Mapping[str, str]
) -> Any:
    """Looks a name up.

    Args:
      name: The name.
      what: What it is a name of, for error messages.
      known: What can be had, by name.
      refused: Why other names that people may know cannot be had.

    Returns:
      What has the name.

    Raises:
      ValueError: If the name is not in `known`; says what is.
    """
    if name in known:
        return known[name]
    if name in refused:
        raise ValueError(
            f"{what} {name!r} cannot be had: {refused[name]}; "
            f"known are {', '.join(map(repr, known))}"
        )
    same_letters = [other for other in known if other.casefold() == name.casefold()]
    if same_letters:
        hint = f"did you mean {' or '.join(map(repr, same_letters))}?"
    else:
        hint = did_you_mean(name, known, most_listed=len(known))
    raise ValueError(f"unknown {what} {name!r}; {hint}")


def call(
    function: Callable[..., Any],
    name: str,
    params: Mapping[str, Any],
    *args: Any,
    refused: Mapping[str, str] | None = None,
) -> Any:
    """Calls a builder; a parameter that it does not take is named, with those it does.

    Args:
      function: The builder. Its parameters are keyword-only, which tells them from
        what it is given by position.
      name: Its name, for error messages.
      params: Parameters from a person.
      *args: Arguments from the program.
      refused: Why parameters that people may know are not taken.

    Returns:
      What the builder returns.

    Raises:
      ValueError: If a parameter is unknown, refused or missing.
    """
    for param, reason in (refused or {}).items():
        if param in params:
            raise ValueError(f"{name} does not take {param!r}: {reason}.")
    defaults = function.__kwdefaults__ or {}
    code = function.__code__
    first = code.co_argcount
    allowed = code.co_varnames[first : first + code.co_kwonlyargcount]
    if unknown := sorted(set(params) - set(allowed)):
        raise ValueError(f"{name} takes {list(allowed)}, got {unknown}.")
    if missing := sorted(set(allowed) - set(defaults) - set(params)):
        raise ValueError(f"{name} needs {missing}.")
    return function(*args, **params)


def check_number(name: str, value: Any, interval: str = "[0, inf)") -> None:
    """Checks a number that a person has given.

    Args:
      name: What it is, for the error message.
      value: What was given.
      interval: Where it must be; square brackets include the limit, round ones not.

    Raises:
      ValueError: If it is no number or not within.

    Examples:
      >>> check_number("beta", 1.0, "[0, 1)")
      Traceback (most recent call last):
      ValueError: beta must be a number in [0, 1), got 1.0.
    """
    low, high = map(float, interval[1:-1].split(","))
    fits = (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (low <= value if interval[0] == "[" else low < value)
        and (value <= high if interval[-1] == "]" else value < high)
    )
    if not fits:
        raise ValueError(f"{name} must be a number in {interval}, got {value!r}.")


def check_integer(name: str, value: Any, *, least: int) -> None:
    """Checks a whole number that a person has given."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Checks a yes or no that a person has given."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}.")


def check_pair(name: str, value: Any, interval: str = "[0, inf)") -> None:
    """Checks two numbers that a person has given."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"{name} must be two numbers, got {value!r}.")
    owner, colon, param = name.rpartition(": ")
    for number in value:
        check_number(f"{owner}{colon}each of {param}", number, interval)
