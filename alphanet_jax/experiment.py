"""The experiment: every seed of one setting trained at once, selected and tested.

The one place that composes the pure functions, and the one that knows about seeds:
they are written for a single seed and lifted by `vmap` here. An epoch is one compiled
program; the loop over epochs is Python's.

Notation: S seeds, E epochs, T batches of an epoch, F 'few' classes, C classes, k
neighbors, d feature dimensions, n samples.
"""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alphanet_jax import (
    activations,
    feature_pass,
    model,
    nn_search,
    optimizers,
    sampling,
    scores,
    train_step,
)
from alphanet_jax import eval as evaluation
from alphanet_jax.dataset import Dataset, Group
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.sampling import Batches
from alphanet_jax.train_step import TrainState

__all__ = [
    "SELECTIONS",
    "Outcome",
    "Problem",
    "Settings",
    "epoch_batches",
    "find_neighbors",
    "initial_params",
    "prepare",
    "run",
]

SELECTIONS = ("best", "reference", "last")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that training can be told; names and defaults are the original's.

    Attributes:
      n_neighbors: Neighbors of a few class, k.
      nn_dist: Distance between class means; see `nn_search.find_neighbors`.
      hdims: Sizes of the hidden layers.
      hact: Name in `activations.ACTIVATIONS`.
      optim_cls: Name of an optimizer; see `optimizers.make_optimizer`.
      optim_params: Its parameters by the names there.
      lr_sched_cls: Name of a schedule; see `schedules.make_schedule`.
      lr_sched_params: Its parameters by the names there.
      train_epochs: Epochs to train, E.
      min_epochs: First epoch, counted from 1, that may be selected.
      train_batch_size: Rows of a training batch.
      eval_batch_size: Samples evaluated at a time.
      sampler_classes: Names in `sampling.SAMPLERS`.
      sampler_args: Arguments of each sampler, or one mapping for all.
      rho: The `r` of samplers whose arguments give none.
      selection: Which epoch's weights are tested. 'best': highest overall
        validation accuracy from `min_epochs` on, the earliest of equals.
        'reference': epoch `min_epochs`, what the original really does. 'last'.
        Without validation data always the last.
      pred_scale: Factor on all logits before the softmax.
    """

    n_neighbors: int = 5
    nn_dist: str = "euclidean"
    hdims: tuple[int, ...] = (32, 32, 32)
    hact: str = "leaky_relu"
    optim_cls: str = "AdamW"
    optim_params: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"lr": 0.001}
    )
    lr_sched_cls: str = "StepLR"
    lr_sched_params: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {"step_size": 10, "gamma": 0.1}
    )
    train_epochs: int = 25
    min_epochs: int = 5
    train_batch_size: int = 64
    eval_batch_size: int = 1024
    sampler_classes: tuple[str, ...] = ("AllFewSampler", "ClassBalancedBaseSampler")
    sampler_args: tuple[Mapping[str, Any], ...] = ({},)
    rho: float = 0.1
    selection: str = "best"
    pred_scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class Problem:
    """What all seeds share: computed once from a dataset and settings."""

    dataset: Dataset
    settings: Settings
    neighbors: np.ndarray  # shape=(F, k)
    neighbor_distances: np.ndarray  # shape=(F, k)
    frozen: scores.Frozen
    score_arguments: Mapping[str, Any]  # of scores.score_table
    pools: Mapping[str, sampling.Pool]
    samplers: tuple[sampling.Sampler, ...]
    learning_rates: np.ndarray  # shape=(E,)
    momenta: np.ndarray | None  # shape=(E,), where the schedule changes them


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
    step_loss: list[np.ndarray]  # for each epoch, shape=(S, T)
    epoch_loss: np.ndarray  # shape=(S, E): mean over batches
    mean_alphas: np.ndarray  # shape=(S, E, k + 1): mean over few classes
    val: Metrics  # shape=(S, E)
    test: Metrics  # shape=(S,)
    test_pred: np.ndarray  # shape=(S, n)
    baseline_val: Metrics  # shape=()
    baseline_test: Metrics  # shape=()
    baseline_test_pred: np.ndarray  # shape=(n,)
    seconds: Mapping[str, float]  # by phase


class _Run(NamedTuple):
    """The state of one seed: what training changes, and the selected epoch's part."""

    train: TrainState
    selected: model.Params
    selected_epoch: jax.Array  # shape=(), counted from 0
    selected_correct: jax.Array  # shape=(): validation samples it got right


