"""The loop over cohorts, and over the batches of runs of each.

A cohort's samples are drawn and scored, its runs trained and tested a batch of runs at
a time, and its parts given out as they are done. Notation: S seeds, T batches of an
epoch, B rows of a batch.
"""

import functools
from collections.abc import Collection, Iterator, Sequence

import jax
import numpy as np

from alphanet_jax import model, stages
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import cohorts, devices, foreseen, programs
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.experiment.beginning import Beginning
from alphanet_jax.experiment.bookkeeping import Bookkeeper
from alphanet_jax.experiment.cohort_scores import CohortScores, TrainingRows
from alphanet_jax.experiment.cohorts import Cohort, Part, Run
from alphanet_jax.experiment.epochs import EpochLoop, Tested
from alphanet_jax.experiment.failures import Failures
from alphanet_jax.experiment.hooks import Checkpoints, Onlooker, Watcher
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.outcome import Outcome, RunOutcome, make_outcome
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.experiment.progress import Progress, Report
from alphanet_jax.experiment.run_batch import RunBatch, take
from alphanet_jax.sampling import Batches

__all__ = [
    "epoch_batches",
    "initial_params",
    "run",
    "run_parts",
]


def initial_params(problem: Problem, seeds: Sequence[int]) -> model.Params:
    """Draws the initial parameters of every seed, stacked on a leading axis."""
    params: model.Params = programs.draw_params(
        cohorts.network_sizes(problem), np.asarray(seeds, np.uint32)
    )
    return params


def epoch_batches(problem: Problem, seeds: Sequence[int]) -> list[Batches]:
    """Draws the batches of every epoch, as host arrays with shape `[S, T, B]`.

    T is the most that an epoch can have; batches past the last one have no rows.
    """
    cohort = cohorts.make_cohort([Part(problem, tuple(seeds))], [0])
    return cohorts.draw_batches(cohort, runs_at_a_time=len(seeds))


def run(
    problem: Problem,
    seeds: Sequence[int],
    *,
    params: model.Params | None = None,
    batches: Sequence[Batches] | None = None,
    memory_limit: int | None = None,
    report: Report = lambda line: None,
) -> Outcome:
    """Trains all seeds of a problem, selects an epoch for each, and tests.

    Seed i draws the same random numbers alone as among others.

    Args:
      problem: The problem, from `prepare`.
      seeds: Distinct seeds, S of them.
      params: Initial parameters with a leading seed axis; drawn by default.
      batches: Batches of every epoch, with a leading seed axis and rows indexing the
        training samples; drawn by default.
      memory_limit: Bytes that may be used; see `memory.available_bytes`.
      report: Takes a line of text for each epoch.

    Returns:
      The outcome.

    Raises:
      UserError: If a loss is not finite (the seed, epoch and step are named), or the
        memory does not suffice.
    """
    given = batches[0].valid.shape[1] if batches else None
    part = Part(problem, tuple(seeds))
    cohort = cohorts.make_cohort([part], [0], num_batches=given)
    plan = cohorts.plan_cohort(cohort, memory_limit)
    loop = _CohortLoop(cohort, plan, report=report)
    ((_, outcome),) = loop.outcomes(params=params, batches=batches)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def run_parts(
    parts: Sequence[Part],
    *,
    plans: Sequence[Plan] | None = None,
    memory_limit: int | None = None,
    done: Collection[int] = (),
    checkpoints: Checkpoints | None = None,
    watcher: Watcher | None = None,
    onlooker: Onlooker | None = None,
    beginning: Beginning | None = None,
    report: Report = lambda line: None,
) -> Iterator[tuple[int, Outcome | UserError]]:
    """Trains many parts of points: those that share a program as one cohort.

    Args:
      parts: The parts; problems from one call of `prepare_all` share the most.
      plans: Plans from `cohorts.plan_parts`; made by default.
      memory_limit: Bytes that may be used, for plans that are made.
      done: Numbers of parts to leave out. The others train as they would have with
        them, so what was stopped can go on.
      checkpoints: Where the state is kept after every epoch, and taken from.
      watcher: Takes what comes of every epoch.
      onlooker: Looks at validation and test data while these are scored.
      beginning: A network that all runs begin with; drawn by default.
      report: Takes lines of text about progress.

    Yields:
      The number of a part and its outcome, as soon as all its seeds are done. A part
      that cannot be trained (a loss that is not finite) gives the error, and the
      others go on.

    Raises:
      UserError: If the memory does not suffice; before anything is trained.
    """
    found = cohorts.make_cohorts(parts)
    if plans is None:
        plans = [cohorts.plan_cohort(cohort, memory_limit) for cohort in found]
    for number, (cohort, plan) in enumerate(zip(found, plans, strict=True)):
        if len(found) > 1 and not set(cohort.indices) <= set(done):
            report(f"program {number + 1} of {len(found)}")
        loop = _CohortLoop(
            cohort,
            plan,
            name=str(number),
            done={p for p, index in enumerate(cohort.indices) if index in done},
            checkpoints=checkpoints,
            watcher=watcher,
            onlooker=onlooker,
            report=report,
        )
        yield from loop.outcomes(
            params=None if beginning is None else beginning.stacked(len(cohort.runs))
        )


