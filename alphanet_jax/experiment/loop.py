"""The experiment: every seed of every setting trained at once, selected and tested.

A run is one seed of one setting. Runs that share shapes, whatever their seeds and
numbers, train side by side in one compiled program, as many at a time as memory and
the machine like; `programs` has those programs, and the loop over epochs is Python's.

Notation: S seeds, R runs, E epochs, T batches of an epoch, F 'few' classes, C classes,
k neighbors, d feature dimensions, n samples.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from alphanet_jax import eval as evaluation
from alphanet_jax import model, sampling, scores, streaming
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.experiment import devices, feature_pass, programs
from alphanet_jax.experiment import memory as planning
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.experiment.problem import Problem, Settings
from alphanet_jax.sampling import Batches

__all__ = [
    "Checkpoints",
    "History",
    "Outcome",
    "Point",
    "Watcher",
    "epoch_batches",
    "initial_params",
    "merge_seeds",
    "plan_points",
    "run",
    "run_points",
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of training; every array begins with the seed axis S.

    Without validation data the `val` metrics are NaN. `selected_epoch` counts from 0
    and indexes the epoch axis; it is -1 where nothing was trained.
    """

    seeds: np.ndarray  # shape=(S,)
    selected_epoch: np.ndarray  # shape=(S,)
    params: model.Params  # of the selected epoch
    alphas: np.ndarray  # shape=(S, F, k + 1)
    weight_few: np.ndarray  # shape=(S, F, d)
    step_loss: list[np.ndarray]  # for each epoch, shape=(S, T); NaN past the last
    epoch_loss: np.ndarray  # shape=(S, E): mean over batches
    mean_alphas: np.ndarray  # shape=(S, E, k + 1): mean over few classes
    val: Metrics  # shape=(S, E)
    test: Metrics  # shape=(S,)
    test_pred: np.ndarray  # shape=(S, n)
    baseline_val: Metrics  # shape=()
    baseline_test: Metrics  # shape=()
    baseline_test_pred: np.ndarray  # shape=(n,)
    seconds: Mapping[str, float]  # by phase


def _param_sizes(problem: Problem) -> tuple[int, int, tuple[int, ...]]:
    settings = problem.settings
    return problem.dataset.weight.shape[1], settings.n_neighbors, settings.hdims


def initial_params(problem: Problem, seeds: Sequence[int]) -> model.Params:
    """Draws the initial parameters of every seed, stacked on a leading axis."""
    params: model.Params = programs.draw_params(
        _param_sizes(problem), np.asarray(seeds, np.uint32)
    )
    return params


def epoch_batches(problem: Problem, seeds: Sequence[int]) -> list[Batches]:
    """Draws the batches of every epoch, as host arrays with shape `[S, T, B]`.

    T is the most that an epoch can have; batches past the last one have no rows.
    """
    group = _Group((Point(problem, tuple(seeds)),), (0,))
    return _draw_all(group, group_size=len(seeds))


class Point(NamedTuple):
    """A setting with the seeds to train: one result."""

    problem: Problem
    seeds: tuple[int, ...]
    name: str = ""


class _Run(NamedTuple):
    """One seed of one point."""

    point: int  # among the points of its group
    seed: int


class History(NamedTuple):
    """What is kept of the epochs of some runs; epochs to come are not set."""

    losses: np.ndarray  # shape=(R, E, T); NaN where a run had no step
    mean_alphas: np.ndarray  # shape=(R, E, k + 1)
    val: Counts  # shape=(R, E, ...); zeros without validation data


