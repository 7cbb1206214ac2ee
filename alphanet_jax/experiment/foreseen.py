"""How the programs of a cohort will be called, so that they can be compiled ahead."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from alphanet_jax import sampling, scores
from alphanet_jax.data.dataset import Group
from alphanet_jax.experiment import cohorts, programs
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.experiment.cohort_scores import CohortScores
from alphanet_jax.experiment.cohorts import Cohort
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.run_batch import take
from alphanet_jax.sampling import Batches

__all__ = ["Foreseen", "compile_cohort", "foresee_skip_empty", "skips_empty"]


def foresee_skip_empty(cohort: Cohort, size: int) -> bool | None:
    """Foresees `skip_empty` of `programs.train_epoch`, before anything is drawn.

    Args:
      cohort: The cohort.
      size: Runs that train at the same time.

    Returns:
      Whether runs that train together have other numbers of batches; None where only
      drawing tells, as the number of rows is drawn as well.
    """
    if size == 1:  # its batches are full, but for the last one
        return False
    if any(sampling.SAMPLERS[s.name].per == "classes" for s in cohort.samplers):
        return None
    rows = [
        sum(sampler.amount for sampler in cohort.problem_of(run).samplers)
        for run in cohort.runs
    ]
    steps = [math.ceil(each / cohort.settings.train_batch_size) for each in rows]
    return any(
        len(set(steps[start : start + size])) > 1
        for start in range(0, len(steps), size)
    )


def skips_empty(epochs: Sequence[Batches], num_runs: int, size: int) -> bool:
    """Tells whether a run may have no row where others that train with it do.

    Also runs that are done count: the program is the same with them and without. Such
    runs have to be kept as they are at a step that is none of theirs. XLA then copies
    what an optimizer remembers at each step, half as much again as it reads and writes
    otherwise.

    Args:
      epochs: The batches of every epoch, of all runs of a cohort.
      num_runs: How many runs there are.
      size: Runs that train at the same time.
    """
    return not all(
        cohorts.all_step(take(epoch, slice(start, start + size)))
        for start in range(0, num_runs, size)
        for epoch in epochs
    )


class Foreseen:
    """Arguments of a cohort's programs, as they will be called: arrays, or shapes.

    Args:
      cohort: The cohort.
      plan: Its plan of memory.
      frozen: What training does not change.
    """

    def __init__(self, cohort: Cohort, plan: Plan, frozen: scores.Frozen) -> None:
        self._cohort, self._frozen = cohort, frozen
        self._index = cohorts.pad_runs(0, plan.runs_at_a_time, len(cohort.runs))
        self._rows = plan.table_rows

    def draw_params(self) -> tuple[Any, ...]:
        """Foresees the arguments of `programs.draw_params`."""
        seeds = _shape((len(self._index),), np.uint32)
        return cohorts.network_sizes(self._cohort.problem), seeds

    def first_state(self) -> tuple[Any, ...]:
        """Foresees the arguments of `programs.first_state`."""
        return self._cohort.program, self._params

    def train_epoch(self, *, skip_empty: bool) -> tuple[Any, ...]:
        """Foresees the arguments of `programs.train_epoch`."""
        cohort, data = self._cohort, self._cohort.problem.dataset
        shape = (
            len(self._index),
            cohort.num_batches,
            cohort.settings.train_batch_size,
        )
        return (
            cohort.program,
            skip_empty,
            programs.first_state.eval_shape(*self.first_state()),
            Batches(_shape(shape, np.int32), _shape(shape, np.bool_)),
            cohorts.run_numbers(cohort, self._index, 0),
            programs.EpochInputs(
                epoch=np.int32(0),
                num_steps=np.int32(0),
                table=self._table(),
                val_chunks=self._chunks(data.val),
                frozen=self._frozen,
            ),
        )

    def alphas_and_weights(self) -> tuple[Any, ...]:
        """Foresees the arguments of `programs.alphas_and_weights`."""
        return self._cohort.program, self._params, self._frozen.sources

    def evaluate(self) -> tuple[Any, ...]:
        """Foresees the arguments of `programs.evaluate` for test data."""
        data, frozen = self._cohort.problem.dataset, self._frozen
        shape = (len(self._index) + 1, *frozen.source_index.shape)
        alphas = _shape(shape, np.float32)
        return data.num_classes, alphas, self._chunks(data.test), frozen

    @functools.cached_property
    def _params(self) -> Any:
        return programs.draw_params.eval_shape(*self.draw_params())

    @functools.cached_property
    def _row(self) -> scores.ScoreTable:
        """The arrays of the scores of one row, whose first axis is that of rows."""
        arguments = self._cohort.problem.score_arguments
        found: scores.ScoreTable = jax.eval_shape(
            scores.score_table,
            _shape((1, np.shape(arguments["weight"])[1]), np.float32),
            _shape((1,), np.int32),
            **arguments,
        )
        return found

    def _table(self) -> scores.ScoreTable:
        """Foresees the scores of training rows, for all values of `pred_scale`."""
        found: scores.ScoreTable = jax.tree.map(
            lambda column: _shape((self._rows, *column.shape[1:]), column.dtype),
            self._row,
        )
        scales = (self._rows, len(self._cohort.scales))
        return dataclasses.replace(found, base_logsumexp=_shape(scales, np.float32))

    def _chunks(self, group: Group | None) -> scores.ScoreTable | None:
        """Foresees what `eval.chunk_table` makes of the scores of a group."""
        if group is None:
            return None
        size = self._cohort.settings.rows_evaluated
        number = max(1, math.ceil(len(group.labels) / size))
        found: scores.ScoreTable = jax.tree.map(
            lambda column: _shape((number, size, *column.shape[1:]), column.dtype),
            self._row,
        )
        sources = (number, self._row.source_scores.shape[1], size)
        return dataclasses.replace(found, source_scores=_shape(sources, np.float32))


def compile_cohort(
    ahead: Ahead,
    cohort: Cohort,
    plan: Plan,
    held: CohortScores,
    *,
    skip_empty: bool,
) -> None:
    """Begins to compile the programs of a cohort, in the order of need.

    Args:
      ahead: What compiles; names are those of the functions in `programs`, and
        `passes`.
      cohort: The cohort.
      plan: Its plan of memory.
      held: Its scores, of which there are none yet.
      skip_empty: See `programs.train_epoch`.
    """
    seen = Foreseen(cohort, plan, held.frozen)
    # These first: the others are compiled while they work.
    ahead.run("passes", held.compile_passes)
    if cohort.settings.train_epochs:
        ahead.start(
            "train_epoch",
            programs.train_epoch,
            functools.partial(seen.train_epoch, skip_empty=skip_empty),
        )
    for name in ("draw_params", "first_state", "alphas_and_weights"):
        ahead.start(name, getattr(programs, name), getattr(seen, name))
    # The unchanged classifier is tested beside the runs.
    ahead.start("evaluate", programs.evaluate, seen.evaluate)


def _shape(shape: tuple[int, ...], dtype: Any) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)