@dataclasses.dataclass(frozen=True)
class _Static:
    """What the compiled program of an epoch depends on, beside shapes.

    Neither seeds nor learning rates: they recompile nothing.
    """

    hact: str
    selection: str
    optim_cls: str
    optim_params: str  # JSON, with one and the same learning rate for all
    momentum_changes: bool
    num_classes: int

    def make_optimizer(self) -> optimizers.Optimizer:
        """Builds the optimizer; its learning rate is an argument of each step."""
        return optimizers.make_optimizer(
            self.optim_cls,
            json.loads(self.optim_params),
            momentum_changes=self.momentum_changes,
        )


class _EpochRecord(NamedTuple):
    losses: jax.Array  # shape=(T,)
    mean_alphas: jax.Array  # shape=(k + 1,)
    val: Counts | None


def _check_settings(settings: Settings, dataset: Dataset) -> None:
    for name, least in (
        ("n_neighbors", 1),
        ("train_epochs", 0),
        ("min_epochs", 1),
        ("train_batch_size", 1),
        ("eval_batch_size", 1),
    ):
        if getattr(settings, name) < least:
            raise UserError(
                f"{name} must be at least {least}, got {getattr(settings, name)}"
            )
    if not 0 < settings.pred_scale < float("inf"):
        raise UserError(f"pred_scale must be positive, got {settings.pred_scale}")
    num_base = len(dataset.base_classes)
    if settings.n_neighbors >= num_base:
        raise UserError(
            "n_neighbors must be less than the number of base classes, "
            f"got {settings.n_neighbors} with {num_base} base classes"
        )
    for name, allowed in (
        ("selection", SELECTIONS),
        ("nn_dist", nn_search.METRICS),
    ):
        if getattr(settings, name) not in allowed:
            raise UserError(
                f"{name} must be one of {', '.join(allowed)}, "
                f"got {getattr(settings, name)!r}"
            )


def _seed_keys(seeds: Sequence[int]) -> jax.Array:
    return jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))


# Branches of a seed's key: each use has its own, so none depends on another.
_INIT, _EPOCHS, _NEIGHBORS = range(3)

_find_neighbors = jax.jit(
    nn_search.find_neighbors, static_argnames=("num_neighbors", "metric")
)


def find_neighbors(
    dataset: Dataset, settings: Settings, *, seed: int = 0
) -> nn_search.Neighbors:
    """Finds the neighbors of every few class, as host arrays.

    Args:
      dataset: The dataset.
      settings: The settings.
      seed: Seed of random neighbors (the metric 'random'), which all seeds share.

    Returns:
      The neighbors.
    """
    means = feature_pass.class_means(dataset.train, num_classes=dataset.num_classes)
    found: nn_search.Neighbors = jax.device_get(
        _find_neighbors(
            means,
            dataset.few_classes,
            dataset.base_classes,
            num_neighbors=settings.n_neighbors,
            metric=settings.nn_dist,
            key=jax.random.fold_in(jax.random.key(seed), _NEIGHBORS),
        )
    )
    return found


def prepare(
    dataset: Dataset,
    settings: Settings,
    *,
    seed: int = 0,
    neighbors: nn_search.Neighbors | None = None,
) -> Problem:
    """Finds neighbors and resolves everything that is looked up by name.

    Args:
      dataset: The dataset.
      settings: The settings.
      seed: Seed of random neighbors, see `find_neighbors`.
      neighbors: Neighbors to use instead of searching for them.

    Returns:
      The problem.

    Raises:
      UserError: If a setting is unknown, out of range or does not fit the data.
    """
    _check_settings(settings, dataset)
    few, base = dataset.few_classes, dataset.base_classes
    split_rows = {
        name: np.isin(dataset.train.labels, classes).sum()
        for name, classes in (("few", few), ("base", base))
    }
    try:
        activations.look_up(settings.hact)
        samplers = sampling.make_samplers(
            settings.sampler_classes,
            settings.sampler_args,
            split_rows,
            default_r=settings.rho,
        )
        optimizer = optimizers.make_optimizer(settings.optim_cls, settings.optim_params)
        schedule = optimizers.make_schedule(
            settings.lr_sched_cls,
            settings.lr_sched_params,
            learning_rate=optimizer.learning_rate,
            num_epochs=settings.train_epochs,
            has_momentum=optimizer.has_momentum,
        )
        model.check_sizes(
            num_features=dataset.weight.shape[1],
            num_neighbors=settings.n_neighbors,
            hidden_dims=settings.hdims,
        )
    except ValueError as error:
        raise UserError(str(error).rstrip(".")) from None
    classes = {"few": few, "base": base}
    pools = {
        sampler.split: sampling.make_pool(dataset.train.labels, classes[sampler.split])
        for sampler in samplers
    }
    if neighbors is None:
        neighbors = find_neighbors(dataset, settings, seed=seed)
    frozen = scores.make_frozen(dataset.weight, dataset.bias, few, neighbors.classes)
    return Problem(
        dataset=dataset,
        settings=settings,
        neighbors=np.asarray(neighbors.classes),
        neighbor_distances=np.asarray(neighbors.distances),
        frozen=frozen,
        score_arguments={
            "weight": jnp.asarray(dataset.weight),
            "bias": jnp.asarray(dataset.bias),
            "few_classes": jnp.asarray(few),
            "base_classes": jnp.asarray(base),
            "source_classes": frozen.source_classes,
            "pred_scale": settings.pred_scale,
        },
        pools=pools,
        samplers=samplers,
        learning_rates=schedule.learning_rate,
        momenta=schedule.momentum,
    )


