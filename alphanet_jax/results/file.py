"""The result of an experiment: one `.npz` file, readable with NumPy alone.

Notation: S seeds, E epochs, F 'few' classes, C classes, k neighbors, d feature
dimensions, n test samples. Arrays of the file:

    seeds (S,)   dataset ()   proper_name ()   label_names (C,), empty if there are none
    few_classes (F,)   medium_classes   many_classes   class_counts (C,)
    neighbors (F, k)   neighbor_distances (F, k); (S, F, k) where each seed has its own
    alphas (S, F, k + 1)   weight_few (S, F, d)   selected_epoch (S,), from 0
    epoch_loss (S, E)   epoch_mean_alphas (S, E, k + 1)
    learning_rate (E,)   momentum (E,), empty where the schedule leaves it alone
    val_accuracy, val_top5, val_f1 (S, E)   val_acc_per_split (S, E, 3)
    test_accuracy, test_top5, test_f1 (S,)   test_acc_per_split (S, 3)
    test_acc_per_class (S, C)   test_pred (S, n)   test_labels (n,)
    baseline_val_*, baseline_test_*   the same for the unchanged classifier
    config ()   versions ()   file_hashes ()   JSON text

Splits come in the order few, medium, many. Accuracies are fractions; NaN stands where
there are no samples, as everywhere in `val_*` without validation data. The new weight
of class `few_classes[i]` is `weight_few[seed, i]`; all else of the classifier stays.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import __version__, files
from alphanet_jax.config.compare import config_differences
from alphanet_jax.errors import UserError

__all__ = [
    "FILE_NAME",
    "differences",
    "load_result",
    "save_result",
]

FILE_NAME = "result.npz"


def save_result(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a result file, whole or not at all; equal arrays give equal bytes."""
    with files.replacing(path) as temporary:
        files.write_npz(temporary, arrays)


def differences(
    path: Path, *, config: Mapping[str, Any], file_hashes: Mapping[str, str]
) -> list[str] | None:
    """Compares a result file with what a run would be made with.

    Args:
      path: The result file.
      config: The full configuration of the run.
      file_hashes: SHA-256 of its input files.

    Returns:
      Each difference in a few words; an empty list where the run is done already,
      and None where there is no result.
    """
    if not path.exists():
        return None
    try:
        arrays = files.open_npz(path, ("config", "file_hashes", "versions"))
        found = {name: json.loads(str(array)) for name, array in arrays.items()}
        told = config_differences(found["config"], config)
        made_with = found["versions"]["alphanet_jax"]
        old_hashes = sorted(found["file_hashes"].values())
    except (UserError, ValueError, KeyError):
        return ["the file cannot be read"]
    if old_hashes != sorted(file_hashes.values()):
        told.append("other input files")
    if made_with != __version__:
        told.append(f"alphanet_jax {made_with}, now {__version__}")
    return told


def load_result(
    path: Path, names: Sequence[str] | None = None, *, without: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Reads a result file, or some of its arrays.

    Args:
      path: The file.
      names: Names of the arrays to read; by default all.
      without: Names of arrays not to read.

    Raises:
      UserError: If it is missing, damaged or not a result.
    """
    arrays = files.open_npz(path, names, without=without)
    needed = names or ("alphas", "test_acc_per_split", "config")
    if missing := set(needed) - arrays.keys():
        raise UserError(f"{path}: not a result: {sorted(missing)} missing")
    return arrays
