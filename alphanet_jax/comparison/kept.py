"""Curves that are kept on disk, so that no method is judged twice."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files, parsing
from alphanet_jax.comparison.judging import Chosen, Curve
from alphanet_jax.errors import UserError

__all__ = ["key_of", "load", "load_or_make", "save"]

_ARRAYS = ("knobs", "val", "test", "correct", "val_correct")
_TEXTS = ("name", "linear", "source", "knob_name", "choices")
_FORM = {
    "key": str,
    "name": str,
    "linear": bool,
    "source": str,
    "knob_name": str,
    "choices": [dict],
    "chosen": parsing.Each(
        {"index": int, "metrics": parsing.Each((float, type(None)))}
    ),
}


def key_of(facts: Mapping[str, Any]) -> str:
    """Computes a text that differs where anything that a curve depends on does."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, curve: Curve, key: str) -> None:
    """Writes a curve, whole or not at all."""
    facts = {name: getattr(curve, name) for name in _TEXTS}
    facts["choices"] = [dict(choice) for choice in curve.choices]
    facts["key"] = key
    facts["chosen"] = {
        name: {"index": each.index, "metrics": dict(each.metrics)}
        for name, each in curve.chosen.items()
    }
    arrays = {name: getattr(curve, name) for name in _ARRAYS}
    arrays["facts"] = np.asarray(json.dumps(facts))
    for name, each in curve.chosen.items():
        arrays[f"correct_{name}"] = each.correct
    with files.replacing(path) as temporary:
        files.write_npz(temporary, arrays)


def load(path: Path, key: str) -> Curve | None:
    """Reads a curve; None if there is none, or one of anything else."""
    try:
        arrays = files.open_npz(path)
        facts = parsing.parse_json(str(arrays["facts"]))
        parsing.check_form(facts, _FORM)
        if facts["key"] != key:
            return None
        chosen = {
            name: Chosen(correct=arrays[f"correct_{name}"], **each)
            for name, each in facts["chosen"].items()
        }
        values: dict[str, Any] = {name: facts[name] for name in _TEXTS}
        values |= {name: arrays[name] for name in _ARRAYS}
        return Curve(**values, chosen=chosen)
    # One that is damaged is made anew.
    except (KeyError, TypeError, UserError, ValueError):
        return None


def load_or_make(
    path: Path,
    key: str,
    make: Callable[[], Curve],
    *,
    on_unsaved: Callable[[str], None],
) -> Curve:
    """Reads a curve, or makes it and writes it.

    Args:
      path: Its file.
      key: See `key_of`.
      make: Makes it.
      on_unsaved: Takes a line where it cannot be written, which loses nothing but the
        time to make it again.
    """
    found = load(path, key)
    if found is None:
        found = make()
        try:
            save(path, found, key)
        except OSError as error:
            on_unsaved(f"{path} cannot be written: {error.strerror or error}")
    return found