@functools.partial(jax.jit, static_argnums=0)
def _init(sizes: tuple[int, int, tuple[int, ...]], keys: jax.Array) -> model.Params:
    num_features, num_neighbors, hidden_dims = sizes

    def init(key: jax.Array) -> model.Params:
        return model.init(
            jax.random.fold_in(key, _INIT),
            num_features=num_features,
            num_neighbors=num_neighbors,
            hidden_dims=hidden_dims,
        )

    return jax.vmap(init)(keys)


def initial_params(problem: Problem, seeds: Sequence[int]) -> model.Params:
    """Draws the initial parameters of every seed, stacked on a leading axis."""
    settings = problem.settings
    num_features = problem.dataset.weight.shape[1]
    params: model.Params = _init(
        (num_features, settings.n_neighbors, settings.hdims), _seed_keys(seeds)
    )
    return params


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(
    samplers: tuple[sampling.Sampler, ...],
    batch_size: int,
    keys: jax.Array,
    epoch: jax.Array,
    pools: Mapping[str, sampling.Pool],
) -> Batches:
    def draw(key: jax.Array) -> Batches:
        key = jax.random.fold_in(jax.random.fold_in(key, _EPOCHS), epoch)
        return sampling.draw_batches(key, pools, samplers, batch_size=batch_size)

    return jax.vmap(draw)(keys)


def epoch_batches(problem: Problem, seeds: Sequence[int]) -> list[Batches]:
    """Draws the batches of every epoch, as host arrays with shape `[S, T, B]`."""
    settings = problem.settings
    keys = _seed_keys(seeds)
    return [
        jax.device_get(
            _draw(
                problem.samplers,
                settings.train_batch_size,
                keys,
                jnp.uint32(epoch),
                problem.pools,
            )
        )
        for epoch in range(settings.train_epochs)
    ]


def _renumber(epochs: Sequence[Batches]) -> tuple[np.ndarray, list[Batches]]:
    """Numbers rows by their place among the distinct rows that are used at all."""
    if not epochs:
        return np.zeros(0, np.int64), []
    used = np.unique(np.concatenate([b.rows[b.valid] for b in epochs]))
    places = np.zeros(used[-1] + 1, np.int32)
    places[used] = np.arange(len(used))
    renumbered = [
        Batches(jnp.asarray(places[np.where(b.valid, b.rows, used[0])]), b.valid)
        for b in epochs
    ]
    return used, renumbered


