"""Sweeps: a field of the config that holds several values stands for as many points.

    --config.rho="(0.1, 0.5, 1.0)"                    three points
    --config.rho="(0.1, 0.5)" --config.seed="(0, 10)"  four: every combination

A point has one value for each field, and a directory of its own below the work
directory, such as `rho_0.5` or, for two fields, `seed_0/rho_0.5`.
"""

import ast
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from alphanet_jax.config import fields
from alphanet_jax.config.fields import FIELDS, Field, Settings
from alphanet_jax.errors import UserError

if TYPE_CHECKING:
    import ml_collections

__all__ = [
    "Point",
    "alternatives",
    "directory_of",
    "expand",
    "name_points",
    "swept_arguments",
    "title_of",
]


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of a sweep with its seeds: one result.

    Attributes:
      settings: The settings.
      title: What to call it in tables and messages; empty where there is one only.
      directory: Its directory below that of all results, and below that of all logs.
      file_name: Name of its result file there.
      swept: The value of every swept field, by its full name.
    """

    settings: Settings
    title: str = ""
    directory: str = ""
    file_name: str = "result.npz"
    swept: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def title_of(swept: Mapping[str, Any]) -> str:
    """Names a point by the values of its swept fields.

    Examples:
      >>> title_of({"rho": 0.5, "alphanet.hdims": (8, 8)})
      'rho=0.5, hdims=8 8'
    """
    return ", ".join(_part(name, "=", value) for name, value in swept.items())


def directory_of(swept: Mapping[str, Any]) -> str:
    """Names the directory of a point by the values of its swept fields.

    Examples:
      >>> directory_of({"rho": 0.5, "alphanet.hdims": (8, 8)})
      'rho_0.5/hdims_8-8'
    """
    return "/".join(_part(name, "_", value) for name, value in swept.items())


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
    return field.kind is not tuple or any(
        isinstance(item, tuple | list) for item in value
    )


def alternatives(field: Field, text: str) -> tuple[Any, ...] | None:
    """Parses the several values that an argument gives for a field.

    Args:
      field: The field.
      text: The argument's value.

    Returns:
      The values; None where the text is a single one.

    Examples:
      >>> rho = next(field for field in FIELDS if field.name == "rho")
      >>> alternatives(rho, "(0.1, 0.5)"), alternatives(rho, "0.1")
      ((0.1, 0.5), None)
    """
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return tuple(value) if _is_swept(field, value) else None


def swept_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Parts the arguments that give several values for a field from the others.

    Args:
      arguments: Arguments of the command line.

    Returns:
      The other arguments, of those for a field the last one; and, by the field's name,
      the text of its last argument where that gives several values.

    Examples:
      >>> swept_arguments(["--config.rho=(0.1, 0.5)", "--config.seeds=3"])
      (['--config.seeds=3'], {'rho': '(0.1, 0.5)'})
    """
    known = {field.name: field for field in FIELDS}
    # Each with its value, if that is an argument of its own; and, where they are one,
    # the name of the field.
    rest: list[tuple[str, list[str]]] = []
    swept: dict[str, str] = {}
    left = list(arguments)
    while left:
        given = [left.pop(0)]
        flag, equals, text = given[0].partition("=")
        name = flag.lstrip("-").removeprefix("config.")
        if not flag.lstrip("-").startswith("config.") or name not in known:
            rest.append(("", given))
            continue
        if not equals and left and known[name].kind is not bool:
            given.append(text := left.pop(0))
        # The last one given counts.
        rest = [(other, words) for other, words in rest if other != name]
        swept.pop(name, None)
        if alternatives(known[name], text) is None:
            rest.append((name, given))
        else:
            swept[name] = text
    return [word for _, words in rest for word in words], swept


def expand(
    config: "ml_collections.ConfigDict",
    swept: Mapping[str, Sequence[Any]] | None = None,
) -> list[Point]:
    """Makes a point for every combination of alternatives.

    Args:
      config: A config; its fields may hold alternatives.
      swept: Further alternatives by a field's name, which take the place of those of
        the config.

    Returns:
      The points, checked; one with no swept field where there are no alternatives.

    Raises:
      UserError: If a field has no or equal alternatives, or a value of a wrong type,
        or seeds are not right.
    """
    given = dict(fields.flatten(config))
    found: dict[str, tuple[Any, ...]] = {}
    for field in FIELDS:
        values = (swept or {}).get(field.name)
        if values is None and _is_swept(field, given.get(field.name)):
            values = given[field.name]
        if values is not None:
            found[field.name] = tuple(_convert(field, value) for value in values)
            if not found[field.name]:
                raise UserError(f"config.{field.name} needs at least one value, got ()")
    points = [_make_point(config, values) for values in _combinations(found)]
    directories = [point.directory for point in points]
    for directory in directories:
        if directories.count(directory) > 1:
            raise UserError(f"the sweep has two points for the directory {directory}")
    return points


def name_points(settings: Sequence[Settings]) -> list[Point]:
    """Makes points of settings, named by the fields in which they differ.

    Args:
      settings: Settings, each of a point.

    Returns:
      The points, in the same order; a single one has no name.

    Examples:
      >>> [p.title for p in name_points([Settings(rho=0.1), Settings(rho=0.5)])]
      ['rho=0.1', 'rho=0.5']
    """
    named = []
    for one in settings:
        swept = {}
        for field in FIELDS:
            values = [getattr(other, field.attribute) for other in settings]
            if any(value != values[0] for value in values):
                swept[field.name] = field.unparse(getattr(one, field.attribute))
        swept = {n: tuple(v) if isinstance(v, list) else v for n, v in swept.items()}
        named.append(Point(one, title_of(swept), directory_of(swept), swept=swept))
    return named


def _convert(field: Field, value: Any) -> Any:
    """Gives a value the field's own type where that says the same."""
    if isinstance(value, list):
        return tuple(value)
    if field.kind is float and type(value) is int:
        return float(value)
    return value


def _combinations(swept: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*swept.values()):
        yield dict(zip(swept, values, strict=True))


def _make_point(
    config: "ml_collections.ConfigDict", values: Mapping[str, Any]
) -> Point:
    chosen = fields.copy(config)
    for name, value in values.items():
        fields.put(chosen, name, value)
    settings = fields.settings_from_config(chosen)
    settings.run_seeds()  # checks them
    return Point(settings, title_of(values), directory_of(values), swept=dict(values))
