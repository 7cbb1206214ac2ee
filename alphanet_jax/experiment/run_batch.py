"""A batch of runs: what trains at the same time.

Notation: R runs, E epochs, C classes.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from alphanet_jax.experiment.cohort_scores import TrainingRows
from alphanet_jax.experiment.cohorts import Run
from alphanet_jax.sampling import Batches

__all__ = ["RunBatch", "count_drawn", "take"]


@dataclasses.dataclass(frozen=True, eq=False)
class RunBatch:
    """A batch of runs: those that train at the same time.

    Attributes:
      name: What checkpoints know it by.
      first: Number of the first of its runs among those of the cohort.
      runs: The runs.
      index: Their numbers; the last one is repeated where programs want more runs.
      epochs: Batches of every epoch, with an axis like `index`.
      rows: Scores of the training rows that they use; None for no epochs.
      skip_empty: Whether some of them may have batches without a row.
    """

    name: str
    first: int
    runs: tuple[Run, ...]
    index: np.ndarray
    epochs: tuple[Batches, ...]
    rows: TrainingRows | None
    skip_empty: bool

    def real(self, tree: Any) -> Any:
        """Leaves out what belongs to repeated runs."""
        return jax.tree.map(lambda array: array[: len(self.runs)], tree)


def take(tree: Any, index: int | slice | np.ndarray) -> Any:
    """Takes some runs of arrays whose first axis is that of runs."""
    return jax.tree.map(lambda array: array[index], tree)


def count_drawn(batch: RunBatch, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts what is drawn of every class in every epoch, with shape `[R, E, C]`."""
    counts = np.zeros((len(batch.runs), len(batch.epochs), num_classes), np.int32)
    for epoch, drawn in enumerate(batch.epochs):
        for run in range(len(batch.runs)):
            rows = np.asarray(drawn.rows[run])[np.asarray(drawn.valid[run])]
            counts[run, epoch] = np.bincount(labels[rows], minlength=num_classes)
    return counts