def _epoch(
    run: _Run,
    batches: Batches,
    epoch: jax.Array,
    min_epochs: jax.Array,
    learning_rate: jax.Array,
    momentum: jax.Array | None,
    pred_scale: jax.Array,
    table: scores.ScoreTable,
    val_chunks: scores.ScoreTable | None,
    frozen: scores.Frozen,
    *,
    static: _Static,
) -> tuple[_Run, _EpochRecord]:
    """Trains one seed for one epoch, evaluates it and updates the selection."""
    train, losses = train_step.train_epoch(
        run.train,
        batches,
        table,
        frozen,
        learning_rate,
        transform=static.make_optimizer().transform,
        activation=static.hact,
        pred_scale=pred_scale,
        momentum=momentum,
    )
    alphas = model.apply(train.params, frozen.source_weights, activation=static.hact)
    correct = run.selected_correct
    counts = None
    select: jax.Array | bool = True
    if val_chunks is not None:
        counts, _ = evaluation.evaluate(
            alphas, val_chunks, frozen, num_classes=static.num_classes
        )
        if static.selection == "best":
            correct = jnp.sum(counts.correct)
            select = (epoch + 1 >= min_epochs) & (correct > run.selected_correct)
        elif static.selection == "reference":
            select = epoch + 1 == min_epochs

    def choose(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(select, n, o), new, old)

    run = _Run(
        train,
        choose(train.params, run.selected),
        choose(epoch, run.selected_epoch),
        choose(correct, run.selected_correct),
    )
    return run, _EpochRecord(losses, alphas.mean(axis=0), counts)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _epoch_of_all_seeds(
    static: _Static, run: _Run, batches: Batches, *shared: Any
) -> tuple[_Run, _EpochRecord]:
    """One epoch of every seed: the place where functions of one seed are lifted."""
    one = functools.partial(_epoch, static=static)
    in_axes = (0, 0) + (None,) * len(shared)
    return jax.vmap(one, in_axes=in_axes)(run, batches, *shared)


