"""A corrected classifier with rows for classes that came later.

Notation: n samples, d feature dimensions, C classes before, m new classes, k neighbors.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax.data import checks
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, count_of
from alphanet_jax.results import predictions, saved_heads
from alphanet_jax.results.corrected import Head
from alphanet_jax.results.rendering import format_table

__all__ = ["Extended", "ExtendedReport"]

_ROWS = {
    "given": "as given",
    "fitted": "fitted",
    "from means": "made of class means",
}


class ExtendedReport(NamedTuple):
    """Accuracy before and after, of new classes and of others; prints as a table."""

    before: Mapping[str, float]  # fractions by 'new', 'few', 'base', 'overall'
    after: Mapping[str, float]

    def __str__(self) -> str:
        def cells(row: Mapping[str, float]) -> list[str]:
            return ["-" if v != v else f"{100 * v:.1f}" for v in row.values()]

        return format_table(
            ["Accuracy (%)", *(name.capitalize() for name in self.before)],
            [["Before", *cells(self.before)], ["Extended", *cells(self.after)]],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Extended:
    """What `add_classes` returns: a classifier of C + m classes, and how it was made.

    Attributes:
      before: The corrected classifier, of C classes.
      head: The extended one; its first C rows are those of `before`.
      splits: Class ids of 'few', 'medium' and 'many', and of 'new'.
      names: Names of all classes; numbers where they have none.
      counts: Samples of each new class, with shape `[m]`.
      rows: What own rows of new classes are: 'given'; 'fitted' to all samples; or made
        'from means' of classes.
      combined: Whether networks combined them with those of neighbors.
      neighbors: Classes that new ones borrow from, nearest first, with shape `[m, k]`.
      coefficients: How much they do: the network's, mean over seeds; or those of the
        prior of fitted rows; NaN where nothing is borrowed. Shape `[m, k]`.
    """

    before: Head
    head: Head
    splits: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    counts: np.ndarray
    rows: Literal["given", "fitted", "from means"]
    combined: bool
    neighbors: np.ndarray
    coefficients: np.ndarray

    def __repr__(self) -> str:
        how = _ROWS[self.rows] + ", combined by the network" * self.combined
        return (
            f"{count_of(len(self.counts), 'new row')} of {len(self.head.weight)}, {how}"
        )

    def table(self, *, most: int = 5) -> str:
        """Lists new classes: number, name, samples, and what they borrow from whom.

        Args:
          most: How many neighbors to list.
        """
        first = len(self.before.weight)
        lines = []
        for index, (count, classes, shares) in enumerate(
            zip(self.counts, self.neighbors, self.coefficients, strict=True)
        ):
            listed = [
                self.names[label] + ("" if share != share else f" {share:+.2f}")
                for label, share in zip(classes[:most], shares[:most], strict=True)
            ]
            name = self.names[first + index]
            lines.append([name, str(first + index), str(count), ", ".join(listed)])
        # The last column is text: to the left, as the first.
        widest = max(len(line[-1]) for line in lines)
        heading = (
            "Nearest classes" if np.isnan(self.coefficients).all() else "Borrows from"
        )
        rows = [[*line[:-1], line[-1].ljust(widest)] for line in lines]
        return format_table(["New class", "Id", "Samples", heading.ljust(widest)], rows)

    def explain(self, label: int | str) -> str:
        """Explains the row of a new class.

        Args:
          label: The class's number or name.

        Raises:
          UserError: If there is no such new class.
        """
        first = len(self.before.weight)
        known = {str(first + i): i for i in range(len(self.counts))}
        known |= {self.names[first + i]: i for i in range(len(self.counts))}
        if str(label) not in known:
            raise UserError(
                f"no new class {str(label)!r}; new are {', '.join(self.names[first:])}"
            )
        index = known[str(label)]
        how = _ROWS[self.rows]
        if self.combined:
            how += ", combined with rows of its nearest base classes by the network"
        lines = [
            f"{self.names[first + index]} (class {first + index}, "
            f"{count_of(int(self.counts[index]), 'sample')}): row {how}"
        ]
        width = max(len(self.names[near]) for near in self.neighbors[index])
        for near, share in zip(
            self.neighbors[index], self.coefficients[index], strict=True
        ):
            shown = "" if share != share else f"  {share:+.3f}"
            lines.append(f"  {self.names[near]:<{width}}{shown}".rstrip())
        return "\n".join(lines)

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Predicts the classes of features, with shape `[n]`."""
        return predictions.predict(self.head, features)

    def report(self, features: ArrayLike, labels: ArrayLike) -> ExtendedReport:
        """Computes accuracy of new, few and base classes on some samples.

        Args:
          features: Features, with shape `[n, d]`.
          labels: Their classes; new ones are C, C + 1, ...

        Returns:
          The accuracies before, without samples of new classes, and after; NaN where
          there are no samples.

        Raises:
          UserError: If labels are not right.
        """
        rows = as_numpy(features)
        truth = checks.check_labels(
            "labels",
            as_numpy(labels),
            num_samples=len(rows),
            num_classes=len(self.head.weight),
        )
        base = np.concatenate([self.splits["medium"], self.splits["many"]])
        parts = {
            "new": truth >= len(self.before.weight),
            "few": np.isin(truth, self.splits["few"]),
            "base": np.isin(truth, base),
        }
        old = ~parts["new"]

        def fractions(head: Head, known: np.ndarray) -> dict[str, float]:
            right = predictions.predict(head, rows) == truth
            every = {name: part & known for name, part in parts.items()}
            every["overall"] = known
            return {
                name: float(right[part].mean()) if part.any() else float("nan")
                for name, part in every.items()
            }

        return ExtendedReport(
            fractions(self.before, old), fractions(self.head, old | ~old)
        )

    def save(self, path: Path | str) -> tuple[str, ...]:
        """Writes the extended classifier, whole or not at all.

        Args:
          path: The file: `weight` and `bias` in `.npz`, `.safetensors` or, where
            PyTorch is installed, `.pth`.

        Returns:
          A line about what was written.

        Raises:
          UserError: If it has another ending, cannot be written or is there already.
        """
        return tuple(saved_heads.save_alone(self.head, Path(path)))
