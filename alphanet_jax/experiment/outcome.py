"""What comes of training: outcomes, and the arrays of a result file.

Notation: R runs, S seeds, E epochs, T batches of an epoch, F 'few' classes, C classes,
k neighbors, d feature dimensions, n test samples.
"""

import dataclasses
import importlib.metadata
import json
import operator
import platform
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from alphanet_jax import eval as evaluation
from alphanet_jax import model
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.experiment.hooks import History
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.results import schema
from alphanet_jax.version import __version__

__all__ = [
    "Outcome",
    "RunOutcome",
    "empty_history",
    "make_outcome",
    "merge_seeds",
    "no_metrics",
    "result_arrays",
    "versions",
]


class RunOutcome(NamedTuple):
    """What came of one run."""

    selected_epoch: np.ndarray  # shape=()
    params: model.Params  # of the selected epoch
    alphas: np.ndarray  # shape=(F, k + 1)
    weight_few: np.ndarray  # shape=(F, d)
    losses: np.ndarray  # shape=(E, T)
    mean_alphas: np.ndarray  # shape=(E, k + 1)
    least_alphas: np.ndarray  # shape=(E, k + 1)
    most_alphas: np.ndarray  # shape=(E, k + 1)
    drawn: np.ndarray  # shape=(E, C)
    val_correct: np.ndarray | None  # shape=(E, C)
    val: Metrics  # shape=(E,)
    test: Metrics  # shape=()
    test_pred: np.ndarray  # shape=(n,)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of the runs of a point; every array begins with the seed axis S.

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
    least_alphas: np.ndarray  # shape=(S, E, k + 1): the least of them
    most_alphas: np.ndarray  # shape=(S, E, k + 1): the most
    drawn: np.ndarray  # shape=(S, E, C): training samples drawn of every class
    val_correct: np.ndarray | None  # shape=(S, E, C): validation samples right
    val: Metrics  # shape=(S, E)
    test: Metrics  # shape=(S,)
    test_pred: np.ndarray  # shape=(S, n)
    baseline_val: Metrics  # shape=()
    baseline_test: Metrics  # shape=()
    baseline_test_pred: np.ndarray  # shape=(n,)
    seconds: Mapping[str, float]  # by phase


