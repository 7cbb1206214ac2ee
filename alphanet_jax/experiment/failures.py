"""What goes wrong with single points while others train on.

Notation: R runs, T batches of an epoch, F 'few' classes, k neighbors.
"""

from collections.abc import Sequence

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.experiment.cohorts import Cohort, Run
from alphanet_jax.sampling import Batches

__all__ = ["Failures"]


class Failures:
    """Notes which parts of a cohort failed, each with its first error."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort = cohort
        self._errors: dict[int, UserError] = {}

    def __bool__(self) -> bool:
        return bool(self._errors)

    def of(self, part: int) -> UserError | None:
        """Looks up what was wrong with a part."""
        return self._errors.get(part)

    def all_of(self, runs: Sequence[Run]) -> bool:
        """Tells whether the parts of all of some runs have failed."""
        return all(run.part in self._errors for run in runs)

    def _note(self, run: Run, message: str) -> None:
        name = self._cohort.name_of(run)
        error = UserError(f"{name}: {message}" if name else message)
        self._errors.setdefault(run.part, error)

    def check_losses(
        self, runs: Sequence[Run], losses: np.ndarray, batches: Batches, epoch: int
    ) -> None:
        """Notes runs with a loss that is not finite.

        Args:
          runs: The runs.
          losses: Loss of every step, with shape `[R, T]`.
          batches: The epoch's batches of these runs.
          epoch: The epoch, counted from 0.
        """
        bad = ~np.isfinite(losses) & batches.valid.any(axis=2)
        for index, step in np.argwhere(bad):
            run = runs[index]
            self._note(
                run,
                f"the loss is {losses[index, step]} for seed {run.seed} in epoch "
                f"{epoch + 1}, step {step + 1}; a lower learning rate may help",
            )

    def explain_zeros(self, runs: Sequence[Run], alphas: np.ndarray) -> None:
        """Says so where the first loss is not finite as the network gives only zeros.

        Args:
          runs: The runs.
          alphas: Coefficients before training, with shape `[R, F, k + 1]`.
        """
        few_classes = self._cohort.problem.dataset.few_classes
        for index, few in np.argwhere(~np.isfinite(alphas).all(axis=2)):
            run = runs[index]
            if self._errors.pop(run.part, None) is not None:
                self._note(
                    run,
                    f"the network of seed {run.seed} gives only zeros for class "
                    f"{few_classes[few]}, which cannot be divided by the sum of their "
                    "sizes; take another activation (hact) or more units (hdims)",
                )

    def check_alphas(self, runs: Sequence[Run], alphas: np.ndarray, epoch: int) -> None:
        """Checks what must hold of coefficients, for the runs that ask for `debug`.

        Args:
          runs: The runs.
          alphas: Coefficients after the epoch, with shape `[R, F, k + 1]`.
          epoch: The epoch, counted from 0.
        """
        sums = np.abs(alphas[..., 1:]).sum(axis=-1)
        wrong = (alphas[..., 0] != 1.0) | ~(np.abs(sums - 1.0) < 1e-4)
        if self._cohort.settings.dummy_mode:
            wrong = (alphas != np.eye(alphas.shape[-1])[0]).any(axis=-1)
        few_classes = self._cohort.problem.dataset.few_classes
        for index, few in np.argwhere(wrong):
            run = runs[index]
            if self._cohort.problem_of(run).settings.debug:
                self._note(
                    run,
                    f"debug: coefficients {alphas[index, few].tolist()} of class "
                    f"{few_classes[few]} for seed {run.seed} after epoch {epoch + 1}",
                )
