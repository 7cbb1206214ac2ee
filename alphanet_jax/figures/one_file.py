"""A figure of results in memory, in one call, by the names and options of `plot`."""

import dataclasses
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.figures import saving, style
from alphanet_jax.figures.kind import Kind, load_kind
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.figures.options import Option, declared

__all__ = ["draw_file"]

# Attributes of a style that may be changed; its name and format are chosen.
_LOOKS = declared(style.Style)[2:]


def draw_file(
    kind: str,
    sources: Sources,
    file: Path | str | os.PathLike[str],
    options: Mapping[str, Any],
) -> list[Path]:
    """Draws a figure, and writes the numbers that it draws as CSV beside it.

    Args:
      kind: One of `KINDS`.
      sources: What it is made from.
      file: Where to write it. Its ending, .png, .svg, .pdf or .pgf, is the format.
      options: Options of the kind; `style`, a name of `style.STYLES` of that format;
        and attributes of the style that differ.

    Returns:
      The files that were written.

    Raises:
      UserError: If there is no such kind or option, or the figure cannot be drawn or
        written; nothing is written then.
    """
    found = load_kind(kind)
    saving.check_matplotlib()
    path, given = Path(file), dict(options)
    look = _choose_style(path, given)
    _check_options(found, given)
    numbers_options, draw_options = (
        _take(given, part) for part in (found.numbers_options, found.draw_options)
    )
    numbers = found.numbers(sources, **numbers_options)
    texts: dict[Path, str] = {}
    if (more := found.more_files) is not None:
        chosen = more.options(**_take(given, more.options))
        texts = more.texts(sources, found.numbers_options(**numbers_options), chosen)
    return saving.save_figure(
        numbers,
        found.draw,
        path.with_suffix(""),
        [look],
        options=draw_options,
        more_files=texts,
    )


def _choose_style(path: Path, given: dict[str, Any]) -> style.Style:
    """Makes the style of a file; takes what is said of it from the options."""
    ending = path.suffix[1:]
    if ending not in style.FORMATS:
        endings = ", ".join(f".{form}" for form in style.FORMATS)
        raise UserError(f"{path}: a figure's file must end in one of {endings}")
    name = given.pop("style", None) or style.FORMATS[ending]
    if name not in style.STYLES:
        raise UserError(f"style: unknown {name!r}; {did_you_mean(name, style.STYLES)}")
    if style.STYLES[name].format != ending:
        raise UserError(
            f"{path} is not of the format of style {name!r}, "
            f"{style.STYLES[name].format}"
        )
    changes = {o.name: given.pop(o.name) for o in _LOOKS if o.name in given}
    for option in _LOOKS:
        if option.name in changes:
            _check(option, changes[option.name])
    if "width" in changes:
        changes["width"] = str(changes["width"])
    return style.make_style(name, **changes)


def _check_options(kind: Kind[Any, Any], given: Mapping[str, Any]) -> None:
    """Checks names and values of the options of a kind."""
    known = {option.name: option for option in kind.options}
    for name, value in given.items():
        if name not in known:
            hint = did_you_mean(name, [*known, "style", *(o.name for o in _LOOKS)])
            raise UserError(f"figure {kind.name!r} has no option {name!r}; {hint}")
        _check(known[name], value)


def _check(option: Option, value: Any) -> None:
    """Checks a value as the flag of that name would."""
    if value is None and option.default is None:
        return
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if option.several and not is_list:
        raise UserError(f"{option.name} must be a list, got {value!r}")
    for item in value if option.several else (value,):
        if option.choices is not None and item not in option.choices:
            raise UserError(
                f"{option.name} must be one of {', '.join(option.choices)}, "
                f"got {item!r}"
            )
        if option.value_type in (int, float):
            _check_number(option, item)
        elif option.value_type is bool and not isinstance(item, bool):
            raise UserError(f"{option.name} must be True or False, got {item!r}")


def _check_number(option: Option, value: Any) -> None:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise UserError(f"{option.name} must be a number, got {value!r}")
    if option.value_type is int and value != int(value):
        raise UserError(f"{option.name} must be a whole number, got {value!r}")
    if option in _LOOKS and not value > 0:
        raise UserError(f"{option.name} must be positive, got {value!r}")
    if option.low is not None and not value >= option.low:
        raise UserError(f"{option.name} must be at least {option.low:g}, got {value!r}")


def _take(given: Mapping[str, Any], options: type) -> dict[str, Any]:
    """Returns those that a dataclass declares; lists as flags give them."""
    names = {field.name for field in dataclasses.fields(options)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in given.items()
        if name in names
    }
