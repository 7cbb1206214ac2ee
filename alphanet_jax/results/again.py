"""A result beside another of the same settings: what is equal, and what is not."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from alphanet_jax.results import accuracy, recorded

__all__ = ["Comparison", "compare_results", "differences", "spread"]

# What says where and with what a result was made, not what came of it.
_OF_MACHINE = ("config", "versions", "file_hashes")


class Comparison(NamedTuple):
    """What of two results is equal.

    Attributes:
      equal: Names of arrays that are equal to the last bit.
      different: What is different in other arrays, in a few words, by their names.
      missing: Names of arrays that one of the two does not have.
      versions: What is different in the software, in a few words each.
      predictions: How many predictions of test samples differ, and of how many.
      accuracy: The largest change of a run's accuracy of few, medium, many and all,
        in percentage points.
    """

    equal: tuple[str, ...]
    different: Mapping[str, str]
    missing: tuple[str, ...]
    versions: tuple[str, ...]
    predictions: tuple[int, int]
    accuracy: Mapping[str, float]

    @property
    def verdict(self) -> str:
        """What that comes to, in a sentence."""
        if not self.different:
            return "the same, to the last bit"
        if not self.predictions[0]:
            return "the same predictions; numbers differ in their last digits"
        return "other predictions"


def compare_results(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> Comparison:
    """Compares two results of the same settings and data.

    Args:
      before: Arrays of a result, as a file has them.
      after: Those of the other.

    Examples:
      >>> one = {"seeds": np.arange(2), "test_pred": np.array([[0, 1], [1, 1]])}
      >>> two = {"seeds": np.arange(2), "test_pred": np.array([[0, 1], [1, 0]])}
      >>> compare_results(one, two).different
      {'test_pred': '1 of 4 differ'}
    """
    names = [name for name in before if name in after and name not in _OF_MACHINE]
    different = differences(before, after, names)
    missing = sorted((before.keys() ^ after.keys()) - {*_OF_MACHINE})
    return Comparison(
        equal=tuple(name for name in names if name not in different),
        different=different,
        missing=tuple(missing),
        versions=tuple(_versions(before, after)),
        predictions=_predictions(before, after),
        accuracy=_accuracies(before, after),
    )


def differences(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    names: Collection[str],
) -> dict[str, str]:
    """Says of some arrays that both results have how they differ, if they do."""
    return {
        name: text
        for name in names
        if name in before and name in after
        if (text := _difference(np.asarray(before[name]), np.asarray(after[name])))
    }


def spread(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, tuple[float, np.ndarray]]:
    """Puts the accuracy of a run beside those of several others.

    Args:
      before: Arrays of a result with one run.
      after: Those of one with several, S of them.

    Returns:
      Of few, medium, many and all that have samples, in percent: the accuracy of the
      one run; and those of the others, with shape `[S]`.
    """
    found = {}
    for place, part in enumerate(accuracy.PARTS):
        one, others = (
            100 * np.asarray(arrays["test_acc_per_split"], np.float64)[:, place]
            if place < 3
            else 100 * np.asarray(arrays["test_accuracy"], np.float64)
            for arrays in (before, after)
        )
        if np.isfinite(one).all() and np.isfinite(others).all():
            found[part] = (float(one.mean()), others)
    return found


def _difference(one: np.ndarray, other: np.ndarray) -> str:
    """Says how two arrays differ; an empty text if they do not."""
    if one.shape != other.shape:
        return f"shape {one.shape}, now {other.shape}"
    both = one.dtype.kind == other.dtype.kind == "f"
    if np.array_equal(one, other, equal_nan=both):
        return ""
    if one.dtype.kind in "iuUb" or other.dtype.kind in "iuUb":
        return f"{int((one != other).sum())} of {one.size} differ"
    apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
    if np.isnan(apart).any() and not (np.isnan(one) == np.isnan(other)).all():
        return "one of them has no number where the other has"
    return f"at most {np.nanmax(apart):.2g} apart"


def _versions(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> list[str]:
    if "versions" not in before or "versions" not in after:
        return []
    old, new = (recorded.versions_of(str(a["versions"])) for a in (before, after))
    return [
        f"{name} {old.get(name, '-')}, now {new.get(name, '-')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


def _predictions(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> tuple[int, int]:
    one, other = before.get("test_pred"), after.get("test_pred")
    if one is None or other is None:
        return 0, 0
    if one.shape != other.shape:
        return one.size, one.size
    return int((one != other).sum()), one.size


def _accuracies(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Computes the largest change of each part's accuracy over runs."""
    found = {}
    for place, part in enumerate(accuracy.PARTS):
        name = "test_acc_per_split" if place < 3 else "test_accuracy"
        if name not in before or name not in after:
            continue
        one, other = (np.asarray(arrays[name]) for arrays in (before, after))
        if one.shape != other.shape:
            continue
        changed = other - one
        changed = changed[..., place] if place < 3 else changed
        if np.isfinite(changed).any():
            largest = np.nanargmax(np.abs(changed))
            found[part] = float(100 * changed.flat[largest])
    return found
