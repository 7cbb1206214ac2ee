"""The compiled programs of an experiment: functions of one run, lifted over all runs.

The pure functions are written for a single run (one seed of one setting); `vmap` is
applied here and nowhere else. What differs between the runs of a program are numbers,
never shapes: learning rates, factors, how much samplers draw and so how many steps an
epoch has. None of them recompiles anything.

Notation: R runs, T batches of an epoch at most, B rows of a batch, F 'few' classes,
k neighbors.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax import eval as evaluation
from alphanet_jax import model, nn_search, sampling, scores, train_step
from alphanet_jax.config.fields import Settings
from alphanet_jax.eval import Counts
from alphanet_jax.experiment.executables import kept
from alphanet_jax.lookup import optimizers
from alphanet_jax.sampling import Batches
from alphanet_jax.train_step import TrainState

__all__ = [
    "EPOCH_BRANCH",
    "INIT_BRANCH",
    "NEIGHBOR_BRANCH",
    "EpochInputs",
    "EpochRecord",
    "ProgramKey",
    "RunNumbers",
    "RunState",
    "alphas_and_weights",
    "draw_batches",
    "draw_params",
    "evaluate",
    "first_state",
    "seed_keys",
    "train_epoch",
]

# Branches of a seed's key: each use has its own, so none depends on another.
INIT_BRANCH, EPOCH_BRANCH, NEIGHBOR_BRANCH = range(3)


@struct.dataclass
class RunState:
    """What training changes, and the selected epoch's part of it."""

    train: TrainState
    selected: model.Params
    selected_epoch: jax.Array  # shape=(), counted from 0
    selected_correct: jax.Array  # shape=(): validation samples it got right


@struct.dataclass
class RunNumbers:
    """Settings of one run that recompile nothing."""

    learning_rate: ArrayLike  # shape=(), of the epoch.
    momentum: ArrayLike | None  # shape=(), of the epoch, where it changes.
    pred_scale: ArrayLike  # shape=()
    scale_index: ArrayLike  # shape=(): the column of base_logsumexp made with it.
    min_epochs: jax.Array | np.ndarray  # shape=()


@struct.dataclass
class EpochInputs:
    """What all runs share in an epoch."""

    epoch: jax.Array | np.int32  # shape=(), counted from 0
    num_steps: (
        jax.Array | np.int32
    )  # shape=(): batches up to the last with a row of any run
    table: scores.ScoreTable  # training rows that are used at all
    val_chunks: scores.ScoreTable | None
    frozen: scores.Frozen


@struct.dataclass
class EpochRecord:
    """What is kept of an epoch."""

    losses: jax.Array  # shape=(T,); NaN where the run had no step.
    alphas: jax.Array  # shape=(F, k + 1): after the epoch.
    mean_alphas: jax.Array  # shape=(k + 1,): over few classes.
    val: Counts | None


@dataclasses.dataclass(frozen=True)
class ProgramKey:
    """What compiled programs depend on, beside shapes; runs of equal keys share them.

    Attributes:
      settings: The fields that are declared to be compiled in; all others are as by
        default.
      momentum_changes: Whether the schedule changes the momentum.
      num_classes: Number of classes C.
    """

    settings: Settings
    momentum_changes: bool
    num_classes: int

    def network(
        self,
        params: model.Params,
        sources: nn_search.Sources,
        *,
        alone: bool = False,
    ) -> jax.Array:
        """Computes the coefficients of every few class; `alone` is as in the model."""
        if self.settings.dummy_mode:
            return jnp.asarray(
                evaluation.baseline_alphas(len(sources.rows), len(sources.weights) - 1)
            )
        return model.apply(
            params,
            sources,
            activation=self.settings.hact,
            precision=self.settings.precision,
            alone=alone,
        )

    def make_optimizer(self) -> optimizers.Optimizer:
        """Builds the optimizer; its learning rate is an argument of each step."""
        return optimizers.make_optimizer(
            self.settings.optim_cls,
            self.settings.optim_params,
            momentum_changes=self.momentum_changes,
        )


def _are_alone(params: model.Params) -> bool:
    """Tells whether parameters, with a leading axis of runs, are those of just one."""
    return bool(params[0].bias.shape[0] == 1)


def seed_keys(seeds: jax.Array) -> jax.Array:
    """Makes the random key of every seed."""
    return jax.vmap(jax.random.key)(seeds)


@kept(static_argnums=[0])
def draw_params(
    sizes: tuple[int, int, tuple[int, ...]], seeds: jax.Array
) -> model.Params:
    """Draws initial parameters; sizes are d, k and those of the hidden layers."""
    num_features, num_neighbors, hidden_dims = sizes

    def init(key: jax.Array) -> model.Params:
        return model.init(
            jax.random.fold_in(key, INIT_BRANCH),
            num_features=num_features,
            num_neighbors=num_neighbors,
            hidden_dims=hidden_dims,
        )

    return jax.vmap(init)(seed_keys(seeds))


