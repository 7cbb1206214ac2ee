"""A problem: a setting with its dataset, prepared for training.

Notation: E epochs, F 'few' classes, C classes, k neighbors, d feature dimensions.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np

from alphanet_jax import model, nn_search, sampling, scores
from alphanet_jax.config.fields import MOST_EPOCHS, Settings
from alphanet_jax.data import agreement
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import programs
from alphanet_jax.experiment.ahead import Ahead
from alphanet_jax.lookup import activations, by_name, optimizers
from alphanet_jax.lookup.schedules import Schedule, make_schedule

__all__ = [
    "PRECISIONS",
    "SELECTIONS",
    "NeighborStore",
    "Problem",
    "find_neighbors",
    "prepare",
    "prepare_all",
    "remark_on_one_group",
    "remarks",
    "remarks_on_data",
]

SELECTIONS = ("best", "reference", "last")
PRECISIONS = ("highest", "tensorfloat32")


@dataclasses.dataclass(frozen=True)
class Problem:
    """A setting with its dataset, prepared: what all of its seeds share.

    Attributes:
      dataset: The dataset.
      settings: The settings.
      neighbors: Neighbors of every few class, nearest first, with shape `[F, k]`.
      neighbor_distances: Their distances, with shape `[F, k]`.
      frozen: What training does not change.
      score_arguments: Keyword arguments of `scores.score_table`.
      pools: Training rows of every split that is drawn from, by name.
      samplers: The samplers, with their sizes.
      learning_rates: Learning rate of every epoch, with shape `[E]`.
      momenta: Momentum of every epoch, with shape `[E]`, where the schedule changes it.
      class_means: Gives the mean training feature of every class, with shape `[C, d]`,
        float32: kept ones, or computes them.
    """

    dataset: Dataset
    settings: Settings
    neighbors: np.ndarray
    neighbor_distances: np.ndarray
    frozen: scores.Frozen
    score_arguments: Mapping[str, Any]
    pools: Mapping[str, sampling.Pool]
    samplers: tuple[sampling.Sampler, ...]
    learning_rates: np.ndarray
    momenta: np.ndarray | None
    class_means: Callable[[], np.ndarray]


def _check_settings(settings: Settings, dataset: Dataset) -> None:
    for name, least in (
        ("n_neighbors", 1),
        ("train_epochs", 0),
        ("min_epochs", 1),
        ("train_batch_size", 1),
        ("eval_batch_size", 0),
    ):
        if getattr(settings, name) < least:
            raise UserError(
                f"{name} must be at least {least}, got {getattr(settings, name)}"
            )
    if settings.train_epochs > MOST_EPOCHS:
        raise UserError(
            f"train_epochs must be at most {MOST_EPOCHS}, got {settings.train_epochs}"
        )
    if not 0 < settings.pred_scale < float("inf"):
        raise UserError(f"pred_scale must be positive, got {settings.pred_scale}")
    if settings.pred_scale > by_name.MOST_FLOAT32:
        raise UserError(
            f"pred_scale must be a number that float32 holds, got {settings.pred_scale}"
        )
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


def _compile_search(dataset: Dataset, settings: Settings) -> None:
    """Compiles the search for neighbors, but for random ones, which need a key."""
    if settings.nn_dist != "random":
        _find_neighbors.lower(
            jax.ShapeDtypeStruct(dataset.weight.shape, np.float32),
            dataset.few_classes,
            dataset.base_classes,
            num_neighbors=settings.n_neighbors,
            metric=settings.nn_dist,
            key=None,
        ).compile()


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
    means = dataset.class_means(np.float64)
    return _neighbors_from_means(means, dataset, settings, seed)


def _neighbors_from_means(
    means: np.ndarray, dataset: Dataset, settings: Settings, seed: int
) -> nn_search.Neighbors:
    if settings.nn_dist != "random" and not np.ptp(means, axis=0).any():
        raise UserError(
            f"{dataset.name}: all classes have the same mean training feature, so that "
            "none is nearer than another; the features may be constant"
        )
    try:
        return nn_search.find_neighbors_on_host(
            means,
            dataset.few_classes,
            dataset.base_classes,
            find=_find_neighbors,
            num_neighbors=settings.n_neighbors,
            metric=settings.nn_dist,
            key=jax.random.fold_in(jax.random.key(seed), programs.NEIGHBOR_BRANCH)
            if settings.nn_dist == "random"
            else None,
        )
    except ValueError as error:
        raise UserError(f"{dataset.name}: {error}") from None


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
    """A place that keeps neighbors, and what they are found by."""

    def load(self, settings: Settings, seed: int) -> nn_search.Neighbors | None:
        """Loads neighbors that were kept; None if there are none."""

    def save(
        self, settings: Settings, seed: int, neighbors: nn_search.Neighbors
    ) -> None:
        """Keeps neighbors."""

    def load_means(self) -> np.ndarray | None:
        """Loads mean training features that were kept; None if there are none."""

    def save_means(self, means: np.ndarray) -> None:
        """Keeps mean training features, with shape `[C, d]`, float32."""


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
    finder = _NeighborFinder(dataset, neighbors, store)
    pools = {
        split: sampling.make_pool(dataset.train.labels, _split_classes(dataset, split))
        for split in _splits_drawn_from(samplers for samplers, _ in resolved)
    }
    weights = {
        "weight": np.asarray(dataset.weight, np.float32),
        "bias": np.asarray(dataset.bias, np.float32),
        "base_classes": np.asarray(dataset.base_classes, np.int32),
    }
    problems = []
    for (settings, seed), (samplers, schedule) in zip(items, resolved, strict=True):
        found, frozen = finder.find(settings, seed)
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
                    "source_classes": frozen.source_classes,
                },
                pools=pools,
                samplers=samplers,
                learning_rates=schedule.learning_rate,
                momenta=schedule.momentum,
                class_means=finder.class_means,
            )
        )
    return problems


class _NeighborFinder:
    """Finds neighbors, and what follows from them, once for equal settings."""

    def __init__(
        self,
        dataset: Dataset,
        neighbors: nn_search.Neighbors | None,
        store: NeighborStore | None,
    ) -> None:
        self._dataset, self._neighbors, self._store = dataset, neighbors, store
        self._found: dict[Any, tuple[nn_search.Neighbors, scores.Frozen]] = {}
        self._means: np.ndarray | None = None

    def class_means(self) -> np.ndarray:
        """Returns the mean training feature of every class, float32."""
        if self._means is None and self._store is not None:
            self._means = self._store.load_means()
        if self._means is None:
            self._means = self._dataset.class_means()
            if self._store is not None:
                self._store.save_means(self._means)
        return self._means

    def find(
        self, settings: Settings, seed: int
    ) -> tuple[nn_search.Neighbors, scores.Frozen]:
        """Finds the neighbors, and what training does not change."""
        key = (
            settings.n_neighbors,
            settings.nn_dist,
            settings.nn_per_seed,
            seed if settings.nn_dist == "random" else None,
        )
        if key not in self._found:
            neighbors = self._neighbors or self._look_up(settings, seed)
            frozen = scores.make_frozen(
                self._dataset.weight,
                self._dataset.bias,
                self._dataset.few_classes,
                neighbors.classes,
                same_shape=settings.nn_per_seed,
            )
            self._found[key] = neighbors, frozen
        return self._found[key]

    def _look_up(self, settings: Settings, seed: int) -> nn_search.Neighbors:
        if self._store is not None:
            kept = self._store.load(settings, seed)
            if kept is not None:
                return kept
        # What finds them is compiled while features are read for the means.
        jobs = Ahead()
        jobs.run("find", lambda: _compile_search(self._dataset, settings))
        means = self._dataset.class_means(np.float64)
        jobs.wait("find")
        jobs.close()
        found = _neighbors_from_means(means, self._dataset, settings, seed)
        if self._store is not None:
            self._store.save(settings, seed, found)
        return found


def _splits_drawn_from(
    samplers: Iterable[tuple[sampling.Sampler, ...]],
) -> list[str]:
    """Lists the splits that samplers draw from, and 'few', which all count by."""
    names = [sampler.split for several in samplers for sampler in several]
    return list(dict.fromkeys(["few", *names]))


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


def remark_on_one_group(first: str, second: str, group: str) -> str:
    """Says that one group is used for two purposes, fields of the settings."""
    return (
        f"{first} and {second} are both {group!r}: accuracies of samples that were "
        "learned from or chosen by are too high"
    )


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
    groups = [
        ("train_datagrp", settings.train_datagrp),
        ("val_datagrp", settings.val_datagrp if data.val is not None else ""),
        ("test_datagrp", settings.test_datagrp),
    ]
    for (first, name), (second, other) in itertools.combinations(groups, 2):
        if name == other and name:
            found.append(remark_on_one_group(first, second, name))
    if not any(s.amount and s.capacity for s in problem.samplers if s.split != "few"):
        found.append(
            f"no base samples are drawn (rho {settings.base_r:g}): nothing keeps few "
            "classes from taking over those of base classes"
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


def remarks_on_data(problems: Sequence[Problem]) -> list[str]:
    """Lists what a person should know of a dataset before anything learns from it.

    Args:
      problems: Problems of one dataset.

    Returns:
      Lines; none where nothing is to be trained.
    """
    learning = [
        problem
        for problem in problems
        if problem.settings.train_epochs and not problem.settings.dummy_mode
    ]
    if not learning:
        return []
    data = learning[0].dataset
    held_out, name = data.test, "test"
    if data.val is not None:
        held_out, name = data.val, "validation"
    remark = agreement.memorised(
        (data.train.features, data.train.labels),
        (held_out.features, held_out.labels),
        few_classes=data.few_classes,
        weight=data.weight,
        bias=data.bias,
        name=name,
    )
    return [] if remark is None else [remark]
