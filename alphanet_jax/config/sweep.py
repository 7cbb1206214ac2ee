"""Sweeps: a field of the config that holds several values stands for as many points.

    --config.rho="(0.1, 0.5, 1.0)"                    three points
    --config.rho="(0.1, 0.5)" --config.seed="(0, 10)"  four: every combination

A point is a config with one value for each field, and a directory of its own below the
work directory, such as `rho_0.5` or, for two fields, `seed_0/rho_0.5`.
"""

import ast
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from alphanet_jax.config import fields as config_lib
from alphanet_jax.config.fields import FIELDS, Field
from alphanet_jax.errors import UserError

__all__ = ["ConfigPoint", "expand", "take_alternatives"]


@dataclasses.dataclass(frozen=True)
class ConfigPoint:
    """One point of a sweep.

    Attributes:
      values: The value of every swept field, by its full name.
      config: The config, with one value for each field.
    """

    values: Mapping[str, Any]
    config: ml_collections.ConfigDict

    @property
    def directory(self) -> str:
        """Its directory below the work directory; empty where nothing is swept."""
        return "/".join(_part(name, "_", value) for name, value in self.values.items())

    @property
    def title(self) -> str:
        """What to call it in tables and messages."""
        parts = (_part(name, "=", value) for name, value in self.values.items())
        return ", ".join(parts)


def _part(name: str, between: str, value: Any) -> str:
    if isinstance(value, tuple):
        value = (
            " ".join(map(str, value)) if between == "=" else "-".join(map(str, value))
        )
    text = f"{name.rpartition('.')[2]}{between}{value}"
    return text if between == "=" else text.replace("/", "-")


def _is_swept(field: Field, value: Any) -> bool:
    """Tells whether a value is several alternatives for a field."""
    if not field.sweepable or not isinstance(value, tuple | list):
        return False
    # A field that holds a tuple is swept by a tuple of tuples.
    return not isinstance(field.default, tuple) or any(
        isinstance(item, tuple | list) for item in value
    )


def take_alternatives(
    arguments: Sequence[str],
) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """Takes the arguments that give several values for a field out of the others.

    Their fields hold one value, which is what their flags would accept.

    Args:
      arguments: Arguments of the command line.

    Returns:
      The other arguments, and the alternatives by the field's name.

    Examples:
      >>> take_alternatives(["--config.rho=(0.1, 0.5)", "--config.seeds=3"])
      (['--config.seeds=3'], {'rho': (0.1, 0.5)})
    """
    fields = {field.name: field for field in FIELDS}
    rest: list[str] = []
    taken: dict[str, tuple[Any, ...]] = {}
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, equals, text = argument.partition("=")
        name = flag.lstrip("-").removeprefix("config.")
        is_field = flag.lstrip("-").startswith("config.") and name in fields
        separate = is_field and not equals and bool(left)
        value: Any = _literal(left[0] if separate else text) if is_field else None
        if is_field and _is_swept(fields[name], value):
            taken[name] = tuple(value)
            if separate:
                left.pop(0)
        else:
            rest.append(argument)
            taken.pop(name, None)  # the last one given counts
    return rest, taken


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def expand(
    config: ml_collections.ConfigDict, alternatives: Mapping[str, Sequence[Any]]
) -> list[ConfigPoint]:
    """Makes a point for every combination of alternatives.

    Args:
      config: A config; its fields, too, may hold alternatives.
      alternatives: Further ones, which take the place of those of the config.

    Returns:
      The points, checked; one with no swept field where there are no alternatives.

    Raises:
      UserError: If a field has no or equal alternatives, or a value of a wrong type.
    """
    swept: dict[str, tuple[Any, ...]] = {}
    for field in FIELDS:
        values = alternatives.get(field.name)
        if values is None and config_lib.has(config, field.name):
            given = config_lib.get(config, field.name)
            values = given if _is_swept(field, given) else None
        if values is not None:
            swept[field.name] = tuple(_convert(field, value) for value in values)
            if not swept[field.name]:
                raise UserError(f"config.{field.name} needs at least one value, got ()")
    points = [_make_point(config, values) for values in _combinations(swept)]
    directories = [point.directory for point in points]
    for directory in directories:
        if directories.count(directory) > 1:
            raise UserError(f"the sweep has two points for the directory {directory}")
    return points


def _convert(field: Field, value: Any) -> Any:
    """Gives a value the field's own type where that says the same."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(field.default, float) and type(value) is int:
        return float(value)
    return value


def _combinations(swept: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*swept.values()):
        yield dict(zip(swept, values, strict=True))


def _make_point(
    config: ml_collections.ConfigDict, values: Mapping[str, Any]
) -> ConfigPoint:
    chosen = ml_collections.ConfigDict(config.to_dict(), type_safe=False)
    for name, value in values.items():
        config_lib.put(chosen, name, value)
    config_lib.check_fields(chosen)
    return ConfigPoint(dict(values), chosen)
