"""The splits of classes by their number of training samples.

'Few' are the rare classes, which AlphaNet mends; 'medium' and 'many' together are the
'base' classes, from which it takes neighbors.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["SPLITS", "base_classes", "splits_from_counts"]

# In the order of every array and table with an axis of splits.
SPLITS = ("few", "medium", "many")


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
    counts: ArrayLike, *, few_below: float = 20, many_above: float = 100
) -> dict[str, np.ndarray]:
    """Splits classes by their number of training samples, as the field does.

    Args:
      counts: Training samples of every class, with shape `[C]`.
      few_below: Classes with fewer samples are 'few'.
      many_above: Classes with more samples are 'many'; the others are 'medium'.

    Returns:
      Class ids of 'few', 'medium' and 'many', ascending.

    Raises:
      ValueError: If the limits are in the wrong order.

    Examples:
      >>> found = splits_from_counts([500, 19, 20, 100, 101])
      >>> {name: classes.tolist() for name, classes in found.items()}
      {'few': [1], 'medium': [2, 3], 'many': [0, 4]}
    """
    counts = np.asarray(counts)
    if not few_below <= many_above + 1:
        raise ValueError(
            "few_below must not be past many_above, got "
            f"few_below={few_below} and many_above={many_above}."
        )
    few, many = counts < few_below, counts > many_above
    return {
        "few": np.flatnonzero(few),
        "medium": np.flatnonzero(~few & ~many),
        "many": np.flatnonzero(many),
    }
