"""What a correction changed, class by class, in a few lines.

Notation: C classes, n samples, S runs.
"""

from collections.abc import Mapping

import numpy as np

from alphanet_jax.errors import count_of, printable
from alphanet_jax.results import accuracy
from alphanet_jax.splits import SPLITS

__all__ = ["describe_changes"]


def describe_changes(arrays: Mapping[str, np.ndarray], *, num_listed: int = 3) -> str:
    """Describes which classes gained, which lost, and which few classes gained nothing.

    Args:
      arrays: Arrays of a result.
      num_listed: How many classes to list of those that gained most, and lost most.

    Returns:
      Lines of text; changes are those of test accuracy, mean over runs.

    Examples:
      >>> y = np.array([0, 0, 1, 1, 2, 2])
      >>> print(
      ...     describe_changes(
      ...         {
      ...             "test_labels": y,
      ...             "test_pred": np.array([[0, 0, 0, 1, 2, 2]]),
      ...             "baseline_test_pred": np.array([0, 1, 1, 1, 2, 2]),
      ...             "class_counts": np.array([5, 200, 300]),
      ...             "few_classes": np.array([0]),
      ...             "medium_classes": np.array([], int),
      ...             "many_classes": np.array([1, 2]),
      ...             "label_names": np.array(["fox", "cat", "dog"]),
      ...         }
      ...     )
      ... )
      Of 1 few class, 1 gained, 0 lost; of 2 base classes, 0 gained, 1 lost.
      Gained most:  fox (few, 5 samples) 50.0 -> 100.0
      Lost most:    cat (many, 200 samples) 100.0 -> 50.0
    """
    labels, counts = arrays["test_labels"], arrays["class_counts"]
    before, after = (
        accuracy.per_class(
            accuracy.is_correct(np.atleast_2d(arrays[name]), labels),
            labels,
            num_classes=len(counts),
        ).mean(axis=0)
        for name in ("baseline_test_pred", "test_pred")
    )
    change = after - before  # NaN for classes without test samples
    split_of = {int(c): s for s in SPLITS for c in arrays[f"{s}_classes"]}
    names = arrays["label_names"]

    def line(label: int) -> str:
        name = printable(str(names[label])) if len(names) else f"class {label}"
        size = count_of(int(counts[label]), "sample")
        return (
            f"{name} ({split_of[label]}, {size}) "
            f"{100 * before[label]:.1f} -> {100 * after[label]:.1f}"
        )

    few = np.isin(np.arange(len(counts)), arrays["few_classes"])
    counted = {"few": few, "base": ~few}
    parts = []
    for what, chosen in counted.items():
        gained, lost = (change[chosen] > 0).sum(), (change[chosen] < 0).sum()
        size = int(chosen.sum())
        parts.append(
            f"of {size} {what} class{'es' * (size != 1)}, {gained} gained, {lost} lost"
        )
    lines = [f"{'; '.join(parts).capitalize()}."]
    order = np.argsort(-change, kind="stable")
    order = order[~np.isnan(change[order])]
    best = [c for c in order[:num_listed].tolist() if change[c] > 0]
    worst = [c for c in order[::-1][:num_listed].tolist() if change[c] < 0]
    for title, listed in (("Gained most:", best), ("Lost most:", worst)):
        for number, label in enumerate(listed):
            lines.append(f"{title if number == 0 else '':<13} {line(label)}")
    return "\n".join(lines)
