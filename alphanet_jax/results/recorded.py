"""What a result records in JSON: its settings, versions, hashes and options.

Anybody may have written a result. What is read from it here has the types that it
should have, so that nothing that uses it need ask.
"""

import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from alphanet_jax import parsing
from alphanet_jax.config.fields import FIELDS, Settings, flatten
from alphanet_jax.config.values import as_declared
from alphanet_jax.errors import UserError

__all__ = [
    "RECORDS",
    "config_of",
    "find_wrong",
    "hashes_of",
    "options_of",
    "rho_of",
    "settings_of",
    "versions_of",
]

_ABSENT: Final = object()
_SAMPLER_ARGS: Final = "training.sampler_builder.sampler_args"


def config_of(text: str) -> dict[str, Any]:
    """Reads the settings of a result.

    Args:
      text: Its `config`: an object with the fields of `Settings`, nested by section.
        Fields may be missing, as in results of earlier versions, or unknown, as in
        those of later ones.

    Returns:
      The object.

    Raises:
      ValueError: If it is no such object, or a field has a value that it cannot have.

    Examples:
      >>> config_of('{"rho": 0.5, "training": {"n_neighbors": 3}}')["rho"]
      0.5
    """
    config = _object(text)
    declared = typing.get_type_hints(Settings)
    for field in FIELDS:
        value: Any = config
        for part in field.name.split("."):
            if not isinstance(value, dict):
                raise ValueError(f"its section of {field.name} is not an object")
            value = value.get(part, _ABSENT)
            if value is _ABSENT:
                break
        if value is _ABSENT:
            continue
        if field.kind is tuple and not isinstance(value, list):
            raise ValueError(f"its field {field.name} is not a list")
        try:
            as_declared(field.name, declared[field.attribute], field.parse(value))
        except UserError as error:
            raise ValueError(f"its field {error}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"its field {field.name} must be finite, got {value}")
    rho_of(config)
    return config


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Makes the settings of a result again.

    Args:
      config: Settings, as `config_of` reads them. Fields that they lack have their
        defaults: an earlier version did not have them.

    Examples:
      >>> settings_of({"rho": 0.5, "alphanet": {"hdims": [8, 4]}}).hdims
      (8, 4)
    """
    given = dict(flatten(config))
    return Settings(
        **{f.attribute: f.parse(given[f.name]) for f in FIELDS if f.name in given}
    )


def rho_of(config: Mapping[str, Any]) -> float | None:
    """Finds how many base samples an epoch had for each few sample.

    As in the original, this is `r` of the second sampler's arguments, if given.

    Args:
      config: Settings, as `config_of` reads them.

    Returns:
      The ratio; None where the settings do not say.

    Raises:
      ValueError: If it is no number.
    """
    given = dict(flatten(config))
    field = next(field for field in FIELDS if field.name == _SAMPLER_ARGS)
    arguments = field.parse(given.get(_SAMPLER_ARGS) or ())
    second = arguments[1] if len(arguments) > 1 else arguments[-1] if arguments else {}
    value = second.get("r", given.get("rho"))
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise ValueError(f"the r of its {_SAMPLER_ARGS} must be a number")
    return float(value)


def versions_of(text: str) -> dict[str, str]:
    """Reads the versions of software that made a result, by the software's name.

    Raises:
      ValueError: If the text is something else.

    Examples:
      >>> versions_of('{"jax": "0.10.2"}')
      {'jax': '0.10.2'}
    """
    return _texts(text)


def hashes_of(text: str) -> dict[str, str]:
    """Reads the SHA-256 of the files that a result depends on, by their paths.

    Raises:
      ValueError: If the text is something else.
    """
    return _texts(text)


def options_of(text: str) -> dict[str, Any]:
    """Reads further options of a correction, by their names.

    Raises:
      ValueError: If the text is something else.
    """
    return _object(text)


def _object(text: str) -> dict[str, Any]:
    try:
        found = parsing.parse_json(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _texts(text: str) -> dict[str, str]:
    found = _object(text)
    parsing.check_form(found, parsing.Each(str))
    return found


# How the arrays that hold JSON are read.
RECORDS: Final[Mapping[str, Callable[[str], Any]]] = {
    "config": config_of,
    "versions": versions_of,
    "file_hashes": hashes_of,
    "method_options": options_of,
}


def find_wrong(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Finds a record of a result that cannot be read.

    Args:
      arrays: Arrays of a result, or some of them.

    Returns:
      What is wrong with the first such record; None if all are right.

    Examples:
      >>> find_wrong({"versions": np.array("[]")})
      'not a result: its versions cannot be read: it is not a JSON object'
    """
    for name, read in RECORDS.items():
        if name in arrays:
            try:
                read(str(arrays[name]))
            except ValueError as error:
                return f"not a result: its {name} cannot be read: {error}"
    return None
