"""Predictions and counts from scores; accuracy, top-5 and F1 from counts.

Counting runs compiled, for one seed; the ratios are taken on the host in float64, so
they are exact and counts of parts of the data add up.

Notation: n samples, F 'few' classes, C classes; `...` any leading axes (seeds, epochs).
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import measures, scores
from alphanet_jax.scores import Frozen, ScoreTable
from alphanet_jax.splits import SPLITS

__all__ = [
    "SPLITS",
    "Counts",
    "Metrics",
    "Predictions",
    "baseline_alphas",
    "chunk_table",
    "count",
    "evaluate",
    "evaluate_unchanged",
    "metrics_from_counts",
    "predict",
]

_NO_CLASS = np.int32(np.iinfo(np.int32).max)


class Predictions(NamedTuple):
    """The outcome for each sample."""

    classes: jax.Array  # shape=(n,), dtype=jnp.int32: the class with the best logit.
    in_top5: jax.Array  # shape=(n,), dtype=jnp.bool_: the label is among the best five.


class Counts(NamedTuple):
    """Sums over samples; those of parts of the data add up."""

    correct: (
        jax.Array | np.ndarray
    )  # shape=(C,): samples of each class predicted right.
    predicted: jax.Array | np.ndarray  # shape=(C,): samples predicted as each class.
    total: jax.Array | np.ndarray  # shape=(C,): samples of each class.
    top5_correct: (
        jax.Array | np.ndarray
    )  # shape=(): samples whose label is in the top five.


class Metrics(NamedTuple):
    """Fractions in [0, 1]; NaN where there is nothing to take a fraction of."""

    accuracy: np.ndarray  # shape=(...,): correct of all samples.
    top5: np.ndarray  # shape=(...,).
    f1: np.ndarray  # shape=(...,): mean over all C classes of the class's F1.
    acc_per_split: np.ndarray  # shape=(..., 3): few, medium, many.
    acc_per_class: np.ndarray  # shape=(..., C).


def baseline_alphas(num_few: int, num_neighbors: int) -> np.ndarray:
    """Coefficients that leave the classifier as it is, with shape `[F, k + 1]`."""
    alphas = np.zeros((num_few, num_neighbors + 1), np.float32)
    alphas[:, 0] = 1.0
    return alphas


def _beats(logits: Any, classes: Any, target: Any, label: Any) -> Any:
    """Returns which logits rank before the target; ties go to the lower class."""
    return (logits > target) | ((logits == target) & (classes < label))


def predict(
    few_logits: ArrayLike, table: ScoreTable, few_classes: ArrayLike
) -> Predictions:
    """Merges few logits with the best base logits.

    Args:
      few_logits: Logits of the few classes, with shape `[n, F]`.
      table: Scores of the same samples.
      few_classes: Class ids in ascending order, with shape `[F]`.

    Returns:
      Predictions, as an argmax and a top-5 over all C logits in class order return
      them: equal logits rank by class id. All of it is NumPy's where the logits are.
    """
    # Samples last: reductions over classes then run at full width on CPUs, and a
    # caller that has them so transposes twice, which is nothing.
    xnp: Any = np if isinstance(few_logits, np.ndarray) else jnp
    logits = xnp.asarray(few_logits).T
    ids = xnp.asarray(few_classes, np.int32)
    places = xnp.arange(logits.shape[0])[:, None]
    best_logit = xnp.max(logits, axis=0)
    # The first of the best; argmax itself goes number by number.
    is_best = logits == best_logit[None, :]
    best_class = xnp.min(xnp.where(is_best, ids[:, None], _NO_CLASS), axis=0)
    few_wins = _beats(
        best_logit, best_class, table.top_logits[:, 0], table.top_classes[:, 0]
    )
    classes = xnp.where(few_wins, best_class, table.top_classes[:, 0])

    is_target = places == table.few_target[None, :]
    zero = np.float32(0)
    few_target_logit = xnp.sum(xnp.where(is_target, logits, zero), axis=0)
    target = xnp.where(table.few_target >= 0, few_target_logit, table.base_target_logit)
    few_before = _beats(logits, ids[:, None], target[None, :], table.labels[None, :])
    rank = xnp.sum(few_before, axis=0)
    base_before = _beats(
        table.top_logits, table.top_classes, target[:, None], table.labels[:, None]
    )
    return Predictions(classes, rank + xnp.sum(base_before, axis=1) < scores.TOP)


def count(predictions: Predictions, labels: ArrayLike, *, num_classes: int) -> Counts:
    """Counts outcomes by class; rows with label -1 are left out.

    Args:
      predictions: Predictions for n samples.
      labels: Classes of the samples, with shape `[n]`; -1 marks padding.
      num_classes: Number of classes C.

    Returns:
      The counts.
    """
    labels = jnp.asarray(labels)
    real = labels >= 0

    def histogram(classes: jax.Array, where: jax.Array) -> jax.Array:
        bins = jnp.where(where, classes, num_classes)
        return jnp.zeros(num_classes + 1, jnp.int32).at[bins].add(1)[:-1]

    hits = real & (predictions.classes == labels)
    return Counts(
        correct=histogram(labels, hits),
        predicted=histogram(predictions.classes, real),
        total=histogram(labels, real),
        top5_correct=jnp.sum(real & predictions.in_top5),
    )


def chunk_table(table: ScoreTable, *, chunk_size: int) -> ScoreTable:
    """Pads a table and cuts it into chunks, for `evaluate`.

    Args:
      table: Scores of n samples.
      chunk_size: Samples to evaluate at a time.

    Returns:
      Columns with shape `[chunks, chunk_size, ...]`, but `source_scores` with shape
      `[chunks, M, chunk_size]`, as `few_logits_by_source` takes them. Padding has the
      label -1.
    """
    chunks = max(1, -(-table.labels.shape[0] // chunk_size))

    def cut(column: jax.Array, fill: int = 0) -> jax.Array:
        padding = [(0, chunks * chunk_size - column.shape[0])]
        padding += [(0, 0)] * (column.ndim - 1)
        padded = jnp.pad(column, padding, constant_values=fill)
        return padded.reshape(chunks, chunk_size, *column.shape[1:])

    found: ScoreTable = jax.tree.map(cut, table)
    return dataclasses.replace(
        found,
        labels=cut(table.labels, fill=-1),
        few_target=cut(table.few_target, fill=-1),
        source_scores=found.source_scores.swapaxes(1, 2),
    )


def evaluate(
    alphas: ArrayLike, chunks: ScoreTable, frozen: Frozen, *, num_classes: int
) -> tuple[Counts, jax.Array]:
    """Evaluates one set of coefficients, a chunk of samples at a time.

    Args:
      alphas: Coefficients, with shape `[F, k + 1]`.
      chunks: Scores from `chunk_table`.
      frozen: What training does not change.
      num_classes: Number of classes C.

    Returns:
      The counts over all samples, and the predicted classes, with shape
      `[chunks * chunk_size]`, padding included.
    """

    def step(_: None, chunk: ScoreTable) -> tuple[None, Predictions]:
        logits = scores.few_logits_by_source(
            alphas, chunk.source_scores, frozen.source_index, frozen.few_bias
        )
        return None, predict(logits.T, chunk, frozen.few_classes)

    _, stacked = jax.lax.scan(step, None, chunks)
    predictions = Predictions(*(part.reshape(-1) for part in stacked))
    counts = count(predictions, chunks.labels.reshape(-1), num_classes=num_classes)
    return counts, predictions.classes


def evaluate_unchanged(
    chunks: ScoreTable, frozen: Frozen, *, num_classes: int
) -> Counts:
    """Evaluates the classifier as it is, on the host: nothing is compiled.

    Args:
      chunks: Scores from `chunk_table`.
      frozen: What training does not change.
      num_classes: Number of classes C.

    Returns:
      The counts over all samples, as `evaluate` has them for `baseline_alphas`.
    """
    chunks, frozen = jax.tree.map(np.asarray, (chunks, frozen))
    own = frozen.source_index[:, 0]
    found = []
    for number in range(len(chunks.labels)):
        chunk = jax.tree.map(operator.itemgetter(number), chunks)
        logits = frozen.few_bias[:, None] + chunk.source_scores[own]
        predicted = predict(logits.T, chunk, frozen.few_classes)
        real = chunk.labels >= 0
        labels, classes = chunk.labels[real], np.asarray(predicted.classes)[real]
        by_class = functools.partial(np.bincount, minlength=num_classes)
        found.append(
            Counts(
                correct=by_class(labels[classes == labels]),
                predicted=by_class(classes),
                total=by_class(labels),
                top5_correct=np.sum(np.asarray(predicted.in_top5)[real]),
            )
        )
    return Counts(*(np.sum(part, axis=0) for part in zip(*found, strict=True)))


def metrics_from_counts(counts: Counts, splits: Mapping[str, np.ndarray]) -> Metrics:
    """Takes the ratios.

    Args:
      counts: Counts, with any leading axes.
      splits: Class ids of 'few', 'medium' and 'many'.

    Returns:
      The metrics, float64. Accuracy of a split is taken over its samples, so it is
      not a mean of class accuracies. F1 of a class without samples and predictions
      counts as 0.
    """
    correct, predicted, total = (
        np.asarray(part, np.float64)
        for part in (counts.correct, counts.predicted, counts.total)
    )
    num_samples = total.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        acc_per_split = [
            correct[..., splits[split]].sum(axis=-1)
            / total[..., splits[split]].sum(axis=-1)
            for split in SPLITS
        ]
        return Metrics(
            accuracy=correct.sum(axis=-1) / num_samples,
            top5=np.asarray(counts.top5_correct, np.float64) / num_samples,
            f1=measures.f1_from_counts(correct, predicted, total),
            acc_per_split=np.stack(acc_per_split, axis=-1),
            acc_per_class=correct / total,
        )
