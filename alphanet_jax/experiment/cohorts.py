"""Cohorts: the runs that share a compiled program.

A run is one seed of one setting. Whatever their seeds and numbers, runs whose shapes
and compiled settings are equal are a cohort, and train in batches of runs.

Notation: R runs, T batches of an epoch, B rows of a batch.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alphanet_jax import model, sampling, streaming
from alphanet_jax.config.fields import Settings
from alphanet_jax.experiment import memory, programs
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.experiment.programs import ProgramKey
from alphanet_jax.sampling import Batches

__all__ = [
    "Cohort",
    "Part",
    "Run",
    "all_step",
    "draw_batches",
    "make_cohort",
    "make_cohorts",
    "needs",
    "network_sizes",
    "num_steps",
    "pad_runs",
    "plan_cohort",
    "plan_parts",
    "program_key",
    "run_numbers",
]


class Part(NamedTuple):
    """Seeds of a point that share a problem: all of them, or one with its neighbors."""

    problem: Problem
    seeds: tuple[int, ...]
    name: str = ""  # of the point


class Run(NamedTuple):
    """One seed of one part."""

    part: int  # among the parts of its cohort
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort:
    """Parts that share a compiled program.

    Attributes:
      parts: The parts.
      indices: Their numbers among all parts.
      program: What the program depends on, beside shapes.
      samplers: Samplers with room for the largest of them.
      num_batches: The most batches of an epoch, T.
      scales: The distinct values of `pred_scale`.
      runs: All their runs; those with most steps first, so that runs that train
        together have about as many.
    """

    parts: tuple[Part, ...]
    indices: tuple[int, ...]
    program: ProgramKey
    samplers: tuple[sampling.Sampler, ...]
    num_batches: int
    scales: tuple[float, ...]
    runs: tuple[Run, ...]

    @property
    def problem(self) -> Problem:
        """The problem of the first part, for what they share."""
        return self.parts[0].problem

    @property
    def settings(self) -> Settings:
        """Settings of the first part, for what they share."""
        return self.problem.settings

    def problem_of(self, run: Run) -> Problem:
        """Looks the problem of a run up."""
        return self.parts[run.part].problem

    def name_of(self, run: Run) -> str:
        """Looks the name of a run's point up."""
        return self.parts[run.part].name


def program_key(problem: Problem) -> ProgramKey:
    """Gathers what the program of a problem depends on, beside shapes."""
    return ProgramKey(
        settings=problem.settings.compiled("value"),
        momentum_changes=problem.momenta is not None,
        num_classes=problem.dataset.num_classes,
    )


def _cohort_key(problem: Problem) -> Any:
    """Tells problems apart that cannot share a program or its arrays."""
    shapes = problem.settings.compiled("shape")
    return program_key(problem), shapes, id(problem.frozen)


def make_cohort(
    parts: Sequence[Part], indices: Sequence[int], *, num_batches: int | None = None
) -> Cohort:
    """Makes a cohort.

    Args:
      parts: Parts that can share a program.
      indices: Their numbers among all parts.
      num_batches: The most batches of an epoch, where they are not drawn; by default
        as many as samplers may need.
    """
    problem = parts[0].problem
    samplers = tuple(
        dataclasses.replace(
            same[0],
            amount=0,  # which differs from run to run: see `draw_batches`
            # Rounded up: other numbers of rows need no other program.
            capacity=memory.round_up(max(s.capacity for s in same))
            if sampling.SAMPLERS[same[0].name].per == "rows"
            else same[0].capacity,
        )
        for same in zip(*(part.problem.samplers for part in parts), strict=True)
    )
    capacity = sum(sampler.capacity for sampler in samplers)
    rows = [sum(s.capacity for s in part.problem.samplers) for part in parts]
    order = sorted(range(len(parts)), key=lambda part: -rows[part])
    return Cohort(
        parts=tuple(parts),
        indices=tuple(indices),
        program=program_key(problem),
        samplers=samplers,
        num_batches=num_batches
        or math.ceil(capacity / problem.settings.train_batch_size),
        scales=tuple(sorted({p.problem.settings.pred_scale for p in parts})),
        runs=tuple(Run(part, seed) for part in order for seed in parts[part].seeds),
    )


def make_cohorts(parts: Sequence[Part]) -> list[Cohort]:
    """Puts parts that can share a program together."""
    cohorts: dict[Any, list[int]] = {}
    for index, part in enumerate(parts):
        cohorts.setdefault(_cohort_key(part.problem), []).append(index)
    return [make_cohort([parts[i] for i in found], found) for found in cohorts.values()]


def needs(cohort: Cohort) -> memory.Needs:
    """Gathers the sizes that the plan of memory depends on."""
    problem, settings = cohort.problem, cohort.settings
    data, frozen = problem.dataset, problem.frozen
    sizes = model.check_sizes(
        num_features=data.weight.shape[1],
        num_neighbors=settings.n_neighbors,
        hidden_dims=settings.hdims,
    )
    pairs = itertools.pairwise(sizes)
    once = more = 0
    for sampler in cohort.samplers:
        if sampling.SAMPLERS[sampler.name].per:
            more += sampler.capacity * settings.train_epochs
        else:
            once += sampler.capacity
    return memory.Needs(
        num_runs=len(cohort.runs),
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
        num_batches=cohort.num_batches,
        batch_size=settings.train_batch_size,
        eval_batch_size=settings.rows_evaluated,
        pass_rows=streaming.rows_at_a_time(data.weight.shape[1]),
    )


