"""What may be hooked into training: something that looks on, a place that keeps states.

Notation: R runs of a batch, E epochs, T batches of an epoch, F 'few' classes,
C classes, k neighbors.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from alphanet_jax.eval import Counts, Metrics

__all__ = ["Checkpoints", "History", "Onlooker", "RunName", "Watcher"]


class RunName(NamedTuple):
    """How the world outside knows a run."""

    point: str
    seed: int


class History(NamedTuple):
    """What is kept of the epochs of some runs; epochs to come are not set."""

    losses: np.ndarray  # shape=(R, E, T); NaN where a run had no step
    mean_alphas: np.ndarray  # shape=(R, E, k + 1): over few classes
    least_alphas: np.ndarray  # the same
    most_alphas: np.ndarray  # the same
    val: Counts  # shape=(R, E, ...); zeros without validation data


class Watcher(Protocol):
    """Something that looks on while runs train, such as a writer of logs."""

    def epoch_ended(
        self,
        runs: Sequence[RunName],
        epoch: int,
        losses: np.ndarray,
        alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what came of an epoch.

        Args:
          runs: The runs, R of them.
          epoch: The epoch, counted from 0.
          losses: Loss of every step, with shape `[R, T]`; NaN where there was none.
          alphas: Coefficients after it, with shape `[R, F, k + 1]`.
          val: Metrics of validation data, with shape `[R]`.
        """

    def resumed(
        self,
        runs: Sequence[RunName],
        losses: np.ndarray,
        mean_alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what is known of the epochs before training was stopped, D of them.

        Args:
          runs: The runs, R of them.
          losses: Loss of every step, with shape `[R, D, T]`; NaN where there was none.
          mean_alphas: Coefficients, mean over classes, with shape `[R, D, k + 1]`.
          val: Metrics of validation data, with shape `[R, D]`.
        """

    def flush(self) -> None:
        """Puts down all it was told of: a checkpoint that has it is made next."""

    def tested(self, runs: Sequence[RunName], test: Metrics) -> None:
        """Takes the metrics of test data, with shape `[R]`, after the last epoch."""


class Onlooker(Protocol):
    """Something that looks at validation and test data while these are scored.

    The products of all features and weights, most of the work of other corrections, are
    taken there anyway, and are too many to be kept.
    """

    def looks_at(self, group: str) -> bool:
        """Tells whether it wants to see a group, 'val' or 'test', all of it."""

    def see(self, group: str, products: np.ndarray) -> None:
        """Takes products of the next samples of a group, without a bias, `[m, C]`."""


class Checkpoints(Protocol):
    """A place that keeps the state of training."""

    def restore(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Loads the newest state of a batch of runs.

        Args:
          name: Name of the batch of runs.
          like: A state of the same structure and shapes, on the same devices.

        Returns:
          The number of epochs that were done, and the state; None if there is none.
        """

    def save(self, name: str, epochs_done: int, state: Any) -> None:
        """Keeps the state of a batch of runs."""