class Watcher(Protocol):
    """Something that looks on while runs train, such as a writer of logs."""

    def epoch_ended(
        self,
        runs: Sequence[tuple[str, int]],
        epoch: int,
        losses: np.ndarray,
        alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what came of an epoch, counted from 0.

        Args:
          runs: Name of the point and seed of every run, R of them.
          epoch: The epoch.
          losses: Loss of every step, with shape `[R, T]`; NaN where there was none.
          alphas: Coefficients after it, with shape `[R, F, k + 1]`.
          val: Metrics of validation data, with shape `[R]`.
        """

    def skip_steps(self, runs: Sequence[tuple[str, int]], steps: Sequence[int]) -> None:
        """Is told that so many steps were taken before, and are not repeated."""

    def tested(self, runs: Sequence[tuple[str, int]], test: Metrics) -> None:
        """Takes the metrics of test data, with shape `[R]`, after the last epoch."""


class Checkpoints(Protocol):
    """A place that keeps the state of training."""

    def restore(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Gives the newest state of a group of runs.

        Args:
          name: Name of the group.
          like: A state of the same structure and shapes, on the same devices.

        Returns:
          The number of epochs that were done, and the state; None if there is none.
        """

    def save(self, name: str, epochs_done: int, state: Any) -> None:
        """Keeps the state of a group of runs."""


class _RunResult(NamedTuple):
    """What came of one run."""

    selected_epoch: np.ndarray  # shape=()
    params: model.Params
    alphas: np.ndarray  # shape=(F, k + 1)
    weight_few: np.ndarray  # shape=(F, d)
    losses: np.ndarray  # shape=(E, T)
    mean_alphas: np.ndarray  # shape=(E, k + 1)
    val: Metrics  # shape=(E,)
    test: Metrics  # shape=()
    test_pred: np.ndarray  # shape=(n,)


class _Group:
    """Points that share one compiled program.

    Attributes:
      points: The points.
      indices: Their numbers among all points.
      problem: The first of their problems, for what they share.
      samplers: Samplers with room for the largest of them.
      num_batches: The most batches of an epoch, T.
      scales: The distinct values of `pred_scale`.
      runs: All their runs; those with most steps first, so that runs that train
        together have about as many.
    """

    def __init__(
        self,
        points: Sequence[Point],
        indices: Sequence[int],
        batches: Sequence[Batches] | None = None,
    ) -> None:
        self.points, self.indices = tuple(points), tuple(indices)
        self.problem = self.points[0].problem
        self.samplers = tuple(
            dataclasses.replace(
                same[0],
                amount=0,  # which differs from run to run: see `_draw_all`
                # Rounded up: other numbers of rows need no other program.
                capacity=planning.round_up(max(s.capacity for s in same))
                if sampling.SAMPLERS[same[0].name].per == "rows"
                else same[0].capacity,
            )
            for same in zip(*(p.problem.samplers for p in self.points), strict=True)
        )
        capacity = sum(sampler.capacity for sampler in self.samplers)
        self.num_batches = math.ceil(capacity / self.settings.train_batch_size)
        if batches:  # drawn by the caller
            self.num_batches = batches[0].valid.shape[1]
        self.scales = sorted({p.problem.settings.pred_scale for p in self.points})
        rows = [sum(s.capacity for s in p.problem.samplers) for p in self.points]
        order = sorted(range(len(self.points)), key=lambda point: -rows[point])
        self.runs = [_Run(p, seed) for p in order for seed in self.points[p].seeds]

    @property
    def settings(self) -> Settings:
        """Settings of the first point, for what they share."""
        return self.problem.settings

    def static(self) -> programs.Static:
        """What the program depends on, beside shapes."""
        settings = self.settings
        return programs.Static(
            hact=settings.hact,
            dummy_mode=settings.dummy_mode,
            precision=settings.precision,
            selection=settings.selection,
            optim_cls=settings.optim_cls,
            optim_params=_optim_params(settings),
            momentum_changes=self.problem.momenta is not None,
            num_classes=self.problem.dataset.num_classes,
        )

    def needs(self) -> planning.Needs:
        """Sizes for the plan of memory."""
        problem, settings = self.problem, self.settings
        data, frozen = problem.dataset, problem.frozen
        sizes = model.check_sizes(
            num_features=data.weight.shape[1],
            num_neighbors=settings.n_neighbors,
            hidden_dims=settings.hdims,
        )
        pairs = itertools.pairwise(sizes)
        once = more = 0
        for sampler in self.samplers:
            if sampling.SAMPLERS[sampler.name].per:
                more += sampler.capacity * settings.train_epochs
            else:
                once += sampler.capacity
        return planning.Needs(
            num_runs=len(self.runs),
            num_params=sum((fan_in + 1) * out for fan_in, out in pairs),
            num_features=data.weight.shape[1],
            num_classes=data.num_classes,
            num_few=len(data.few_classes),
            num_neighbors=settings.n_neighbors,
            num_sources=len(frozen.source_classes),
            num_source_rows=sum(len(weights) for weights in frozen.sources.weights),
            num_train=len(data.train.labels),
            num_val=0 if data.val is None else len(data.val.labels),
            num_test=len(data.test.labels),
            rows_once=once,
            rows_per_run=more,
            num_epochs=settings.train_epochs,
            num_batches=self.num_batches,
            batch_size=settings.train_batch_size,
            eval_batch_size=settings.eval_batch_size,
            pass_rows=streaming.rows_at_a_time(data.weight.shape[1]),
        )


def _optim_params(settings: Settings) -> str:
    """Parameters of the optimizer that its program depends on, as JSON.

    The learning rate is an argument of it; here it is the same for all.
    """
    names = ("lr", "learning_rate")
    others = {k: v for k, v in settings.optim_params.items() if k not in names}
    return json.dumps(others | {"lr": 1.0}, sort_keys=True)


def _make_groups(points: Sequence[Point]) -> list[_Group]:
    """Puts points that can share a program together."""
    groups: dict[Any, list[int]] = {}
    for index, point in enumerate(points):
        settings = point.problem.settings
        key = (
            id(point.problem.frozen),
            settings.hdims,
            settings.hact,
            settings.dummy_mode,
            settings.precision,
            settings.optim_cls,
            _optim_params(settings),
            point.problem.momenta is not None,
            settings.train_epochs,
            settings.train_batch_size,
            settings.eval_batch_size,
            settings.sampler_classes,
            settings.selection,
        )
        groups.setdefault(key, []).append(index)
    return [_Group([points[i] for i in found], found) for found in groups.values()]


def merge_seeds(outcomes: Sequence[Outcome]) -> Outcome:
    """Puts outcomes of different seeds of one setting together."""
    first = outcomes[0]
    steps = [
        max(o.step_loss[e].shape[1] for o in outcomes)
        for e in range(len(first.step_loss))
    ]

    def stack(parts: Sequence[Any]) -> Any:
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)

    def pad(losses: np.ndarray, width: int) -> np.ndarray:
        missing = ((0, 0), (0, width - losses.shape[1]))
        return np.pad(losses, missing, constant_values=np.nan)

    merged = {
        name: stack([getattr(outcome, name) for outcome in outcomes])
        for name in (
            "seeds", "selected_epoch", "params", "alphas", "weight_few", "epoch_loss",
            "mean_alphas", "val", "test", "test_pred",
        )
    }  # fmt: skip
    losses = [
        stack([pad(outcome.step_loss[epoch], width) for outcome in outcomes])
        for epoch, width in enumerate(steps)
    ]
    return dataclasses.replace(first, **merged, step_loss=losses)