@kept(static_argnums=[0, 1])
def draw_batches(
    samplers: tuple[sampling.Sampler, ...],
    batch_size: int,
    seeds: jax.Array,
    amounts: jax.Array,
    epoch: jax.Array,
    pools: Mapping[str, sampling.Pool],
) -> Batches:
    """Draws the batches of one epoch of every run; amounts have shape `[R, ...]`."""

    def draw(key: jax.Array, amounts: jax.Array) -> Batches:
        key = jax.random.fold_in(jax.random.fold_in(key, EPOCH_BRANCH), epoch)
        return sampling.draw_batches(
            key, pools, samplers, batch_size=batch_size, amounts=amounts
        )

    return jax.vmap(draw)(seed_keys(seeds), amounts)


@kept(static_argnums=[0])
def first_state(program: ProgramKey, params: model.Params) -> RunState:
    """The state before the first epoch, in memory of its own: it is donated later."""
    transform = program.make_optimizer().transform
    trained, selected = (jax.tree.map(jnp.copy, params) for _ in range(2))
    nothing = jnp.full(params[0].bias.shape[0], -1, jnp.int32)
    return RunState(
        jax.vmap(lambda p: train_step.init_state(p, transform))(trained),
        selected,
        selected_epoch=nothing,
        selected_correct=nothing,
    )


def _train_one_epoch(
    run: RunState,
    batches: Batches,
    numbers: RunNumbers,
    shared: EpochInputs,
    *,
    program: ProgramKey,
    skip_empty: bool,
    alone: bool,
) -> tuple[RunState, EpochRecord]:
    """Trains one run for one epoch, evaluates it and updates the selection."""
    network = functools.partial(program.network, alone=alone)
    table, epoch, frozen = shared.table, shared.epoch, shared.frozen
    table = dataclasses.replace(
        table,
        base_logsumexp=table.base_logsumexp[:, numbers.scale_index]
        if table.base_logsumexp.shape[1] > 1
        else table.base_logsumexp[:, 0],
    )
    train, losses = train_step.train_epoch(
        run.train,
        batches,
        table,
        frozen,
        numbers.learning_rate,
        transform=program.make_optimizer().transform,
        network=network,
        pred_scale=numbers.pred_scale,
        momentum=numbers.momentum,
        num_steps=shared.num_steps,
        skip_empty=skip_empty,
    )
    alphas = network(train.params, frozen.sources)
    correct = run.selected_correct
    counts = None
    select: Any = True
    if shared.val_chunks is not None:
        counts, _ = evaluation.evaluate(
            alphas, shared.val_chunks, frozen, num_classes=program.num_classes
        )
        if program.settings.selection == "best":
            correct = jnp.sum(counts.correct)
            allowed = epoch + 1 >= numbers.min_epochs
            select = allowed & (correct > run.selected_correct)
        elif program.settings.selection == "reference":
            select = epoch + 1 == numbers.min_epochs

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(select, n, o), new, old)

    run = RunState(
        train,
        choose(train.params, run.selected),
        choose(epoch, run.selected_epoch),
        choose(correct, run.selected_correct),
    )
    return run, EpochRecord(losses, alphas, alphas.mean(axis=0), counts)


@kept(static_argnums=[0, 1], donate_argnums=2)
def train_epoch(
    program: ProgramKey,
    skip_empty: bool,
    runs: RunState,
    batches: Batches,
    numbers: RunNumbers,
    shared: EpochInputs,
) -> tuple[RunState, EpochRecord]:
    """Trains every run for one epoch, evaluates it and updates the selection.

    Args:
      program: What the program depends on.
      skip_empty: Whether runs may have batches without a row before their last one.
      runs: The state of every run; its memory is used again.
      batches: The epoch's batches of every run; rows are those of the table.
      numbers: Numbers of every run.
      shared: What all runs share.

    Returns:
      The state after the epoch, and what is kept of it.
    """
    one = functools.partial(
        _train_one_epoch,
        program=program,
        skip_empty=skip_empty,
        alone=_are_alone(runs.train.params),
    )
    return jax.vmap(one, in_axes=(0, 0, 0, None))(runs, batches, numbers, shared)


@kept(static_argnums=[0])
def alphas_and_weights(
    program: ProgramKey, params: model.Params, sources: nn_search.Sources
) -> tuple[jax.Array, jax.Array]:
    """Computes the coefficients and new few classifiers of every run."""

    def one(params: model.Params) -> tuple[jax.Array, jax.Array]:
        alphas = program.network(params, sources, alone=alone)
        return alphas, model.combine(alphas, sources)

    alone = _are_alone(params)
    return jax.vmap(one)(params)


@kept(static_argnums=[0])
def evaluate(
    num_classes: int,
    alphas: jax.Array,
    chunks: scores.ScoreTable,
    frozen: scores.Frozen,
) -> tuple[Counts, jax.Array]:
    """Evaluates several sets of coefficients, with shape `[R, F, k + 1]`."""
    one = functools.partial(evaluation.evaluate, num_classes=num_classes)
    return jax.vmap(one, in_axes=(0, None, None))(alphas, chunks, frozen)
