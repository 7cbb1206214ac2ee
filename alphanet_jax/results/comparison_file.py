"""`compare.json`: many corrections of one classifier over their knobs, and its table.

    methods      by name: linear; source; knob, its name; curve; chosen; tradeoff;
                 and, but for the reference, difference and mcnemar
      curve      one entry for every value of the knob and every further option: knob,
                 a number; val and test, accuracies of few, medium, many and all; and
                 test_error, their standard errors; options, if there are any
      chosen     by 'overall' and 'harmonic' (the harmonic mean of the splits) on
                 validation data, perhaps by 'oracle' (overall on test data): the point
                 and what was measured there on test data
      tradeoff   S: the mean over weights 0, 0.1 ... 0.5 of what few accuracy and
                 overall accuracy come to when the knob is chosen by that on validation
      difference from the reference of tradeoff, few and overall: estimate, low, high
                 (all intervals of a statistic together cover with `level`), and
                 p_value, corrected by Holm's procedure
      mcnemar    exact tests at the points chosen by overall accuracy, by split:
                 samples that one of both alone has right, p_value, and corrected, the
                 same by Holm's procedure over the methods; of AlphaNet, its first seed
    choice       a point of all that keeps `targets` on validation data, if any does:
                 method, index of its point, knob, options, targets, whether they held
                 ('surely', 'likely' or 'not'), and lines that say what, why and how
                 sure; val and test; null for none
    failed       why, by name of method
    knobs_by     'validation' or 'cross-validation'

Accuracies are fractions; null stands where there are no samples.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphanet_jax import files, parsing
from alphanet_jax.errors import UserError, printable
from alphanet_jax.results import accuracy, rendering, tables

__all__ = ["FILE_NAME", "load", "save", "table", "tables_of"]

FILE_NAME = "compare.json"
_COLUMNS = (
    ("Few", "few"),
    ("Med.", "medium"),
    ("Many", "many"),
    ("Overall", "overall"),
    ("F1", "macro_f1"),
    ("Harm.", "harmonic_mean"),
    ("Worst", "worst_decile"),
    ("ECE", "ece"),
)
_FRACTION = (float, type(None))
_POINT = {
    "knob": float,
    "val": [_FRACTION],
    "test": [_FRACTION],
    "test_error?": [_FRACTION],
    "options?": parsing.Each(float),
}
_CHOSEN = _POINT | {name: _FRACTION for _, name in _COLUMNS} | {"nll": _FRACTION}
_INTERVAL = {"estimate": float, "low": float, "high": float}
_TEST = {
    "only_method": int,
    "only_reference": int,
    "p_value": float,
    "corrected?": float,
}
# What is read of a file; there may be more in it. First what figures need.
_POINTS = {
    "methods": parsing.Each(
        {
            "curve": [_POINT],
            "chosen": {"overall": _POINT, "harmonic": _POINT, "oracle?": _POINT},
        }
    ),
    "choice?": ({"method?": str, "index?": int}, type(None)),
}
_FORM = {
    "methods": parsing.Each(
        {
            "knob": str,
            "curve": [_POINT],
            "chosen": {"overall": _CHOSEN, "harmonic": _CHOSEN, "oracle?": _CHOSEN},
            "tradeoff": _FRACTION,
            "difference?": {"tradeoff": _INTERVAL},
            "mcnemar?": parsing.Each(_TEST),
        }
    ),
    "reference": str,
    "proper_name": str,
    "knobs_by": str,
    "level": float,
    "choice?": ({"lines": [str], "test": [_FRACTION]}, type(None)),
    "failed?": parsing.Each(str),
    "notes?": [str],
}
_TITLES = {
    "overall": "knob chosen by overall accuracy",
    "harmonic": "knob chosen by the harmonic mean of the splits",
    "oracle": "ORACLE: knob chosen on the test data themselves, which nobody can do",
}


def save(path: Path, found: Mapping[str, Any]) -> None:
    """Writes a comparison, whole or not at all."""
    with files.replacing(path) as temporary:
        temporary.write_text(
            json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def load(path: Path, *, points_only: bool = False) -> dict[str, Any]:
    """Reads a comparison.

    Args:
      path: The file.
      points_only: Whether the curves and the chosen points are enough, and nothing
        else that tables show need be there.

    Returns:
      What is in it, of the form that is read.

    Raises:
      UserError: If the file cannot be read, or is not one.
    """
    try:
        found = parsing.parse_json(files.read_bytes(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a comparison ({error})") from None
    try:
        if isinstance(found, dict) and found.get("methods") == {}:
            raise ValueError("no methods")
        parsing.check_form(found, _POINTS)
        lists = []
        if not points_only:
            parsing.check_form(found, _FORM)
            lists = [found["choice"]["test"]] if found.get("choice") else []
        for name, entry in found["methods"].items():
            if not entry["curve"]:
                raise ValueError(f"{name} has no points")
            points = [*entry["curve"], *entry["chosen"].values()]
            for point in points:
                lists += [point[k] for k in ("val", "test", "test_error") if k in point]
        if any(len(one) != len(accuracy.PARTS) for one in lists):
            raise ValueError(f"accuracies must be {len(accuracy.PARTS)} numbers")
    except ValueError as error:
        raise UserError(f"{path}: not a comparison ({error})") from None
    loaded: dict[str, Any] = found
    return loaded


def table(found: Mapping[str, Any]) -> str:
    """Writes a comparison as text: a table for every way to choose the knob.

    Args:
      found: The content of a `compare.json`.

    Returns:
      The tables: test accuracies and the like in percent, NLL in nats, S in percent
      and its difference from the reference with the interval.
    """
    criteria = [name for name in _TITLES if _has(found, name)]
    shown = [_table(found, criterion) for criterion in criteria]
    if found.get("choice"):
        shown.append("\n".join(_choice(found["choice"])))
    return "\n\n\n".join(shown)


def _choice(choice: Mapping[str, Any]) -> list[str]:
    """Writes what was chosen, why, how sure that is, and what came of it."""
    few, medium, many, overall = map(_percent, choice["test"])
    parts = {"few": few, "medium": medium, "many": many, "overall": overall}
    said = ", ".join(f"{name} {value}" for name, value in parts.items() if value)
    lines = [printable(str(line)) for line in choice["lines"]]
    return [*lines, f"on test data: {said}"]


def _has(found: Mapping[str, Any], criterion: str) -> bool:
    return bool(found["methods"]) and all(
        criterion in entry["chosen"] for entry in found["methods"].values()
    )


def tables_of(
    found: Mapping[str, Any],
) -> list[tuple[str, list[str], list[list[str]]]]:
    """Makes a table for every way to choose the knob.

    Args:
      found: The content of a `compare.json`.

    Returns:
      Title, headings and cells of each.
    """
    criteria = [name for name in _TITLES if _has(found, name)]
    return [_cells(found, criterion) for criterion in criteria]


def _cells(
    found: Mapping[str, Any], criterion: str
) -> tuple[str, list[str], list[list[str]]]:
    with_tradeoff = criterion == "overall"
    header = ["Method", "Knob", *(title for title, _ in _COLUMNS), "NLL"]
    reference = found["reference"]
    if with_tradeoff:
        header += ["S", printable(f"S - {reference}")]
    rows = []
    for name, entry in found["methods"].items():
        point = entry["chosen"][criterion]
        row = [name, _knob(entry, point)]
        row += [_percent(point[column]) for _, column in _COLUMNS]
        row.append(_number(point["nll"], 2))
        if with_tradeoff:
            against = found["methods"].get(reference, {}).get("tradeoff")
            row += [_percent(entry["tradeoff"]), _difference(entry, against)]
        rows.append(list(map(printable, row)))
    title = f"{printable(str(found['proper_name']))}, {_TITLES[criterion]}"
    if criterion == "overall":
        title = f"{title} ({printable(found['knobs_by'])})"
    return title, header, rows


def _table(found: Mapping[str, Any], criterion: str) -> str:
    title, header, rows = _cells(found, criterion)
    rule = "=" * (len(title) + 1)
    text = f"{title}:\n{rule}\n\n{rendering.format_table(header, rows)}"
    if criterion == "overall":
        text += (
            f"\n\nIntervals of {100 * found['level']:g} % for all differences "
            "together; * where 0 is outside. "
            "Worst: the tenth of classes that does worst. S: mean of accuracy with "
            "few weighing 0 to half."
        )
    return text


def _knob(entry: Mapping[str, Any], point: Mapping[str, Any]) -> str:
    parts = [f"{entry['knob']} {point['knob']:g}"] if entry["knob"] else []
    parts += [
        f"{_SHORT.get(name, name)} {value:g}"
        for name, value in point.get("options", {}).items()
    ]
    return ", ".join(parts)


_SHORT = {"covariance_shrinkage": "a", "l2_factor": "w x"}


def _difference(entry: Mapping[str, Any], reference: float | None) -> str:
    """Writes how much S is above that of the reference, as both are shown."""
    if "difference" not in entry:
        return ""
    one = entry["difference"]["tradeoff"]
    low, high = 100 * one["low"], 100 * one["high"]
    mark = "*" if low > 0 or high < 0 else " "
    estimate = f"{100 * one['estimate']:+.1f}"
    if reference is not None and entry["tradeoff"] is not None:
        estimate = tables.shown_change(100 * reference, 100 * entry["tradeoff"])
    return f"{estimate} ({low:+.1f}, {high:+.1f}){mark}"


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