def empty_history(problem: Problem, num_runs: int, num_batches: int) -> History:
    """Makes room for all epochs of some runs.

    Args:
      problem: Their problem, or one that shares their sizes.
      num_runs: How many they are, R.
      num_batches: The most batches of an epoch, T.
    """
    epochs = (num_runs, problem.settings.train_epochs)
    classes = problem.dataset.num_classes
    num_places = problem.settings.n_neighbors + 1
    return History(
        losses=np.full((*epochs, num_batches), np.nan, np.float32),
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


def make_outcome(
    seeds: Sequence[int],
    runs: Sequence[RunOutcome],
    *,
    baseline_val: Metrics,
    baseline_test: Metrics,
    baseline_test_pred: np.ndarray,
    seconds: Mapping[str, float],
) -> Outcome:
    """Puts the runs of a point together, in the order of its seeds."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    losses = np.swapaxes(stacked.losses, 0, 1)  # (E, S, T)
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
        least_alphas=stacked.least_alphas,
        most_alphas=stacked.most_alphas,
        drawn=stacked.drawn,
        val_correct=stacked.val_correct,
        val=stacked.val,
        test=stacked.test,
        test_pred=stacked.test_pred,
        baseline_val=baseline_val,
        baseline_test=baseline_test,
        baseline_test_pred=baseline_test_pred,
        seconds=dict(seconds),
    )


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
            "mean_alphas", "least_alphas", "most_alphas", "drawn", "val_correct", "val",
            "test", "test_pred",
        )
    }  # fmt: skip
    losses = [
        stack([pad(outcome.step_loss[epoch], width) for outcome in outcomes])
        for epoch, width in enumerate(steps)
    ]
    return dataclasses.replace(first, **merged, step_loss=losses)


def no_metrics(shape: tuple[int, ...], num_classes: int) -> Metrics:
    """Makes metrics of no samples: NaN."""
    nothing = np.full(shape, np.nan)
    return Metrics(
        accuracy=nothing,
        top5=nothing,
        f1=nothing,
        acc_per_split=np.full((*shape, len(evaluation.SPLITS)), np.nan),
        acc_per_class=np.full((*shape, num_classes), np.nan),
    )


def versions() -> dict[str, str]:
    """Lists the versions of the software that numbers depend on."""
    packages = ("jax", "jaxlib", "numpy", "optax")
    return {
        "alphanet_jax": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def result_arrays(
    problems: Problem | Sequence[Problem],
    outcome: Outcome,
    settings: Settings,
    *,
    brief: bool = False,
) -> dict[str, np.ndarray]:
    """Gathers everything that a result file holds.

    Args:
      problems: The problem; or those of all seeds, where each has neighbors of its
        own.
      outcome: What came of it.
      settings: The settings of the point.
      brief: Whether to leave out the networks and the record of every epoch.

    Returns:
      Arrays by name, as `alphanet_jax.results.file` lists them.
    """
    if isinstance(problems, Problem):
        problem = problems
        neighbors, distances = problem.neighbors, problem.neighbor_distances
    else:
        problem = problems[0]
        neighbors = np.stack([each.neighbors for each in problems])
        distances = np.stack([each.neighbor_distances for each in problems])
    dataset = problem.dataset
    arrays: dict[str, Any] = {
        "seeds": outcome.seeds,
        "dataset": np.asarray(dataset.name),
        "proper_name": np.asarray(dataset.proper_name),
        "label_names": np.asarray(dataset.label_names or (), np.str_),
        **{f"{split}_classes": classes for split, classes in dataset.splits.items()},
        "class_counts": dataset.class_counts,
        "neighbors": neighbors,
        "neighbor_distances": distances,
        "alphas": outcome.alphas,
        "weight_few": outcome.weight_few,
        "selected_epoch": outcome.selected_epoch,
        "epoch_loss": outcome.epoch_loss,
        "epoch_mean_alphas": outcome.mean_alphas,
        "learning_rate": problem.learning_rates,
        "momentum": np.zeros(0) if problem.momenta is None else problem.momenta,
    }
    for prefix, metrics, predictions in (
        ("val", outcome.val, None),
        ("test", outcome.test, outcome.test_pred),
        ("baseline_val", outcome.baseline_val, None),
        ("baseline_test", outcome.baseline_test, outcome.baseline_test_pred),
    ):
        for name, array in metrics._asdict().items():
            # By class and epoch they are recorded as counts, which are smaller.
            if not (prefix == "val" and name == "acc_per_class"):
                arrays[f"{prefix}_{name}"] = array
        if predictions is not None:
            arrays[f"{prefix}_pred"] = predictions
    if not settings.dummy_mode and not brief:
        arrays |= _of_the_network(outcome.params, len(outcome.seeds))
        arrays["class_means"] = problem.class_means()
        arrays |= _of_every_epoch(dataset, outcome)
    arrays |= {
        "test_labels": dataset.test.labels,
        "config": _json(settings.as_config()),
        "versions": _json(versions()),
        "file_hashes": _json(dict(dataset.file_hashes)),
    }
    return {name: np.asarray(array) for name, array in arrays.items()}


def _of_the_network(params: model.Params, num_seeds: int) -> dict[str, np.ndarray]:
    """Names the arrays of all seeds' networks; each has an axis of seeds first."""
    networks = [
        model.params_to_torch(jax.tree.map(operator.itemgetter(index), params))
        for index in range(num_seeds)
    ]
    return {
        schema.NETWORK + name: np.stack([network[name] for network in networks])
        for name in networks[0]
    }


def _of_every_epoch(dataset: Dataset, outcome: Outcome) -> dict[str, np.ndarray]:
    """Names the arrays of what came of every step and epoch."""
    width = max((losses.shape[1] for losses in outcome.step_loss), default=0)
    shape = (len(outcome.seeds), len(outcome.step_loss), width)
    step_loss = np.full(shape, np.nan, np.float32)
    for epoch, losses in enumerate(outcome.step_loss):
        step_loss[:, epoch, : losses.shape[1]] = losses
    arrays = {
        "step_loss": step_loss,
        "epoch_least_alphas": outcome.least_alphas,
        "epoch_most_alphas": outcome.most_alphas,
        "drawn_per_class": _compact(outcome.drawn),
    }
    if dataset.val is not None and outcome.val_correct is not None:
        counts = np.bincount(dataset.val.labels, minlength=dataset.num_classes)
        arrays["val_class_counts"] = counts
        arrays["val_correct_per_class"] = _compact(outcome.val_correct)
    return arrays


def _compact(counts: np.ndarray) -> np.ndarray:
    """Stores counts in the smallest type that holds them."""
    most = int(counts.max()) if counts.size else 0
    return counts.astype(np.min_scalar_type(most))


def _json(value: Any) -> np.ndarray:
    return np.asarray(json.dumps(value, sort_keys=True))
