"""What is to be trained: settings and data, with everything looked up and found.

Notation: E epochs, F 'few' classes, C classes, k neighbors, d feature dimensions.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from alphanet_jax import model, nn_search, sampling, scores
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import programs
from alphanet_jax.lookup import activations, optimizers
from alphanet_jax.lookup.schedules import Schedule, make_schedule

__all__ = [
    "PRECISIONS",
    "SELECTIONS",
    "NeighborStore",
    "Problem",
    "Settings",
    "find_neighbors",
    "prepare",
    "prepare_all",
    "remarks",
]

SELECTIONS = ("best", "reference", "last")
PRECISIONS = ("highest", "tensorfloat32")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that training can be told; names and defaults are the original's.

    Attributes:
      n_neighbors: Neighbors of a few class, k.
      nn_dist: Distance between class means; see `nn_search.find_neighbors`.
      nn_per_seed: Whether random neighbors are drawn for every seed anew, as
        `prepare` is told: its problems then have arrays of the same shapes, and
        train in the same program, one after the other.
      hdims: Sizes of the hidden layers.
      hact: Name in `activations.ACTIVATIONS`.
      dummy_mode: Whether the coefficients are (1, 0, ..., 0), whatever is trained: the
        unchanged classifier.
      debug: Whether coefficients are checked after every epoch.
      precision: Of matrix products in training, one of `PRECISIONS`.
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
    nn_per_seed: bool = False
    hdims: tuple[int, ...] = (32, 32, 32)
    hact: str = "leaky_relu"
    dummy_mode: bool = False
    debug: bool = False
    precision: str = "highest"
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
        ("precision", PRECISIONS),
    ):
        if getattr(settings, name) not in allowed:
            raise UserError(
                f"{name} must be one of {', '.join(allowed)}, "
                f"got {getattr(settings, name)!r}"
            )


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
    means = dataset.class_means()
    return _neighbors_from_means(means, dataset, settings, seed)


def _neighbors_from_means(
    means: np.ndarray, dataset: Dataset, settings: Settings, seed: int
) -> nn_search.Neighbors:
    found: nn_search.Neighbors = jax.device_get(
        _find_neighbors(
            means,
            dataset.few_classes,
            dataset.base_classes,
            num_neighbors=settings.n_neighbors,
            metric=settings.nn_dist,
            key=jax.random.fold_in(jax.random.key(seed), programs.NEIGHBOR_BRANCH),
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
    return prepare_all(dataset, [(settings, seed)], neighbors=neighbors)[0]


class NeighborStore(Protocol):
    """A place that keeps neighbors."""

    def load(self, settings: Settings, seed: int) -> nn_search.Neighbors | None:
        """Gives neighbors that were kept, or None."""

    def save(
        self, settings: Settings, seed: int, neighbors: nn_search.Neighbors
    ) -> None:
        """Keeps neighbors."""


def prepare_all(
    dataset: Dataset,
    items: Sequence[tuple[Settings, int]],
    *,
    neighbors: nn_search.Neighbors | None = None,
    store: NeighborStore | None = None,
) -> list[Problem]:
    """Does what `prepare` does for several settings, sharing what they share.

    Args:
      dataset: The dataset.
      items: Settings, each with the seed of its random neighbors.
      neighbors: Neighbors to use for all instead of searching for them.
      store: Where neighbors are kept, and looked for first.

    Returns:
      A problem for each.

    Raises:
      UserError: If a setting is unknown, out of range or does not fit the data.
    """
    resolved = [_resolve(dataset, settings) for settings, _ in items]
    means = None
    pools: dict[str, sampling.Pool] = {}
    shared: dict[Any, tuple[nn_search.Neighbors, scores.Frozen]] = {}
    weights = {"weight": jnp.asarray(dataset.weight), "bias": jnp.asarray(dataset.bias)}
    problems = []
    for (settings, seed), (samplers, schedule) in zip(items, resolved, strict=True):
        key = (
            settings.n_neighbors,
            settings.nn_dist,
            settings.nn_per_seed,
            seed if settings.nn_dist == "random" else None,
        )
        if key not in shared:
            found = neighbors
            if found is None and store is not None:
                found = store.load(settings, seed)
            if found is None:
                if means is None:
                    means = dataset.class_means()
                found = _neighbors_from_means(means, dataset, settings, seed)
                if store is not None:
                    store.save(settings, seed, found)
            frozen = scores.make_frozen(
                dataset.weight,
                dataset.bias,
                dataset.few_classes,
                found.classes,
                same_shape=settings.nn_per_seed,
            )
            shared[key] = (found, frozen)
        for split in ("few", *(sampler.split for sampler in samplers)):
            if split not in pools:
                pools[split] = sampling.make_pool(
                    dataset.train.labels, _split_classes(dataset, split)
                )
        found, frozen = shared[key]
        problems.append(
            Problem(
                dataset=dataset,
                settings=settings,
                neighbors=np.asarray(found.classes),
                neighbor_distances=np.asarray(found.distances),
                frozen=frozen,
                score_arguments={
                    **weights,
                    "few_classes": frozen.few_classes,
                    "base_classes": jnp.asarray(dataset.base_classes),
                    "source_classes": frozen.source_classes,
                },
                pools=pools,
                samplers=samplers,
                learning_rates=schedule.learning_rate,
                momenta=schedule.momentum,
            )
        )
    return problems


def _split_classes(dataset: Dataset, split: str) -> np.ndarray:
    return dataset.base_classes if split == "base" else dataset.splits[split]


def _resolve(
    dataset: Dataset, settings: Settings
) -> tuple[tuple[sampling.Sampler, ...], Schedule]:
    """Checks settings; gives their samplers and the schedule."""
    _check_settings(settings, dataset)
    counts = {
        split: dataset.class_counts[_split_classes(dataset, split)]
        for split in ("few", "medium", "many", "base")
    }
    try:
        activations.look_up(settings.hact)
        samplers = sampling.make_samplers(
            settings.sampler_classes,
            settings.sampler_args,
            counts,
            default_r=settings.rho,
        )
        if not any(sampler.amount and sampler.capacity for sampler in samplers):
            raise ValueError("the samplers draw no rows at all; r may be too small")
        optimizer = optimizers.make_optimizer(settings.optim_cls, settings.optim_params)
        schedule = make_schedule(
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
    return samplers, schedule


def remarks(problem: Problem) -> list[str]:
    """Lists what a person should know before a problem is trained, a line for each."""
    settings, data = problem.settings, problem.dataset
    found = []
    if settings.n_neighbors == 1 and not settings.dummy_mode:
        found.append(
            "n_neighbors is 1: divided by its size the only coefficient is 1 or -1, "
            "which training cannot change; take 2 or more to learn anything"
        )
    if 0 < settings.train_epochs < settings.min_epochs:
        found.append(
            f"min_epochs ({settings.min_epochs}) is past the last of "
            f"{settings.train_epochs} epochs: the last one is tested"
        )
    for split, classes in data.splits.items():
        if not np.isin(data.test.labels, classes).any():
            found.append(f"no test sample is of a '{split}' class: its accuracy is '-'")
        if data.val is not None and not np.isin(data.val.labels, classes).any():
            found.append(
                f"no validation sample is of a '{split}' class: epochs are chosen "
                "without it"
            )
    names = data.label_names or ()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        shown = ", ".join(map(repr, twice[:3]))
        found.append(f"{len(twice)} names are those of several classes: {shown}")
    return found
