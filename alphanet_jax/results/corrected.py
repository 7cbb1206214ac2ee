"""The corrected classifiers that a result holds, one for each seed, and their mean.

Notation: S seeds, F 'few' classes, C classes, d feature dimensions, k neighbors.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

__all__ = [
    "Head",
    "Which",
    "choose",
    "classifier_arrays",
    "classifier_shape",
    "corrected_head",
    "fits_classifier",
    "has_validation",
    "largest_neighbors",
    "make_weight_few",
    "remark_on_harm",
    "remark_on_harms",
    "val_accuracy",
]

# Which seed's classifier: the best on validation data, their mean, or one of them.
Which = Literal["best", "mean"] | int

# How far new rows may be from the combinations that they are, relative to their size.
_SAME = 1e-4


class Head(NamedTuple):
    """A linear classifier: the logits of features x are `x @ weight.T + bias`."""

    weight: np.ndarray  # shape=(C, d), float32
    bias: np.ndarray  # shape=(C,), float32


def classifier_arrays(method: str) -> tuple[str, ...]:
    """Lists the arrays of a result that hold the weights of a method's classifiers."""
    if method == "alphanet":
        return ("weight_few",)
    return ("weight", "bias", "original_weight", "original_bias")


def classifier_shape(arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """Returns the numbers of classes and of features of a result's classifiers."""
    few = arrays["weight" if "method" in arrays else "weight_few"]
    return len(arrays["class_counts"]), few.shape[-1]


def has_validation(arrays: Mapping[str, np.ndarray]) -> bool:
    """Returns whether a result has accuracies on validation data."""
    return bool(np.isfinite(arrays["baseline_val_accuracy"]))


def val_accuracy(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Computes each seed's overall validation accuracy at its selected epoch.

    Args:
      arrays: Arrays of a result.

    Returns:
      Fractions, with shape `[S]`; NaN without validation data or training.
    """
    epochs = arrays["selected_epoch"]
    if not arrays["val_accuracy"].shape[1]:
        return np.full(len(epochs), np.nan)
    return np.asarray(arrays["val_accuracy"][np.arange(len(epochs)), epochs])


def choose(arrays: Mapping[str, np.ndarray], seed: Which) -> int | None:
    """Chooses one of the seeds.

    Args:
      arrays: Arrays of a result.
      seed: 'best': the seed with the highest validation accuracy, the first of
        equals, or the mean where there is no validation data; 'mean'; or one of the
        seeds.

    Returns:
      Index of the seed; None for the mean of all.

    Raises:
      ValueError: If there is no such seed.
    """
    seeds = arrays["seeds"]
    if seed == "best":
        accuracies = val_accuracy(arrays)
        known = has_validation(arrays) and np.isfinite(accuracies).any()
        return int(np.nanargmax(accuracies)) if known else None
    if seed == "mean":
        return None
    if isinstance(seed, str):
        raise ValueError(f"seed must be 'best', 'mean' or a seed, got {seed!r}.")
    places = np.flatnonzero(seeds == seed)
    if not len(places):
        raise ValueError(f"seed must be one of {seeds.tolist()}, got {seed!r}.")
    return int(places[0])


def corrected_head(
    original: Head, arrays: Mapping[str, np.ndarray], seed: Which = "best"
) -> Head:
    """Builds a corrected classifier.

    Args:
      original: The classifier before.
      arrays: Arrays of a result.
      seed: As `choose` takes it.

    Returns:
      The classifier; AlphaNet's differs from the original's in the weights of few
      classes alone.

    Raises:
      ValueError: If there is no such seed.
    """
    index = choose(arrays, seed)
    if "method" in arrays:
        return Head(arrays["weight"].copy(), arrays["bias"].copy())
    weight_few = arrays["weight_few"]
    weight = original.weight.copy()
    weight[arrays["few_classes"]] = (
        weight_few.mean(axis=0, dtype=np.float64)
        if index is None
        else weight_few[index]
    )
    return Head(weight, original.bias.copy())


def remark_on_harm(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Returns a line where a correction costs accuracy on validation data.

    Args:
      arrays: Arrays of a result.

    Returns:
      The line; None where the seeds' mean accuracy is at least that of the unchanged
      classifier, or there is no validation data.
    """
    return remark_on_harms({"the corrected classifier": arrays})


def remark_on_harms(rows: Mapping[str, Mapping[str, np.ndarray]]) -> str | None:
    """Does what `remark_on_harm` does for several results of one dataset.

    Args:
      rows: Arrays of results by what to call them; of `val_accuracy`,
        `baseline_val_accuracy`, `selected_epoch` nothing else is looked at.

    Returns:
      One line that names those that are worse than the unchanged classifier.
    """
    worse, before = [], 0.0
    for name, arrays in rows.items():
        accuracies = val_accuracy(arrays)
        if not has_validation(arrays) or not np.isfinite(accuracies).any():
            continue
        before = float(arrays["baseline_val_accuracy"])
        mean, best = float(np.nanmean(accuracies)), float(np.nanmax(accuracies))
        if mean < before:
            several = f" (mean of {len(accuracies)} seeds, the best {100 * best:.2f})"
            shown = f"{name}, {100 * mean:.2f}"
            worse.append(shown + several * (len(accuracies) > 1))
    if not worse:
        return None
    of_alphanet = not any("method" in arrays for arrays in rows.values())
    return (
        "note: on validation data the unchanged classifier gets "
        f"{100 * before:.2f} overall, more than {'; '.join(worse)}"
        + "; a larger rho costs the base classes less" * of_alphanet
        + "; `compare` shows other corrections"
    )


def fits_classifier(
    arrays: Mapping[str, np.ndarray], weight: np.ndarray, *, eps: float = 0.0
) -> bool:
    """Returns whether a classifier is the one that a result was made with.

    AlphaNet's new rows are combinations of the classifier's; other results have its
    weights.

    Args:
      arrays: Arrays of a result.
      weight: Weights of a classifier that may be the one before, with shape `[C, d]`.
      eps: Relative rounding of these.
    """
    if "method" in arrays:
        before = arrays["original_weight"]
        if weight.shape != before.shape:
            return False
        largest = (_SAME * 1e-2 + 4 * eps) * float(np.abs(before).max(initial=0))
        return bool((np.abs(weight - before) <= largest).all())
    weight_few = arrays["weight_few"]
    if weight.shape != classifier_shape(arrays):
        return False
    sizes = np.abs(weight_few)
    same = (_SAME + 4 * eps) * float(sizes[np.isfinite(sizes)].max(initial=0))
    return all(
        bool((np.abs(make_weight_few(weight, arrays, i) - rows) <= same).all())
        for i, rows in enumerate(weight_few)
        if np.isfinite(rows).all()
    )


def make_weight_few(
    weight: np.ndarray, arrays: Mapping[str, np.ndarray], index: int
) -> np.ndarray:
    """Computes new weights of the few classes from the coefficients of a result.

    Args:
      weight: Weights of the classifier before, with shape `[C, d]`.
      arrays: Arrays of the result.
      index: Index of the seed.

    Returns:
      The weights, with shape `[F, d]`: those in the result, if the classifier is the
      one that it was made with.
    """
    alphas, neighbors = arrays["alphas"][index], arrays["neighbors"]
    if neighbors.ndim == 3:  # version 0.1 wrote an axis of length 1 for all seeds
        neighbors = neighbors[index if len(neighbors) > 1 else 0]
    sources = np.column_stack([arrays["few_classes"], neighbors])
    made = np.zeros((len(sources), weight.shape[1]))
    for coefficients, classes in zip(alphas.T, sources.T, strict=True):
        made += coefficients[:, None].astype(np.float64) * weight[classes]
    return made


def largest_neighbors(
    weight: np.ndarray, arrays: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Computes the norm of each few class's largest neighbor.

    No row of a few class moves further than that: the coefficients of the neighbors
    have absolute values that sum to one.

    Args:
      weight: Weights of the classifier before, with shape `[C, d]`.
      arrays: Arrays of the result.

    Returns:
      The norms, with shape `[F]`; of all seeds' neighbors the largest.
    """
    norms = np.linalg.norm(weight.astype(np.float64), axis=1)[arrays["neighbors"]]
    if norms.ndim == 3:
        norms = norms.max(axis=0)
    return np.asarray(norms.max(axis=1))
