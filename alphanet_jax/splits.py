"""The splits of classes by their number of training samples.

'Few' are the rare classes, which AlphaNet mends; 'medium' and 'many' together are the
'base' classes, from which it takes neighbors.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax.errors import UserError, count_of

__all__ = [
    "FEW_BELOW",
    "MANY_ABOVE",
    "SPLITS",
    "OneSplitError",
    "base_classes",
    "check_limit",
    "describe_splits",
    "splits_from_counts",
]


class OneSplitError(UserError):
    """All classes are few, or none is: there is nothing to correct."""


# In the order of every array and table with an axis of splits.
SPLITS = ("few", "medium", "many")
# The field's convention.
FEW_BELOW, MANY_ABOVE = 20, 100


def base_classes(splits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Lists the base classes, in ascending order.

    Args:
      splits: Class ids of 'few', 'medium' and 'many'.

    Examples:
      >>> base_classes({"few": [1], "medium": [2, 3], "many": [0]}).tolist()
      [0, 2, 3]
    """
    return np.sort(np.concatenate([splits["medium"], splits["many"]]))


def splits_from_counts(
    counts: ArrayLike,
    *,
    few_below: int | float | str = FEW_BELOW,
    many_above: int | float | str = MANY_ABOVE,
) -> dict[str, np.ndarray]:
    """Computes the splits of classes from their numbers of training samples.

    Args:
      counts: Number of training samples of every class, with shape `[C]`.
      few_below: Classes with fewer samples than this are 'few': a number, or a
        quantile of the counts such as '25%'.
      many_above: Classes with more samples than this are 'many'; all others are
        'medium'.

    Returns:
      Class ids of 'few', 'medium' and 'many', each ascending, int32.

    Raises:
      UserError: If there would be no few classes or no others, or the limits are not
        right; says what the counts are.
      ValueError: If counts are not a list of numbers.

    Examples:
      >>> found = splits_from_counts([500, 50, 5, 19, 101])
      >>> {name: ids.tolist() for name, ids in found.items()}
      {'few': [2, 3], 'medium': [1], 'many': [0, 4]}
      >>> found = splits_from_counts([9, 5, 7, 6], few_below="25%", many_above="75%")
      >>> {name: ids.tolist() for name, ids in found.items()}
      {'few': [1], 'medium': [2, 3], 'many': [0]}
    """
    numbers = np.asarray(counts)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iuf":
        raise ValueError(
            f"counts must be a list of numbers, got {numbers.dtype} of shape "
            f"{numbers.shape}."
        )
    low = _limit("few_below", few_below, numbers)
    high = _limit("many_above", many_above, numbers)
    if low > high + 1:
        raise UserError(
            f"few_below must not be more than many_above, got {few_below} and "
            f"{many_above} ({low:g} and {high:g} samples)"
        )
    few, many = numbers < low, numbers > high
    masks = zip(SPLITS, (few, ~(few | many), many), strict=True)
    splits = {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks}
    if few.all() or not few.any():
        what = "all classes are few" if few.all() else "no class is few"
        span = f"{numbers.min():g} to {numbers.max():g}"
        raise OneSplitError(
            f"{what}: classes have {span} training samples, few_below is {few_below}; "
            f"{_advice(numbers)}"
        )
    return splits


def _advice(counts: np.ndarray) -> str:
    """Says which limit leaves few classes and others."""
    distinct = np.unique(counts)
    if len(distinct) == 1:
        return "with equal counts there is no limit, so list the classes of each split"
    low = distinct[max(1, len(distinct) // 3)]
    return (
        "choose another within these counts, or a quantile of them; "
        f"few_below={low:g} would do"
    )


def check_limit(name: str, value: int | float | str) -> tuple[float, bool]:
    """Checks what limits a split.

    Args:
      name: What to call it.
      value: A number of samples, or a quantile of the counts such as '25%'.

    Returns:
      The number, and whether it is a quantile in percent.

    Raises:
      UserError: If it is neither.

    Examples:
      >>> check_limit("few_below", 20), check_limit("few_below", "25%")
      ((20.0, False), (25.0, True))
    """
    text = str(value).strip()
    is_quantile = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        number = math.nan
    # What is not a number is not in any range.
    if isinstance(value, bool) or not 0 <= number <= (100 if is_quantile else math.inf):
        raise UserError(
            f"{name} must be a number of samples, such as 20, or a quantile of the "
            f"counts, such as '25%', got {value!r}"
        )
    return number, is_quantile


def _limit(name: str, value: int | float | str, counts: np.ndarray) -> float:
    """Computes the number of samples that a limit stands for."""
    number, is_quantile = check_limit(name, value)
    return float(np.quantile(counts, number / 100)) if is_quantile else number


def describe_splits(splits: Mapping[str, np.ndarray], counts: np.ndarray) -> str:
    """Says how many classes and samples each split has.

    Args:
      splits: Class ids of 'few', 'medium' and 'many'.
      counts: Number of training samples of every class, with shape `[C]`.

    Examples:
      >>> describe_splits({"few": [1], "many": [0, 2]}, np.array([30, 5, 31]))
      'few 1 class with 5 samples, many 2 classes with 61 samples'
    """
    parts = []
    for name, classes in splits.items():
        number = len(classes)
        shown = f"{number:,} class" if number == 1 else f"{number:,} classes"
        samples = count_of(int(counts[classes].sum()), "sample")
        parts.append(f"{name} {shown} with {samples}")
    return ", ".join(parts)