class _CohortLoop:
    """Trains the runs of a cohort, a batch of runs at a time."""

    def __init__(
        self,
        cohort: Cohort,
        plan: Plan,
        *,
        name: str = "0",
        done: Collection[int] = (),
        checkpoints: Checkpoints | None = None,
        watcher: Watcher | None = None,
        onlooker: Onlooker | None = None,
        report: Report = lambda line: None,
    ) -> None:
        self._cohort, self._plan, self._name, self._done = cohort, plan, name, done
        self._report = report
        self._progress = Progress(
            num_epochs=cohort.settings.train_epochs, num_runs=len(cohort.runs)
        )
        self._failures = Failures(cohort)
        self._scores = CohortScores(cohort, plan, report, onlooker)
        self._ahead = Ahead(self._progress.waited)
        self._epochs = EpochLoop(
            cohort,
            self._scores,
            ahead=self._ahead,
            failures=self._failures,
            books=Bookkeeper(
                cohort,
                self._scores,
                self._progress,
                checkpoints=checkpoints,
                watcher=watcher,
                report=report,
            ),
        )

    def outcomes(
        self,
        *,
        params: model.Params | None = None,
        batches: Sequence[Batches] | None = None,
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        """Trains all runs; yields each part when it is done."""
        starts = self._starts()
        if not starts:
            return
        try:
            with self._progress.compile_clock():
                yield from self._outcomes(starts, params, batches)
        finally:
            self._ahead.close()

    def _starts(self) -> list[int]:
        """Numbers the first run of each batch of runs that has one to train."""
        runs, size = self._cohort.runs, self._plan.runs_at_a_time
        return [
            start
            for start in range(0, len(runs), size)
            if {run.part for run in runs[start : start + size]} - set(self._done)
        ]

    def _outcomes(
        self,
        starts: Sequence[int],
        params: model.Params | None,
        given: Sequence[Batches] | None,
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        epochs, skip_empty = self._draw(given)
        shared, baseline_val = self._score(epochs)
        self._expect(starts, epochs)
        results: dict[Run, RunOutcome] = {}
        for start in starts:
            batch = self._make_batch(start, epochs, shared, skip_empty)
            runs, tested = batch.runs, self._train_and_test(batch, params)
            del batch  # its scores make room for those of the next one
            results |= {
                run: found
                for run, found in zip(runs, tested.runs, strict=True)
                if run.part not in self._done
            }
            for number in dict.fromkeys(run.part for run in runs):
                part = self._cohort.parts[number]
                mine = [Run(number, seed) for seed in part.seeds]
                if not results.keys() >= set(mine):
                    continue
                came = [results.pop(run) for run in mine]
                self._progress.lap("evaluation")
                yield (
                    self._cohort.indices[number],
                    self._failures.of(number)
                    or make_outcome(
                        part.seeds,
                        came,
                        baseline_val=baseline_val,
                        baseline_test=tested.baseline,
                        baseline_test_pred=tested.baseline_pred,
                        seconds=self._progress.seconds,
                    ),
                )
                self._progress.restart()

    def _draw(self, given: Sequence[Batches] | None) -> tuple[list[Batches], bool]:
        """Draws the batches of all runs, unless they are given; as host arrays.

        What comes later is compiled meanwhile.

        Returns:
          The batches, and whether runs may have none where others have.
        """
        cohort, size, foresaw = self._cohort, self._plan.runs_at_a_time, None
        compile_all = functools.partial(
            foreseen.compile_cohort, self._ahead, cohort, self._plan, self._scores
        )
        with stages.stage(self._report, "drawing samples"):
            if given is None:
                foresaw = foreseen.foresee_skip_empty(cohort, size)
                if foresaw is not None:
                    compile_all(skip_empty=foresaw)
                given = cohorts.draw_batches(cohort, runs_at_a_time=size)
            epochs = [Batches(*map(np.asarray, epoch)) for epoch in given]
            skip_empty = foreseen.skips_empty(epochs, len(cohort.runs), size)
            if foresaw is None:
                compile_all(skip_empty=skip_empty)
        self._ahead.wait("passes")
        self._progress.lap("sampling")
        return epochs, skip_empty

    def _score(self, epochs: Sequence[Batches]) -> tuple[TrainingRows | None, Metrics]:
        """Scores samples.

        Returns:
          Scores of the training rows of all runs, where they fit into memory at once;
          and the metrics that the unchanged classifier gets on validation data.
        """
        shared = None
        if self._plan.shared_table:
            shared = self._scores.score_training(epochs)
        self._scores.score_evaluation()
        with stages.stage(self._report, "evaluating the unchanged classifier"):
            baseline_val = self._scores.evaluate_unchanged()
        self._progress.lap("scores")
        return shared, baseline_val

    def _expect(self, starts: Sequence[int], epochs: Sequence[Batches]) -> None:
        """Counts the steps to come; runs that train together take those of the most."""
        size = self._plan.runs_at_a_time
        for epoch in epochs:
            steps = cohorts.num_steps(epoch)
            for start in starts:
                self._progress.expect(int(steps[start : start + size].max()))

    def _make_batch(
        self,
        start: int,
        epochs: Sequence[Batches],
        rows: TrainingRows | None,
        skip_empty: bool,
    ) -> RunBatch:
        runs, size = self._cohort.runs, self._plan.runs_at_a_time
        index = cohorts.pad_runs(start, size, len(runs))
        mine = tuple(take(epoch, index) for epoch in epochs)
        if not self._plan.shared_table:
            rows = self._scores.score_training(mine)
            self._progress.lap("scores")
        return RunBatch(
            name=f"{self._name}-{start}",
            first=start,
            runs=runs[start : start + size],
            index=index,
            epochs=mine,
            rows=rows,
            skip_empty=skip_empty,
        )

    def _train_and_test(self, batch: RunBatch, params: model.Params | None) -> Tested:
        seeds = [self._cohort.runs[i].seed for i in batch.index]
        with stages.stage(self._report, "drawing the first networks"):
            self._ahead.wait("draw_params", "first_state")
            params = (
                initial_params(self._cohort.problem, seeds)
                if params is None
                else take(params, batch.index)
            )
            if self._scores.mesh is not None:
                params = devices.split(jax.device_get(params), self._scores.mesh)
        state, history = self._epochs.train(batch, params)
        self._progress.lap("epochs")
        with stages.stage(self._report, "evaluating on test data"):
            return self._epochs.test(batch, state, history)