def plan_parts(
    parts: Sequence[Part], *, memory_limit: int | None = None
) -> list[memory.Plan]:
    """Plans the memory of every cohort.

    Args:
      parts: The parts.
      memory_limit: Bytes that may be used; by default `memory.available_bytes`.

    Returns:
      A plan for each cohort, in the order in which they train.

    Raises:
      UserError: If a cohort does not fit.
    """
    return [plan_cohort(cohort, memory_limit) for cohort in make_cohorts(parts)]


def plan_cohort(cohort: Cohort, memory_limit: int | None) -> memory.Plan:
    """Plans the memory of a cohort on the devices that there are."""
    platform = jax.devices()[0].platform
    return memory.make_plan(
        needs(cohort),
        limit=memory_limit or memory.available_bytes(platform),
        platform=platform,
        num_devices=jax.device_count(),
    )


def pad_runs(start: int, size: int, total: int) -> np.ndarray:
    """Numbers the runs of a batch; past the last run that one is repeated.

    Examples:
      >>> pad_runs(2, 4, 5).tolist()
      [2, 3, 4, 4]
    """
    return np.minimum(np.arange(start, start + size), total - 1)


def draw_batches(cohort: Cohort, *, runs_at_a_time: int) -> list[Batches]:
    """Draws the batches of all runs.

    Args:
      cohort: The cohort.
      runs_at_a_time: Runs to draw for in one call of the compiled program.

    Returns:
      For every epoch the batches as host arrays, with shape `[R, T, B]`.
    """
    settings, runs = cohort.settings, cohort.runs
    amounts = np.asarray(
        [[s.amount for s in cohort.problem_of(run).samplers] for run in runs], np.int32
    )
    seeds = np.asarray([run.seed for run in runs], np.uint32)
    pools = jax.device_put(dict(cohort.problem.pools))
    epochs: list[list[Batches]] = [[] for _ in range(settings.train_epochs)]
    for start in range(0, len(seeds), runs_at_a_time):
        index = pad_runs(start, runs_at_a_time, len(seeds))
        for epoch, drawn in enumerate(epochs):
            drawn.append(
                jax.device_get(
                    programs.draw_batches(
                        cohort.samplers,
                        settings.train_batch_size,
                        seeds[index],
                        amounts[index],
                        np.uint32(epoch),
                        pools,
                    )
                )
            )
    return [
        Batches(
            *(
                np.concatenate(column)[: len(seeds)]
                for column in zip(*drawn, strict=True)
            )
        )
        for drawn in epochs
    ]


def run_numbers(cohort: Cohort, index: np.ndarray, epoch: int) -> programs.RunNumbers:
    """Gathers the numbers in which runs differ, for an epoch counted from 0.

    Args:
      cohort: The cohort.
      index: Numbers of the runs among those of the cohort.
      epoch: The epoch.
    """
    problems = [cohort.problem_of(cohort.runs[i]) for i in index]
    scales = [problem.settings.pred_scale for problem in problems]
    momenta = [p.momenta[epoch] for p in problems if p.momenta is not None]
    last = cohort.settings.train_epochs
    return programs.RunNumbers(
        learning_rate=np.asarray(
            [p.learning_rates[epoch] for p in problems], np.float32
        ),
        momentum=np.asarray(momenta, np.float32) if momenta else None,
        pred_scale=np.asarray(scales, np.float32),
        scale_index=np.asarray([cohort.scales.index(s) for s in scales]),
        min_epochs=np.asarray(
            [min(p.settings.min_epochs, last) for p in problems], np.int32
        ),
    )


def network_sizes(problem: Problem) -> tuple[int, int, tuple[int, ...]]:
    """Gathers the sizes of the network: d, k and those of the hidden layers."""
    settings = problem.settings
    return problem.dataset.weight.shape[1], settings.n_neighbors, settings.hdims


def num_steps(batches: Batches) -> np.ndarray:
    """Counts the batches of every run up to the last with a row, with shape `[R]`."""
    real = np.asarray(batches.valid).any(axis=2)
    return np.asarray((np.arange(1, real.shape[1] + 1) * real).max(axis=1, initial=0))


def all_step(batches: Batches) -> bool:
    """Tells whether all runs have a row in every batch up to the last one with any.

    Args:
      batches: Batches of an epoch, of every run, with shape `[R, T, B]`.

    Examples:
      >>> valid = np.array([[[True], [True], [False]], [[True], [False], [False]]])
      >>> [all_step(Batches(part, part)) for part in (valid[:1], valid[1:], valid)]
      [True, True, False]
    """
    real: np.ndarray = np.any(batches.valid, axis=2)
    return bool(real[:, : int(num_steps(batches).max(initial=0))].all())