@functools.partial(jax.jit, static_argnums=0)
def _alphas_and_weights(
    hact: str, params: model.Params, source_weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The coefficients and new few classifiers of every seed."""

    def one(params: model.Params) -> tuple[jax.Array, jax.Array]:
        alphas = model.apply(params, source_weights, activation=hact)
        return alphas, model.combine(alphas, source_weights)

    return jax.vmap(one)(params)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(
    num_classes: int,
    alphas: jax.Array,
    chunks: scores.ScoreTable,
    frozen: scores.Frozen,
) -> tuple[Counts, jax.Array]:
    """Evaluates several sets of coefficients, with shape `[..., F, k + 1]`."""
    one = functools.partial(evaluation.evaluate, num_classes=num_classes)
    return jax.vmap(one, in_axes=(0, None, None))(alphas, chunks, frozen)


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


def _check_finite(losses: np.ndarray, seeds: Sequence[int], epoch: int) -> None:
    bad = ~np.isfinite(losses)
    if bad.any():
        seed, step = (int(i) for i in np.argwhere(bad)[0])
        raise UserError(
            f"the loss is {losses[seed, step]} for seed {seeds[seed]} in epoch "
            f"{epoch + 1}, step {step + 1}; a lower learning rate may help"
        )


def _progress(
    epoch: int, num_epochs: int, loss: np.ndarray, val: Metrics | None, seconds: float
) -> str:
    width = len(str(num_epochs))
    line = f"epoch {epoch + 1:{width}}/{num_epochs}  loss {loss.mean():.4f}"
    if val is not None:
        few, medium, many = 100 * val.acc_per_split.mean(axis=0)
        line += (
            f"  val few {few:5.1f}  med. {medium:5.1f}  many {many:5.1f}"
            f"  overall {100 * val.accuracy.mean():5.1f}"
        )
    return f"{line}  {seconds:.2f} s"


def run(
    problem: Problem,
    seeds: Sequence[int],
    *,
    params: model.Params | None = None,
    batches: Sequence[Batches] | None = None,
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
      report: Takes a line of text for each epoch.

    Returns:
      The outcome.

    Raises:
      UserError: If a loss is not finite; the seed, epoch and step are named.
    """
    seconds: dict[str, float] = {}
    with _compile_clock(seconds):
        return _run(problem, seeds, params, batches, report, seconds)


@functools.partial(jax.jit, static_argnums=0)
def _initial_run(static: _Static, params: model.Params) -> _Run:
    """The state before the first epoch, in memory of its own: it is donated later."""
    transform = static.make_optimizer().transform
    trained, selected = (jax.tree.map(jnp.copy, params) for _ in range(2))
    nothing = jnp.full(params[0].bias.shape[0], -1, jnp.int32)
    return _Run(
        jax.vmap(lambda p: train_step.init_state(p, transform))(trained),
        selected,
        selected_epoch=nothing,
        selected_correct=nothing,
    )


_chunk_table = jax.jit(evaluation.chunk_table, static_argnames="chunk_size")


def _run(
    problem: Problem,
    seeds: Sequence[int],
    params: model.Params | None,
    batches: Sequence[Batches] | None,
    report: Callable[[str], None],
    seconds: dict[str, float],
) -> Outcome:
    dataset, settings, frozen = problem.dataset, problem.settings, problem.frozen
    clock = time.perf_counter()

    def lap(phase: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        seconds[phase] = seconds.get(phase, 0.0) + now - clock
        clock = now

    def score(group: Group, rows: np.ndarray | None = None) -> scores.ScoreTable:
        return feature_pass.score_table(group, rows, **problem.score_arguments)

    chunk = functools.partial(_chunk_table, chunk_size=settings.eval_batch_size)
    if batches is None:
        batches = epoch_batches(problem, seeds)
    used, batches = _renumber(batches)
    lap("sampling")
    table = score(dataset.train, used) if batches else None
    val_chunks = None if dataset.val is None else chunk(score(dataset.val))
    lap("scores")

    static = _Static(
        hact=settings.hact,
        selection=settings.selection,
        optim_cls=settings.optim_cls,
        optim_params=json.dumps(
            {k: v for k, v in settings.optim_params.items() if k != "learning_rate"}
            | {"lr": 1.0}
        ),
        momentum_changes=problem.momenta is not None,
        num_classes=dataset.num_classes,
    )
    state = _initial_run(
        static, initial_params(problem, seeds) if params is None else params
    )
    records = []
    for epoch, epoch_rows in enumerate(batches):
        started = time.perf_counter()
        state, record = _epoch_of_all_seeds(
            static,
            state,
            epoch_rows,
            jnp.int32(epoch),
            jnp.int32(min(settings.min_epochs, settings.train_epochs)),
            jnp.float32(problem.learning_rates[epoch]),
            None if problem.momenta is None else jnp.float32(problem.momenta[epoch]),
            jnp.float32(settings.pred_scale),
            table,
            val_chunks,
            frozen,
        )
        record = jax.device_get(record)
        _check_finite(record.losses, seeds, epoch)
        val = (
            evaluation.metrics_from_counts(record.val, dataset.splits)
            if record.val is not None
            else None
        )
        records.append((record, val))
        took = time.perf_counter() - started
        report(_progress(epoch, len(batches), record.losses, val, took))
    lap("epochs")
    del table

    test_chunks = chunk(score(dataset.test))
    lap("scores")
    alphas, weight_few = _alphas_and_weights(
        settings.hact, state.selected, frozen.source_weights
    )
    # The unchanged classifier is one more set of coefficients.
    baseline = evaluation.baseline_alphas(*problem.neighbors.shape)[None]
    counts, test_pred = jax.device_get(
        _evaluate(
            dataset.num_classes,
            jnp.concatenate([alphas, baseline]),
            test_chunks,
            frozen,
        )
    )
    test_pred = test_pred[:, : len(dataset.test.labels)]
    test = evaluation.metrics_from_counts(counts, dataset.splits)
    if val_chunks is not None:
        counts, _ = jax.device_get(
            _evaluate(dataset.num_classes, baseline, val_chunks, frozen)
        )
        baseline_val = evaluation.metrics_from_counts(counts, dataset.splits)
    else:
        baseline_val = _no_metrics((1,), dataset.num_classes)
    lap("evaluation")

    num_seeds = len(seeds)
    val_epochs = [val for _, val in records if val is not None]
    num_epochs = len(batches)
    return Outcome(
        seeds=np.asarray(seeds, np.int64),
        selected_epoch=np.asarray(state.selected_epoch),
        params=jax.device_get(state.selected),
        alphas=np.asarray(alphas),
        weight_few=np.asarray(weight_few),
        step_loss=[record.losses for record, _ in records],
        epoch_loss=_stack([r.losses.mean(axis=1) for r, _ in records], (num_seeds, 0)),
        mean_alphas=_stack(
            [r.mean_alphas for r, _ in records], (num_seeds, 0, alphas.shape[2])
        ),
        val=(
            Metrics(
                *(np.stack(parts, axis=1) for parts in zip(*val_epochs, strict=True))
            )
            if val_epochs
            else _no_metrics((num_seeds, num_epochs), dataset.num_classes)
        ),
        test=Metrics(*(part[:-1] for part in test)),
        test_pred=test_pred[:-1],
        baseline_val=Metrics(*(part[0] for part in baseline_val)),
        baseline_test=Metrics(*(part[-1] for part in test)),
        baseline_test_pred=test_pred[-1],
        seconds=seconds,
    )


def _stack(epochs: Sequence[np.ndarray], empty: tuple[int, ...]) -> np.ndarray:
    """Stacks per-epoch arrays on axis 1; of no epochs, an array of the given shape."""
    return np.stack(epochs, axis=1) if epochs else np.zeros(empty, np.float32)


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
