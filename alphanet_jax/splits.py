"""The splits of classes by their number of training samples.

'Few' are the rare classes, which AlphaNet mends; 'medium' and 'many' together are the
'base' classes, from which it takes neighbors.
"""

from collections.abc import Mapping

import numpy as np

__all__ = ["SPLITS", "base_classes"]

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
