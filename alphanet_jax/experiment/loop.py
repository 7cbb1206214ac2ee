"""The loop over epochs: batches of runs trained, selected, tested, watched and kept.

Notation: R runs of a batch, E epochs, T batches of an epoch, F 'few' classes,
C classes, k neighbors.
"""

import functools
import time
from collections.abc import Collection, Iterator, Sequence

import jax
import numpy as np

from alphanet_jax import eval as evaluation
from alphanet_jax import model, stages, stopping
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.experiment import cohorts, devices, foreseen, programs
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.experiment.cohort_scores import CohortScores, TrainingRows
from alphanet_jax.experiment.cohorts import Cohort, Part, Run
from alphanet_jax.experiment.failures import Failures
from alphanet_jax.experiment.hooks import Checkpoints, History, RunName, Watcher
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.outcome import (
    Outcome,
    RunOutcome,
    make_outcome,
    no_metrics,
)
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.experiment.programs import RunState
from alphanet_jax.experiment.progress import Progress, Report
from alphanet_jax.experiment.run_batch import RunBatch, count_drawn, take
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
            report=report,
        )
        yield from loop.outcomes()


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
        report: Report = lambda line: None,
    ) -> None:
        self._cohort, self._plan, self._name, self._done = cohort, plan, name, done
        self._checkpoints, self._watcher = checkpoints, watcher
        self._report = report
        self._settings = cohort.settings
        self._progress = Progress(
            num_epochs=cohort.settings.train_epochs, num_runs=len(cohort.runs)
        )
        self._failures = Failures(cohort)
        self._scores = CohortScores(cohort, plan, report)
        self._ahead = Ahead(self._progress.waited)
        shape = cohort.problem.neighbors.shape
        self._baseline = evaluation.baseline_alphas(*shape)[None]

    def outcomes(
        self,
        *,
        params: model.Params | None = None,
        batches: Sequence[Batches] | None = None,
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        """Trains all runs; yields each part when it is done."""
        try:
            with self._progress.compile_clock():
                yield from self._outcomes(params, batches)
        finally:
            self._ahead.close()

    def _outcomes(
        self, params: model.Params | None, given: Sequence[Batches] | None
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        cohort, size = self._cohort, self._plan.runs_at_a_time
        starts = [
            start
            for start in range(0, len(cohort.runs), size)
            if {run.part for run in cohort.runs[start : start + size]} - set(self._done)
        ]
        if not starts:
            return
        with stages.stage(self._report, "drawing samples"):
            epochs, skip_empty = self._draw(given)
        self._ahead.wait("passes")
        self._progress.lap("sampling")
        shared = None
        if self._plan.shared_table:
            shared = self._scores.score_training(epochs)
        self._scores.score_evaluation()
        with stages.stage(self._report, "evaluating the unchanged classifier"):
            baseline_val = self._scores.evaluate_unchanged()
        self._progress.lap("scores")
        for epoch in epochs:
            steps = cohorts.num_steps(epoch)
            for start in starts:
                self._progress.expect(int(steps[start : start + size].max()))
        results: dict[Run, RunOutcome] = {}
        for start in starts:
            batch = self._make_batch(start, epochs, shared, skip_empty)
            trained, test, pred = self._run_batch(batch, params)
            results |= {
                run: found
                for run, found in zip(batch.runs, trained, strict=True)
                if run.part not in self._done
            }
            numbers = dict.fromkeys(run.part for run in batch.runs)
            del batch  # its scores make room for those of the next one
            for number in numbers:
                part = cohort.parts[number]
                mine = [Run(number, seed) for seed in part.seeds]
                if not results.keys() >= set(mine):
                    continue
                self._progress.lap("evaluation")
                yield (
                    cohort.indices[number],
                    self._failures.of(number)
                    or make_outcome(
                        part.seeds,
                        [results.pop(run) for run in mine],
                        baseline_val=baseline_val,
                        baseline_test=test,
                        baseline_test_pred=pred,
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
        size, skip_empty = self._plan.runs_at_a_time, None
        compile_all = functools.partial(
            foreseen.compile_cohort,
            self._ahead,
            self._cohort,
            self._plan,
            self._scores,
        )
        if given is None:
            skip_empty = foreseen.foresee_skip_empty(self._cohort, size)
            if skip_empty is not None:
                compile_all(skip_empty=skip_empty)
            given = cohorts.draw_batches(self._cohort, runs_at_a_time=size)
        epochs = [Batches(*map(np.asarray, epoch)) for epoch in given]
        if skip_empty is None:
            compile_all(skip_empty=self._skips_empty(epochs))
        return epochs, self._skips_empty(epochs)

    def _skips_empty(self, epochs: Sequence[Batches]) -> bool:
        """Tells whether a run may have no row where others that train with it do.

        Also those that are done count: the program is the same with them and without.

        Such runs have to be kept as they are at a step that is none of theirs. XLA then
        copies what an optimizer remembers at each step, half as much again as it
        reads and writes otherwise.
        """
        size = self._plan.runs_at_a_time
        return not all(
            cohorts.all_step(take(epoch, slice(start, start + size)))
            for start in range(0, len(self._cohort.runs), size)
            for epoch in epochs
        )

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

    def _run_batch(
        self, batch: RunBatch, params: model.Params | None
    ) -> tuple[list[RunOutcome], Metrics, np.ndarray]:
        """Trains and tests a batch of runs.

        Returns:
          What came of each run; and the metrics and predictions that the unchanged
          classifier gets on test data.
        """
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
        state, history = self._train(batch, params)
        self._progress.lap("epochs")
        with stages.stage(self._report, "evaluating on test data"):
            return self._test(batch, state, history)

    def _train(self, batch: RunBatch, params: model.Params) -> tuple[RunState, History]:
        """Trains a batch of runs from where it was stopped, if it was."""
        state = devices.resplit(
            programs.first_state(self._cohort.program, params), self._scores.mesh
        )
        history = self._empty_history(len(batch.runs))
        first_epoch = 0
        if self._checkpoints is not None and batch.epochs:
            found = self._checkpoints.restore(batch.name, (state, history))
            if found is not None:
                first_epoch, (state, history) = found
                self._report(f"resuming after epoch {first_epoch}")
                self._skip_epochs(batch, history, first_epoch)
        for epoch in range(first_epoch, len(batch.epochs)):
            started = time.perf_counter()
            with self._progress.of_epoch(self._report, epoch):
                state, alphas, val = self._train_epoch(batch, state, history, epoch)
            losses = history.losses[:, epoch]
            self._failures.check_losses(
                batch.runs, losses, batch.real(batch.epochs[epoch]), epoch
            )
            if epoch == 0 and self._failures:
                before, _ = self._alphas_and_weights(params)
                self._failures.explain_zeros(batch.runs, batch.real(before))
            self._failures.check_alphas(batch.runs, alphas, epoch)
            if self._failures.all_of(batch.runs):
                break
            if self._watcher is not None:
                names = self._names(batch)
                self._watcher.epoch_ended(names, epoch, losses, alphas, val)
            if self._checkpoints is not None:
                if self._watcher is not None:  # not told of again after a stop
                    self._watcher.flush()
                self._checkpoints.save(batch.name, epoch + 1, (state, history))
            took = time.perf_counter() - started
            steps = int(cohorts.num_steps(batch.epochs[epoch]).max())
            self._progress.epoch_ended(steps, took)
            line = self._progress.line(epoch, losses, val, took, batch.first)
            stages.passing(self._report, line)
            stopping.check()
        return state, history

    def _skip_epochs(self, batch: RunBatch, history: History, num_epochs: int) -> None:
        """Does for epochs that were trained before what is not kept of them."""
        for epoch in range(num_epochs):
            drawn = batch.real(batch.epochs[epoch])
            losses = history.losses[:, epoch]
            self._failures.check_losses(batch.runs, losses, drawn, epoch)
            steps = cohorts.num_steps(drawn)
            self._progress.skip(int(steps.max()))
        if self._watcher is not None:
            done = slice(num_epochs)
            counts = jax.tree.map(lambda column: column[:, done], history.val)
            val = None if self._scores.val is None else self._scores.metrics(counts)
            losses, means = history.losses[:, done], history.mean_alphas[:, done]
            self._watcher.resumed(self._names(batch), losses, means, val)

    def _train_epoch(
        self, batch: RunBatch, state: RunState, history: History, epoch: int
    ) -> tuple[RunState, np.ndarray, Metrics | None]:
        """Trains an epoch, and writes what came of it into the history.

        Returns:
          The state, the coefficients and the metrics of validation data after it.
        """
        assert batch.rows is not None
        mesh, drawn = self._scores.mesh, batch.epochs[epoch]
        self._ahead.wait("train_epoch")
        state, record = programs.train_epoch(
            self._cohort.program,
            batch.skip_empty,
            state,
            devices.split(batch.rows.relocate(drawn), mesh),
            devices.split(cohorts.run_numbers(self._cohort, batch.index, epoch), mesh),
            programs.EpochInputs(
                epoch=np.int32(epoch),
                num_steps=np.int32(cohorts.num_steps(drawn).max()),
                table=batch.rows.table,
                val_chunks=self._scores.val,
                frozen=self._scores.frozen,
            ),
        )
        record = batch.real(devices.fetch(record))
        history.losses[:, epoch] = record.losses
        history.mean_alphas[:, epoch] = record.mean_alphas
        history.least_alphas[:, epoch] = record.alphas.min(axis=1)
        history.most_alphas[:, epoch] = record.alphas.max(axis=1)
        if record.val is None:
            return state, record.alphas, None
        for column, counts in zip(history.val, record.val, strict=True):
            column[:, epoch] = counts
        return state, record.alphas, self._scores.metrics(record.val)

    def _test(
        self, batch: RunBatch, state: RunState, history: History
    ) -> tuple[list[RunOutcome], Metrics, np.ndarray]:
        """Tests the selected epochs, and the unchanged classifier."""
        alphas, weight_few = self._alphas_and_weights(state.selected)
        self._ahead.wait("evaluate")
        # The unchanged classifier is one more set of coefficients.
        test, test_pred = self._scores.evaluate(
            np.concatenate([alphas, self._baseline]), self._scores.test
        )
        dataset = self._cohort.problem.dataset
        test_pred = test_pred[:, : len(dataset.test.labels)]
        selected = devices.fetch((state.selected_epoch, state.selected))
        selected_epoch, params = batch.real(selected)
        stacked = RunOutcome(
            selected_epoch=selected_epoch,
            params=params,
            alphas=batch.real(alphas),
            weight_few=batch.real(weight_few),
            losses=history.losses,
            mean_alphas=history.mean_alphas,
            least_alphas=history.least_alphas,
            most_alphas=history.most_alphas,
            drawn=count_drawn(batch, dataset.train.labels, dataset.num_classes),
            val_correct=None
            if self._scores.val is None
            else np.asarray(history.val.correct),
            val=no_metrics(history.losses.shape[:2], dataset.num_classes)
            if self._scores.val is None
            else self._scores.metrics(history.val),
            test=batch.real(test),
            test_pred=batch.real(test_pred),
        )
        if self._watcher is not None:
            self._watcher.tested(self._names(batch), stacked.test)
        runs = [take(stacked, place) for place in range(len(batch.runs))]
        return runs, Metrics(*(column[-1] for column in test)), test_pred[-1]

    def _alphas_and_weights(self, params: model.Params) -> tuple[np.ndarray, ...]:
        """Computes coefficients and new few classifiers, as host arrays."""
        self._ahead.wait("alphas_and_weights")
        found: tuple[np.ndarray, ...] = devices.fetch(
            programs.alphas_and_weights(
                self._cohort.program, params, self._scores.frozen.sources
            )
        )
        return found

    def _names(self, batch: RunBatch) -> list[RunName]:
        return [RunName(self._cohort.name_of(run), run.seed) for run in batch.runs]

    def _empty_history(self, num_runs: int) -> History:
        """Makes room for all epochs."""
        epochs = (num_runs, self._settings.train_epochs)
        classes = self._cohort.problem.dataset.num_classes
        num_places = self._settings.n_neighbors + 1
        return History(
            losses=np.full((*epochs, self._cohort.num_batches), np.nan, np.float32),
            mean_alphas=np.zeros((*epochs, num_places), np.float32),
            least_alphas=np.zeros((*epochs, num_places), np.float32),
            most_alphas=np.zeros((*epochs, num_places), np.float32),
            val=Counts(
                correct=np.zeros((*epochs, classes), np.int32),
                predicted=np.zeros((*epochs, classes), np.int32),
                total=np.zeros((*epochs, classes), np.int32),
                top5_correct=np.zeros(epochs, np.int32),
            ),
        )