def plan_points(
    points: Sequence[Point], *, memory_limit: int | None = None
) -> list[Plan]:
    """Plans the memory of every group of points that share a program.

    Args:
      points: The points.
      memory_limit: Bytes that may be used; by default `plan.available_bytes`.

    Returns:
      A plan for each group, in the order in which they train.

    Raises:
      UserError: If a group does not fit.
    """
    return [_plan(group, memory_limit) for group in _make_groups(points)]


def _plan(group: _Group, memory_limit: int | None) -> Plan:
    platform = jax.devices()[0].platform
    return planning.make_plan(
        group.needs(),
        limit=memory_limit or planning.available_bytes(platform),
        platform=platform,
        num_devices=jax.device_count(),
    )


def run(
    problem: Problem,
    seeds: Sequence[int],
    *,
    params: model.Params | None = None,
    batches: Sequence[Batches] | None = None,
    memory_limit: int | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Trains all seeds in one compiled program, selects an epoch for each, and tests.

    Seed i draws the same random numbers alone as among others.

    Args:
      problem: The problem, from `prepare`.
      seeds: Distinct seeds, S of them.
      params: Initial parameters with a leading seed axis; drawn by default.
      batches: Batches of every epoch, with a leading seed axis and rows indexing the
        training samples; drawn by default.
      memory_limit: Bytes that may be used; see `plan.available_bytes`.
      report: Takes a line of text for each epoch.

    Returns:
      The outcome.

    Raises:
      UserError: If a loss is not finite (the seed, epoch and step are named), or the
        memory does not suffice.
    """
    group = _Group((Point(problem, tuple(seeds)),), (0,), batches)
    training = _Training(group, _plan(group, memory_limit), report)
    ((_, outcome),) = training.run(params=params, batches=batches)
    if isinstance(outcome, UserError):
        raise outcome
    return outcome


def run_points(
    points: Sequence[Point],
    *,
    plans: Sequence[Plan] | None = None,
    memory_limit: int | None = None,
    done: Collection[int] = (),
    checkpoints: Checkpoints | None = None,
    watcher: Watcher | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[int, Outcome | UserError]]:
    """Trains many points: those that share shapes in one compiled program.

    Args:
      points: The points; problems from one call of `prepare_all` share the most.
      plans: Plans from `plan_points`; made by default.
      memory_limit: Bytes that may be used, for plans that are made.
      done: Numbers of points to leave out. The others train as they would have with
        them, so what was stopped can go on.
      checkpoints: Where the state is kept after every epoch, and taken from.
      watcher: Is told of every epoch.
      report: Takes lines of text about progress.

    Yields:
      The number of a point and its outcome, as soon as all its seeds are done. A
      point that cannot be trained (a loss that is not finite) gives the error, and
      the others go on.

    Raises:
      UserError: If the memory does not suffice; before anything is trained.
    """
    groups = _make_groups(points)
    if plans is None:
        plans = plan_points(points, memory_limit=memory_limit)
    for number, (group, plan) in enumerate(zip(groups, plans, strict=True)):
        if len(groups) > 1 and not set(group.indices) <= set(done):
            report(f"program {number + 1} of {len(groups)}")
        training = _Training(
            group, plan, report,
            name=str(number), done=done, checkpoints=checkpoints, watcher=watcher,
        )  # fmt: skip
        yield from training.run()


def _draw_all(group: _Group, *, group_size: int) -> list[Batches]:
    """Draws the batches of all runs, as host arrays with shape `[R, T, B]` an epoch."""
    settings = group.settings
    amounts = np.asarray(
        [
            [sampler.amount for sampler in group.points[run.point].problem.samplers]
            for run in group.runs
        ],
        np.int32,
    )
    seeds = np.asarray([run.seed for run in group.runs], np.uint32)
    epochs: list[list[Batches]] = [[] for _ in range(settings.train_epochs)]
    for start in range(0, len(seeds), group_size):
        index = _padded_range(start, group_size, len(seeds))
        for epoch, parts in enumerate(epochs):
            parts.append(
                jax.device_get(
                    programs.draw_batches(
                        group.samplers,
                        settings.train_batch_size,
                        seeds[index],
                        amounts[index],
                        np.uint32(epoch),
                        group.problem.pools,
                    )
                )
            )
    return [
        Batches(*(np.concatenate(column)[: len(seeds)] for column in zip(*parts)))  # noqa: B905
        for parts in epochs
    ]


def _padded_range(start: int, size: int, total: int) -> np.ndarray:
    """Counts up from `start`; past the end the last number is repeated."""
    return np.minimum(np.arange(start, start + size), total - 1)


def _used_rows(epochs: Sequence[Batches]) -> np.ndarray:
    """Lists the distinct rows that batches use, in ascending order."""
    rows = [epoch.rows[epoch.valid] for epoch in epochs]
    return np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)


@contextlib.contextmanager
def _compile_clock(seconds: dict[str, float]) -> Iterator[None]:
    """Adds the time spent on compiling in the block to `seconds['compile']`."""
    seconds["compile"] = 0.0

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        del kwargs
        if event.startswith("/jax/core/compile/"):
            seconds["compile"] += duration_secs

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


class _Training:
    """The training of one group of points."""

    def __init__(
        self,
        group: _Group,
        plan: Plan,
        report: Callable[[str], None],
        *,
        name: str = "0",
        done: Collection[int] = (),
        checkpoints: Checkpoints | None = None,
        watcher: Watcher | None = None,
    ) -> None:
        self.group, self.plan, self.report = group, plan, report
        self.name, self.checkpoints, self.watcher = name, checkpoints, watcher
        # Points of the group whose results are there already.
        self.done = {p for p, index in enumerate(group.indices) if index in done}
        self.problem, self.settings = group.problem, group.settings
        self.dataset, self.static = group.problem.dataset, group.static()
        self.mesh: Mesh | None = devices.make_mesh()
        self.frozen = devices.replicate(self.problem.frozen, self.mesh)
        self.score_arguments = devices.replicate(
            dict(self.problem.score_arguments), self.mesh
        )
        self.seconds: dict[str, float] = {}
        self.clock = time.perf_counter()
        self.steps_done, self.steps_in_all = 0, 0
        self.compiled_steps, self.step_seconds = 0, 0.0
        self.failed: dict[int, UserError] = {}

    def lap(self, phase: str) -> None:
        """Books the time since the last lap."""
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.clock
        self.clock = now

    def run(
        self,
        *,
        params: model.Params | None = None,
        batches: Sequence[Batches] | None = None,
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        """Trains all runs, some at a time; yields each point when it is done."""
        with _compile_clock(self.seconds):
            yield from self._run(params, batches)

    def _run(
        self, params: model.Params | None, batches: Sequence[Batches] | None
    ) -> Iterator[tuple[int, Outcome | UserError]]:
        group, plan, runs = self.group, self.plan, self.group.runs
        starts = [
            start
            for start in range(0, len(runs), plan.group_size)
            if {run.point for run in runs[start : start + plan.group_size]} - self.done
        ]
        if not starts:
            return
        if batches is None:
            batches = _draw_all(group, group_size=plan.group_size)
        batches = [Batches(*map(np.asarray, epoch)) for epoch in batches]
        self.lap("sampling")
        table = places = None
        if plan.shared_table:
            table, places = self.score_training_rows(batches)
        val_chunks = self.score_chunks(self.dataset.val)
        test_chunks = self.score_chunks(self.dataset.test)
        baseline = np.asarray(
            evaluation.baseline_alphas(*self.problem.neighbors.shape)[None]
        )
        baseline_val = self.evaluate(baseline, val_chunks)[0]
        self.lap("scores")

        results: dict[_Run, _RunResult] = {}
        self.steps_in_all = sum(
            int(_num_steps(epoch, start, plan.group_size).max(initial=0))
            for start in starts
            for epoch in batches
        )
        # Runs with different numbers of steps need a pass over their state at each
        # step, to keep those as they are that have none left. A run on its own keeps
        # it as well: XLA makes a quicker program of it on CPUs.
        self.static = dataclasses.replace(
            self.static,
            skip_empty=plan.group_size == 1
            or not all(
                _same_steps(epoch, start, plan.group_size)
                for start in starts
                for epoch in batches
            ),
        )
        waiting = [
            set() if number in self.done else set(point.seeds)
            for number, point in enumerate(group.points)
        ]
        for start in starts:
            index = _padded_range(start, plan.group_size, len(runs))
            part = [Batches(*(array[index] for array in epoch)) for epoch in batches]
            if not plan.shared_table:
                del table
                table, places = self.score_training_rows(part)
                self.lap("scores")
            trained, baseline_test = self.train(
                f"{self.name}-{start}", [runs[i] for i in index], part,
                _take(params, index), table, places, val_chunks, test_chunks, baseline,
            )  # fmt: skip
            for run, result in zip(
                runs[start : start + plan.group_size], trained, strict=False
            ):
                if run.point in self.done:
                    continue
                results[run] = result
                waiting[run.point].discard(run.seed)
                if not waiting[run.point]:
                    point = group.points[run.point]
                    mine = [results.pop(_Run(run.point, s)) for s in point.seeds]
                    self.lap("evaluation")
                    yield (
                        group.indices[run.point],
                        self.failed.get(run.point)
                        or _make_outcome(
                            point.seeds, mine, baseline_val, baseline_test, self.seconds
                        ),
                    )
                    self.clock = time.perf_counter()

    def score_training_rows(
        self, batches: Sequence[Batches]
    ) -> tuple[scores.ScoreTable | None, np.ndarray | None]:
        """Scores the rows that are used at all, and numbers all rows by their place."""
        if not batches:
            return None, None
        used = _used_rows(batches)
        places = np.zeros(len(self.dataset.train.labels), np.int32)
        places[used] = np.arange(len(used))
        table = feature_pass.score_table(
            self.dataset.train,
            used,
            capacity=self.plan.table_rows,
            mesh=self.mesh,
            pred_scale=np.asarray(self.group.scales, np.float32),
            **self.score_arguments,
        )
        return table, places

    def score_chunks(self, samples: Any) -> scores.ScoreTable | None:
        """Scores samples for evaluation."""
        if samples is None:
            return None
        return feature_pass.score_chunks(
            samples,
            chunk_size=self.settings.eval_batch_size,
            mesh=self.mesh,
            **self.score_arguments,
        )

    def evaluate(
        self, alphas: np.ndarray, chunks: scores.ScoreTable | None
    ) -> tuple[Metrics, np.ndarray]:
        """Evaluates sets of coefficients, with shape `[R, F, k + 1]`."""
        if chunks is None:
            return _no_metrics((len(alphas),), self.dataset.num_classes), np.zeros(0)
        devices_in_all = 1 if self.mesh is None else self.mesh.size
        size = math.ceil(len(alphas) / devices_in_all) * devices_in_all
        index = _padded_range(0, size, len(alphas))
        counts, classes = devices.fetch(
            programs.evaluate(
                self.dataset.num_classes,
                devices.split(alphas[index], self.mesh),
                chunks,
                self.frozen,
            )
        )
        metrics = Metrics(*(part[: len(alphas)] for part in self.metrics(counts)))
        return metrics, classes[: len(alphas)]

    def train(
        self,
        name: str,
        runs: Sequence[_Run],
        batches: Sequence[Batches],
        params: model.Params | None,
        table: scores.ScoreTable | None,
        places: np.ndarray | None,
        val_chunks: scores.ScoreTable | None,
        test_chunks: scores.ScoreTable | None,
        baseline: np.ndarray,
    ) -> tuple[list[_RunResult], tuple[Metrics, np.ndarray]]:
        """Trains and tests some runs side by side.

        Returns:
          A result for each run, and what the unchanged classifier gets on test data.
        """
        if params is None:
            params = initial_params(self.problem, [run.seed for run in runs])
        if self.mesh is not None:
            params = devices.split(jax.device_get(params), self.mesh)
        state = devices.resplit(programs.first_state(self.static, params), self.mesh)
        history = self.empty_history(len(runs))
        first_epoch = 0
        if self.checkpoints is not None and batches:
            found = self.checkpoints.restore(name, (state, history))
            if found is not None:
                first_epoch, (state, history) = found
                self.report(f"resuming after epoch {first_epoch}")
        names = [(self.group.points[run.point].name, run.seed) for run in runs]
        for epoch in range(first_epoch):
            self.check_finite(runs, history.losses[:, epoch], batches[epoch], epoch)
            steps = _num_steps(batches[epoch], 0, len(runs))
            self.steps_done += int(steps.max())
            if self.watcher is not None:
                self.watcher.skip_steps(names, steps.tolist())
        for epoch in range(first_epoch, len(batches)):
            started = time.perf_counter()
            assert places is not None
            rows, valid = batches[epoch]
            steps = _num_steps(batches[epoch], 0, len(runs))
            state, record = programs.train_epoch(
                self.static,
                state,
                devices.split(
                    Batches(np.where(valid, places[rows], 0), valid), self.mesh
                ),
                devices.split(self.numbers(runs, epoch), self.mesh),
                np.int32(epoch),
                np.int32(steps.max()),
                table,
                val_chunks,
                self.frozen,
            )
            record = devices.fetch(record)
            history.losses[:, epoch] = record.losses
            history.mean_alphas[:, epoch] = record.mean_alphas
            val = None
            if record.val is not None:
                for column, counts in zip(history.val, record.val, strict=True):
                    column[:, epoch] = counts
                val = self.metrics(record.val)
            self.check_finite(runs, record.losses, batches[epoch], epoch)
            if epoch == 0 and self.failed:
                self.explain_first_loss(runs, params)
            if self.settings.debug:
                self.check_alphas(runs, record.alphas, epoch)
            if all(run.point in self.failed for run in runs):
                break
            # Stopped between the two, an epoch is told of twice, but never not at all.
            if self.watcher is not None:
                self.watcher.epoch_ended(
                    names, epoch, record.losses, record.alphas, val
                )
            if self.checkpoints is not None:
                self.checkpoints.save(name, epoch + 1, (state, history))
            took = time.perf_counter() - started
            self.steps_done += int(steps.max())
            if self.compiled_steps == 0:  # the first epoch says nothing: it compiles
                self.compiled_steps = self.steps_done
            else:
                self.step_seconds += took
            self.report(self.progress(runs, epoch, record.losses, val, took))
        self.lap("epochs")

        alphas, weight_few = devices.fetch(
            programs.alphas_and_weights(
                self.static, state.selected, self.frozen.sources
            )
        )
        # The unchanged classifier is one more set of coefficients.
        test, test_pred = self.evaluate(np.concatenate([alphas, baseline]), test_chunks)
        test_pred = test_pred[:, : len(self.dataset.test.labels)]
        stacked = _RunResult(
            selected_epoch=devices.fetch(state.selected_epoch),
            params=devices.fetch(state.selected),
            alphas=alphas,
            weight_few=weight_few,
            losses=history.losses,
            mean_alphas=history.mean_alphas,
            val=_no_metrics(history.losses.shape[:2], self.dataset.num_classes)
            if val_chunks is None
            else self.metrics(history.val),
            test=Metrics(*(part[:-1] for part in test)),
            test_pred=test_pred[:-1],
        )
        if self.watcher is not None:
            self.watcher.tested(names, stacked.test)
        results = [_take(stacked, i) for i in range(len(runs))]
        return results, (Metrics(*(part[-1] for part in test)), test_pred[-1])

    def empty_history(self, num_runs: int) -> History:
        """Makes room for all epochs."""
        epochs = (num_runs, self.settings.train_epochs)
        classes = self.dataset.num_classes
        num_places = self.settings.n_neighbors + 1
        return History(
            losses=np.full((*epochs, self.group.num_batches), np.nan, np.float32),
            mean_alphas=np.zeros((*epochs, num_places), np.float32),
            val=Counts(
                correct=np.zeros((*epochs, classes), np.int32),
                predicted=np.zeros((*epochs, classes), np.int32),
                total=np.zeros((*epochs, classes), np.int32),
                top5_correct=np.zeros(epochs, np.int32),
            ),
        )

    def numbers(self, runs: Sequence[_Run], epoch: int) -> programs.RunNumbers:
        """Gathers the numbers in which runs differ."""
        problems = [self.group.points[run.point].problem for run in runs]
        scales = [problem.settings.pred_scale for problem in problems]
        momenta = [p.momenta[epoch] for p in problems if p.momenta is not None]
        last = self.settings.train_epochs
        return programs.RunNumbers(
            learning_rate=np.asarray(
                [problem.learning_rates[epoch] for problem in problems], np.float32
            ),
            momentum=np.asarray(momenta, np.float32) if momenta else None,
            pred_scale=np.asarray(scales, np.float32),
            scale_index=np.asarray([self.group.scales.index(s) for s in scales]),
            min_epochs=np.asarray(
                [min(problem.settings.min_epochs, last) for problem in problems],
                np.int32,
            ),
        )

    def metrics(self, counts: Counts) -> Metrics:
        """Takes the ratios."""
        return evaluation.metrics_from_counts(counts, self.dataset.splits)

    def check_finite(
        self, runs: Sequence[_Run], losses: np.ndarray, batches: Batches, epoch: int
    ) -> None:
        """Notes points with a loss that is not finite."""
        bad = ~np.isfinite(losses) & batches.valid.any(axis=2)
        for index, step in np.argwhere(bad):
            run = runs[index]
            message = (
                f"{self.prefix(run)}the loss is {losses[index, step]} for seed "
                f"{run.seed} in epoch {epoch + 1}, step {step + 1}; a lower learning "
                "rate may help"
            )
            self.failed.setdefault(run.point, UserError(message))

    def explain_first_loss(self, runs: Sequence[_Run], params: model.Params) -> None:
        """Says so where a loss is not finite because the network gives only zeros."""
        alphas, _ = devices.fetch(
            programs.alphas_and_weights(self.static, params, self.frozen.sources)
        )
        for index, few in np.argwhere(~np.isfinite(alphas).all(axis=2)):
            run = runs[index]
            if run.point in self.failed:
                self.failed[run.point] = UserError(
                    f"{self.prefix(run)}the network of seed {run.seed} gives only "
                    f"zeros for class {self.dataset.few_classes[few]}, which cannot be "
                    "divided by the sum of their sizes; take another activation (hact) "
                    "or more units (hdims)"
                )

    def check_alphas(
        self, runs: Sequence[_Run], alphas: np.ndarray, epoch: int
    ) -> None:
        """Checks what must hold of coefficients, as `debug` asks for."""
        sums = np.abs(alphas[..., 1:]).sum(axis=-1)
        wrong = (alphas[..., 0] != 1.0) | ~(np.abs(sums - 1.0) < 1e-4)
        if self.settings.dummy_mode:
            wrong = (alphas != np.eye(alphas.shape[-1])[0]).any(axis=-1)
        for index, few in np.argwhere(wrong):
            run = runs[index]
            message = (
                f"{self.prefix(run)}debug: coefficients {alphas[index, few].tolist()} "
                f"of class {self.dataset.few_classes[few]} for seed {run.seed} after "
                f"epoch {epoch + 1}"
            )
            self.failed.setdefault(run.point, UserError(message))

    def prefix(self, run: _Run) -> str:
        """Begins a message about a run: the name of its point, if it has one."""
        name = self.group.points[run.point].name
        return f"{name}: " if name else ""

    def progress(
        self,
        runs: Sequence[_Run],
        epoch: int,
        losses: np.ndarray,
        val: Metrics | None,
        took: float,
    ) -> str:
        """Describes an epoch in a line."""
        num_epochs, in_all = self.settings.train_epochs, len(self.group.runs)
        width = len(str(num_epochs))
        line = f"epoch {epoch + 1:{width}}/{num_epochs}  loss {np.nanmean(losses):.4f}"
        if val is not None:
            few, medium, many = 100 * val.acc_per_split.mean(axis=0)
            line += (
                f"  val few {few:5.1f}  med. {medium:5.1f}  many {many:5.1f}"
                f"  overall {100 * val.accuracy.mean():5.1f}"
            )
        line += f"  {took:.2f} s"
        if self.plan.group_size < in_all:
            first = self.group.runs.index(runs[0]) + 1
            last = min(first + len(runs) - 1, in_all)
            line = f"runs {first}-{last} of {in_all}  {line}"
        timed = max(self.steps_done - self.compiled_steps, 1)
        left = self.step_seconds * (self.steps_in_all - self.steps_done) / timed
        return f"{line}, {left:.0f} s left" if left >= 5 else line


def _num_steps(batches: Batches, start: int, size: int) -> np.ndarray:
    """Number of batches, up to the last with a row, of runs from `start` on."""
    real = batches.valid[start : start + size].any(axis=2)
    return np.asarray((np.arange(1, real.shape[1] + 1) * real).max(axis=1, initial=0))


def _same_steps(batches: Batches, start: int, size: int) -> bool:
    """Tells whether all of some runs have a step where any of them has."""
    real = batches.valid[start : start + size].any(axis=2)
    return bool((np.asarray(real) == np.asarray(real)[:1]).all())


def _take(tree: Any, index: int | np.ndarray) -> Any:
    return jax.tree.map(lambda array: array[index], tree)


def _make_outcome(
    seeds: Sequence[int],
    results: Sequence[_RunResult],
    baseline_val: Metrics,
    baseline_test: tuple[Metrics, np.ndarray],
    seconds: Mapping[str, float],
) -> Outcome:
    """Puts the runs of a point together."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *results)
    losses = np.swapaxes(stacked.losses, 0, 1)  # (E, S, T)
    metrics, predictions = baseline_test
    with np.errstate(invalid="ignore"):
        steps = [np.flatnonzero(~np.isnan(epoch).all(axis=0)) for epoch in losses]
        epoch_loss = np.stack(
            [np.nanmean(epoch, axis=1) for epoch in losses], axis=1
        ) if len(losses) else np.zeros((len(seeds), 0), np.float32)  # fmt: skip
    return Outcome(
        seeds=np.asarray(seeds, np.int64),
        selected_epoch=stacked.selected_epoch,
        params=stacked.params,
        alphas=stacked.alphas,
        weight_few=stacked.weight_few,
        step_loss=[
            epoch[:, : found[-1] + 1]
            for epoch, found in zip(losses, steps, strict=True)
        ],
        epoch_loss=epoch_loss,
        mean_alphas=stacked.mean_alphas,
        val=stacked.val,
        test=stacked.test,
        test_pred=stacked.test_pred,
        baseline_val=Metrics(*(part[0] for part in baseline_val)),
        baseline_test=metrics,
        baseline_test_pred=predictions,
        seconds=dict(seconds),
    )


def _no_metrics(shape: tuple[int, ...], num_classes: int) -> Metrics:
    """Metrics where there are no samples."""
    nothing = np.full(shape, np.nan)
    return Metrics(
        accuracy=nothing,
        top5=nothing,
        f1=nothing,
        acc_per_split=np.full((*shape, len(evaluation.SPLITS)), np.nan),
        acc_per_class=np.full((*shape, num_classes), np.nan),
    )
