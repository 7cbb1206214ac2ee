"""Looks names up in tables, and checks parameters.

A table maps names to rows, and a row holds its parameters with their defaults and the
values that are allowed. Nothing here needs JAX.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from alphanet_jax.errors import did_you_mean

__all__ = ["MOST_FLOAT32", "REQUIRED", "Param", "Row", "check", "look_up"]

REQUIRED: Any = inspect.Parameter.empty
MOST_FLOAT32 = (2 - 2**-23) * 2.0**127  # programs compute in float32

# What a value may be, see `check`.
Allowed = str | tuple[str, ...] | Callable[[str, Any], Any]


class Param(NamedTuple):
    """A parameter.

    Attributes:
      default: Its value where it is left out, which may be given too, whatever is
        allowed; `REQUIRED` if it must be given.
      allowed: What it may be, as `check` takes it.
    """

    default: Any = REQUIRED
    allowed: Allowed = "[0, inf)"


class Row:
    """A row of a table: a rule and its parameters.

    A default alone may stand for a `Param`: of a parameter that is true or false where
    the default is, of a number from 0 otherwise.

    Attributes:
      rule: What the parameters are for; takes all of them by keyword.
      params: The parameters by name.
    """

    def __init__(self, rule: Callable[..., Any], **params: Any) -> None:
        self.rule = rule
        self.params: dict[str, Param] = {}
        for key, param in params.items():
            if isinstance(param, bool):
                param = Param(param, "true or false")
            self.params[key] = param if isinstance(param, Param) else Param(param)

    def bind(
        self,
        name: str,
        params: Mapping[str, Any],
        *,
        refused: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Checks parameters and completes them with the defaults.

        Args:
          name: Name of the row, for error messages.
          params: The parameters given.
          refused: Why known parameters of other libraries are not taken.

        Returns:
          The values of all parameters, in the row's order.

        Raises:
          ValueError: If a parameter is unknown, refused, missing or not allowed.

        Examples:
          >>> row = Row(max, size=Param(allowed="integer >= 1"), gamma=0.1)
          >>> row.bind("StepLR", {"size": 10})
          {'size': 10, 'gamma': 0.1}
          >>> row.bind("StepLR", {"size": 0})
          Traceback (most recent call last):
          ValueError: StepLR: size must be an integer >= 1, got 0.
        """
        for param, reason in (refused or {}).items():
            if param in params:
                raise ValueError(f"{name} does not take {param!r}: {reason}.")
        if unknown := sorted(set(params) - set(self.params)):
            raise ValueError(f"{name} takes {list(self.params)}, got {unknown}.")
        values = {key: param.default for key, param in self.params.items()} | {**params}
        if missing := sorted(key for key in values if values[key] is REQUIRED):
            raise ValueError(f"{name} needs {missing}.")
        return {
            key: value
            if value is self.params[key].default
            else check(f"{name}: {key}", value, self.params[key].allowed)
            for key, value in values.items()
        }


def look_up(
    name: str, what: str, known: Mapping[str, Any], refused: Mapping[str, str]
) -> Any:
    """Looks a name up.

    Args:
      name: The name.
      what: What it is a name of, for the error message.
      known: What is available, by name.
      refused: Why known names of other libraries are not available.

    Returns:
      What has the name.

    Raises:
      ValueError: If the name is not in `known`; the message lists what is.
    """
    if name in known:
        return known[name]
    if name in refused:
        raise ValueError(
            f"{what} {name!r} is not available: {refused[name]}; "
            f"known are {', '.join(map(repr, known))}"
        )
    same_letters = [other for other in known if other.casefold() == name.casefold()]
    if same_letters:
        hint = f"did you mean {' or '.join(map(repr, same_letters))}?"
    else:
        hint = did_you_mean(name, known, most_listed=len(known))
    raise ValueError(f"unknown {what} {name!r}; {hint}")


def check(name: str, value: Any, allowed: Allowed = "[0, inf)") -> Any:
    """Checks the value of a parameter.

    Args:
      name: What it is a value of, for the error message: "parameter" or
        "owner: parameter".
      value: The value.
      allowed: What it may be. An interval such as "[0, 1)", in which square brackets
        include the limit: a number in it; "two in [0, 1)": a list of two such numbers;
        "integer >= 1"; "true or false"; a tuple: one of these words; a function: what
        it accepts, called with name and value.

    Returns:
      The value, or what the function makes of it.

    Raises:
      ValueError: If the value is not allowed.

    Examples:
      >>> check("beta", 1.0, "[0, 1)")
      Traceback (most recent call last):
      ValueError: beta must be a number in [0, 1), got 1.0.
    """
    if callable(allowed):
        return allowed(name, value)
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(allowed, tuple):
        words = " or ".join(map(repr, allowed))
        expected = words if len(allowed) == 2 else f"one of {allowed}"
        fits = value in allowed
    elif allowed == "true or false":
        expected = allowed
        fits = isinstance(value, bool)
    elif allowed.startswith("integer >= "):
        expected = f"an {allowed}"
        fits = is_integer and value >= int(allowed.split()[-1])
    elif allowed.startswith("two in "):
        expected = "two numbers"
        fits = isinstance(value, list | tuple) and len(value) == 2
        owner, colon, param = name.rpartition(": ")
        for number in value if fits else ():
            check(
                f"{owner}{colon}each of {param}",
                number,
                allowed.removeprefix("two in "),
            )
    else:
        expected = f"a number in {allowed}"
        low, high = map(float, allowed[1:-1].split(","))
        fits = (
            (is_integer or isinstance(value, float))
            and (low <= value if allowed[0] == "[" else low < value)
            and (value <= high if allowed[-1] == "]" else value < high)
        )
    if not fits:
        raise ValueError(f"{name} must be {expected}, got {value!r}.")
    if isinstance(value, int | float) and abs(value) > MOST_FLOAT32:
        raise ValueError(f"{name} must be a number that float32 holds, got {value!r}.")
    return value
