"""A changed head as it was stored: transposed, scaled, in experts, of its dtype.

It undoes what reading a head folds in, for the rows that changed and no others.

Notation: R changed rows, C classes, d feature dimensions, m experts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphanet_jax.data.heads.contents import Contents, read_contents
from alphanet_jax.data.heads.forms import HeadForm
from alphanet_jax.data.heads.keys import shown
from alphanet_jax.errors import UserError

__all__ = ["Change", "Part", "stored_arrays"]

# How far from one the norm of a row may be for a layer that normalizes it.
_UNIT = 1e-3
_EPSILON = 1e-12  # as in `heads.reading`


class Part(NamedTuple):
    """A head in its file, or one of several experts."""

    path: Path
    form: HeadForm


class Change(NamedTuple):
    """The rows of a head that change, as they are used."""

    classes: np.ndarray  # shape=(R,)
    old: np.ndarray  # shape=(R, d)
    new: np.ndarray  # shape=(R, d)
    bias: np.ndarray  # shape=(R,): what is added to the biases


class _Stored(NamedTuple):
    """The arrays of a part, as they are in its file."""

    part: Part
    weight: np.ndarray
    bias: np.ndarray | None
    scales: np.ndarray | None
    gains: np.ndarray | None

    @property
    def num_features(self) -> int:
        """Number of feature dimensions that it takes."""
        axis = 0 if self.part.form.transposed else 1
        return int(np.prod(self.weight.shape[axis:])) if axis else len(self.weight)


def stored_arrays(
    parts: Sequence[Part], change: Change
) -> dict[Path, dict[str, np.ndarray]]:
    """Computes the arrays of a checkpoint in which some rows of its head are others.

    Of several experts with features of their own, side by side, the head is the mean:
    each gets m times its part of a row. Where all take the same features, each is
    changed by as much as their mean.

    Args:
      parts: The head as it is stored, or its experts in order.
      change: The rows that change.

    Returns:
      For each file the arrays that change by key, of the shapes and dtypes in it.

    Raises:
      UserError: If such rows cannot be stored in that way.
    """
    contents = {part.path: read_contents(part.path) for part in parts}
    stored = [_load(contents[part.path], part) for part in parts]
    found: dict[Path, dict[str, np.ndarray]] = {part.path: {} for part in parts}
    shares = len(parts) > 1 and parts[0].form.shares_features
    start = 0
    for each in stored:
        stop = start + each.num_features
        if shares:
            moved = change.new.astype(np.float64) - change.old
            rows = _used_rows(each, change.classes) + moved
        else:
            rows = len(parts) * change.new[:, start:stop].astype(np.float64)
            start = stop
        arrays = _put_rows(each, change.classes, rows)
        if change.bias.any():
            arrays |= _put_bias(each, change)
        found[each.part.path] |= arrays
    return found


def _load(contents: Contents, part: Part) -> _Stored:
    def load(key: str | None) -> np.ndarray | None:
        return None if key is None else contents.tensors[key].load()

    form = part.form
    return _Stored(
        part,
        contents.tensors[form.weight_key].load(),
        load(form.bias_key),
        load(form.scales_key),
        load(form.gain_key),
    )


def _scales(stored: _Stored, classes: np.ndarray) -> np.ndarray:
    """Returns the factors of some logits, with shape `[R]`."""
    if stored.scales is None:
        return np.ones(len(classes))
    scales = stored.scales.astype(np.float64).reshape(-1)
    chosen = scales[classes] if len(scales) > 1 else np.repeat(scales, len(classes))
    if not (np.isfinite(chosen) & (chosen != 0)).all():
        raise UserError(
            f"{stored.part.path}: {shown(str(stored.part.form.scales_key))} has zeros "
            "for classes that change; no weight gives them other logits"
        )
    return chosen


def _used_rows(stored: _Stored, classes: np.ndarray) -> np.ndarray:
    """Returns rows as they are used, with shape `[R, d]`: normalized, scaled."""
    weight = stored.weight
    chosen = weight[:, classes].T if stored.part.form.transposed else weight[classes]
    rows: np.ndarray = np.array(chosen, np.float64).reshape(len(classes), -1)
    if stored.gains is not None:
        gains = stored.gains.astype(np.float64).reshape(-1, 1)[classes]
        rows = _unit_rows(rows) * gains
    if stored.part.form.normalized:
        rows = _unit_rows(rows)
    rows *= _scales(stored, classes)[:, None]
    return rows


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, _EPSILON))


def _put_rows(
    stored: _Stored, classes: np.ndarray, rows: np.ndarray
) -> dict[str, np.ndarray]:
    """Puts rows, as they are used, into the arrays of a part."""
    form, path = stored.part.form, stored.part.path
    rows = rows / _scales(stored, classes)[:, None]
    norms = np.linalg.norm(rows, axis=1)
    arrays = {}
    if form.normalized and (np.abs(norms - 1) > _UNIT).any():
        raise UserError(
            f"{path}: {shown(form.weight_key)} is normalized when it is used, which "
            f"would take the lengths of the corrected rows away ({norms.min():.3g} to "
            f"{norms.max():.3g}, not 1); export without --into, and give the model a "
            "layer that takes weights as they are"
        )
    if stored.gains is not None and form.gain_key is not None:
        gains = stored.gains.copy()
        gains.reshape(-1)[classes] = norms.astype(gains.dtype)
        arrays[form.gain_key] = gains
    weight = stored.weight.copy(order="K")
    with np.errstate(over="ignore"):  # infinite, which is refused
        cast = rows.astype(np.float32).astype(weight.dtype)
    if not np.isfinite(cast.astype(np.float32)).all():
        raise UserError(
            f"{path}: the corrected rows of {shown(form.weight_key)} are too large "
            f"for {form.dtype}"
        )
    if form.transposed:
        weight[:, classes] = cast.T.reshape(-1, len(classes))
    else:
        weight[classes] = cast.reshape(len(classes), *weight.shape[1:])
    return {form.weight_key: weight, **arrays}


def _put_bias(stored: _Stored, change: Change) -> dict[str, np.ndarray]:
    """Adds to the biases of a part."""
    form = stored.part.form
    if stored.bias is None or form.bias_key is None:
        raise UserError(
            f"{stored.part.path}: there is no bias beside {shown(form.weight_key)}, "
            "and the corrected classifier has another; export without --into"
        )
    bias = stored.bias.copy(order="K")
    added = change.bias / _scales(stored, change.classes)
    bias.reshape(-1)[change.classes] += added.astype(bias.dtype)
    return {form.bias_key: bias}
