"""Rows of a linear classifier for classes that came later; all other rows stay.

With the training features at hand, rows are fitted: the problem of `convex_head` for
the new rows alone, with the prior of alphanet+, in which a class borrows from its
nearest ones. It is convex, and its cost is that of the new rows: what the others give
is one number a sample. Without, a row is what a linear map from class means to rows,
fitted to the classes that are there, makes of the new mean.

Notation: n samples, d feature dimensions, C classes before, m new classes, k neighbors
of a class.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import streaming
from alphanet_jax.posthoc import lbfgs
from alphanet_jax.posthoc.convex_head import (
    TOLERANCE,
    adjusted,
    default_l2,
)
from alphanet_jax.posthoc.gaussian import (
    COVARIANCE_GRID,
    FeatureStatistics,
    discriminants,
)
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.neighborhood import borrowing_of_new
from alphanet_jax.posthoc.pieces import TrainingRows, training_rows

__all__ = [
    "NewRows",
    "RowPrior",
    "check_new",
    "fit_new_rows",
    "level_bias",
    "prior_of_new",
    "rows_from_means",
]

_RIDGE = 0.1  # of the mean square of class means
_LEAST = 1e-12


class RowPrior(NamedTuple):
    """What is known of new rows before they are fitted."""

    weight: np.ndarray  # shape=(m, d): mean of the weights
    neighbors: np.ndarray  # shape=(m, k): classes that are borrowed from, nearest first
    coefficients: np.ndarray  # shape=(m, k): L_cj, how much


class NewRows(NamedTuple):
    """Fitted rows of new classes."""

    head: Linear  # weight of shape (m, d), bias of shape (m,)
    prior: RowPrior
    converged: bool
    step: Step  # how far the minimization went


def rows_from_means(
    head: Linear, means: ArrayLike, new_means: ArrayLike, classes: ArrayLike
) -> Linear:
    """Makes rows of the means of new classes, as those of the classifier go with means.

    A linear map from means to weights is fitted to all classes by ridge regression.
    Where the classifier is that of Gaussian classes it is the inverse of their
    covariance. A new row has the mean length of those of `classes`, and a bias with
    which the class's own mean gets the logit that theirs get, on average.

    Args:
      head: The classifier, of C classes.
      means: Their mean features, with shape `[C, d]`.
      new_means: Mean features of new classes, with shape `[m, d]`.
      classes: Class ids that lengths and logits are taken from: those with many
        samples.

    Returns:
      Rows of the new classes.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> head = Linear(np.eye(2), np.zeros(2))
      >>> rows = rows_from_means(head, np.eye(2), [[0.0, 2.0]], [0, 1])
      >>> [round(float(number), 2) for number in (*rows.weight[0], *rows.bias)]
      [-0.3, 0.95, -0.91]
    """
    weight = np.asarray(head.weight, np.float64)
    means, new = np.asarray(means, np.float64), np.asarray(new_means, np.float64)
    classes = np.asarray(classes)
    if weight.shape != means.shape or new.shape[1:] != means.shape[1:]:
        raise ValueError(
            "weight and means must be (C, d) and new_means (m, d), got "
            f"{weight.shape}, {means.shape} and {new.shape}."
        )
    centre, middle = means.mean(axis=0), weight.mean(axis=0)
    offsets = means - centre
    products = offsets @ offsets.T
    ridge = max(_RIDGE * float(np.trace(products)) / len(means), _LEAST)
    solved = np.linalg.solve(products + ridge * np.eye(len(means)), weight - middle)
    made = middle + (new - centre) @ offsets.T @ solved
    length = np.linalg.norm(weight[classes], axis=1).mean()
    made *= length / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), _LEAST)
    return Linear(made.astype(np.float32), level_bias(head, means, made, new, classes))


def level_bias(
    head: Linear,
    means: ArrayLike,
    new_weight: ArrayLike,
    new_means: ArrayLike,
    classes: ArrayLike,
) -> np.ndarray:
    """Computes biases with which means of new classes get the logits of other means.

    Args:
      head: The classifier, of C classes.
      means: Their mean features, with shape `[C, d]`.
      new_weight: Rows of new classes, with shape `[m, d]`.
      new_means: Their mean features, with shape `[m, d]`.
      classes: Class ids whose own logits at their means are averaged.

    Returns:
      Biases, with shape `[m]`, float32.
    """
    weight, bias = (np.asarray(part, np.float64)[np.asarray(classes)] for part in head)
    known = np.asarray(means, np.float64)[np.asarray(classes)]
    own = (weight * known).sum(axis=1) + bias
    at_new = np.asarray(new_weight, np.float64) * np.asarray(new_means, np.float64)
    return np.asarray(own.mean() - at_new.sum(axis=1), np.float32)


def prior_of_new(
    head: Linear,
    statistics: FeatureStatistics,
    new_means: ArrayLike,
    new_counts: ArrayLike,
    *,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    kappa: float | None = None,
    num_neighbors: int = 5,
) -> RowPrior:
    """Computes the prior mean of new rows: A + L (W - A), as in alphanet+.

    A is the shrunk Gaussian score of a class, scaled; the rows W and A of classes that
    are there do not change.

    Args:
      head: The classifier W, of C classes.
      statistics: Those of its training features.
      new_means: Mean features of new classes, with shape `[m, d]`.
      new_counts: Their numbers of samples, with shape `[m]`.
      covariance_shrinkage: a of the Gaussian scores.
      kappa: Scale of the scores; by default half of what makes them as large as `head`.
      num_neighbors: Classes k that a class borrows from; all where there are not as
        many.

    Returns:
      The prior.
    """
    found = discriminants(statistics, covariance_shrinkage=covariance_shrinkage)
    counts = np.asarray(new_counts, np.float64)
    observed = (np.asarray(new_means, np.float64) - statistics.centre) @ (
        found.directions
    )
    evidence = counts[:, None] * found.signal
    shrunk = evidence / (evidence + 1) * observed
    scores = found.shrunk @ found.directions.T
    middle = scores.mean(axis=0)
    weight = np.asarray(head.weight, np.float64)
    if kappa is None:
        size = np.linalg.norm(scores - middle)
        spread = np.linalg.norm(weight - weight.mean(axis=0))
        kappa = 0.5 * float(spread / size) if size > 0 else 0.0
    own = kappa * (shrunk @ found.directions.T - middle)
    others = weight - kappa * (scores - middle)
    classes, coefficients = borrowing_of_new(
        found, statistics.counts, shrunk, counts, num_neighbors=num_neighbors
    )
    borrowed = np.einsum("mk,mkd->md", coefficients, others[classes])
    return RowPrior(own + borrowed, classes, coefficients)


class _Piece(NamedTuple):
    """Samples that new rows are fitted to."""

    features: jax.Array  # shape=(rows, d).
    labels: jax.Array  # shape=(rows,): new class, -1: none of them, -2: padding.
    others: jax.Array  # shape=(rows,): logsumexp of the logits of other classes.


class _Scaling(NamedTuple):
    centre: jax.Array
    spread: float
    log_prior: jax.Array  # shape=(m,).


@jax.jit
def _logsumexp(
    features: jax.Array, point: jax.Array, log_prior: jax.Array, scaling: _Scaling
) -> jax.Array:
    scaled = (features.astype(jnp.float32) - scaling.centre[None, :]) / scaling.spread
    logits = jnp.matmul(scaled, point[:, :-1].T, precision="highest")
    bias = point[:, -1] + log_prior
    return jax.nn.logsumexp(logits + bias[None, :], axis=1)


@jax.jit
def _sums(
    point: jax.Array, piece: _Piece, scaling: _Scaling
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the sum of losses less what no new row changes, gradient, p (1 - p)."""
    scaled = (
        piece.features.astype(jnp.float32) - scaling.centre[None, :]
    ) / scaling.spread
    logits = jnp.matmul(scaled, point[:, :-1].T, precision="highest")
    logits = logits + (point[:, -1] + scaling.log_prior)[None, :]
    apart = jax.nn.logsumexp(logits, axis=1) - piece.others
    all_classes = piece.others + jax.nn.softplus(apart)
    is_new, is_row = piece.labels >= 0, piece.labels >= -1
    own = jnp.take_along_axis(
        logits, jnp.where(is_new, piece.labels, 0)[:, None], axis=1
    )[:, 0]
    # Of other classes' samples only what new classes take from them.
    loss = jnp.where(is_new, all_classes - own, jax.nn.softplus(apart))
    shares = jnp.where(is_row[:, None], jnp.exp(logits - all_classes[:, None]), 0.0)
    hot = jax.nn.one_hot(piece.labels, shares.shape[1], dtype=shares.dtype)
    residuals = shares - hot  # a negative label has no one
    by_weight = jnp.matmul(residuals.T, scaled, precision="highest")
    gradient = jnp.concatenate([by_weight, residuals.sum(axis=0)[:, None]], axis=1)
    curvature = (shares * (1 - shares)).sum(axis=0)
    return jnp.where(is_row, loss, 0.0).sum(), gradient, curvature


def _pieces(
    rows: TrainingRows, new: _Piece, others: list[jax.Array]
) -> Iterator[_Piece]:
    """Yields samples of classes that are there, then those of new ones."""
    for (features, labels), known in zip(rows.pieces(), others, strict=True):
        yield _Piece(features, jnp.where(labels >= 0, -1, -2), known)
    yield new


def fit_new_rows(
    head: Linear,
    features: ArrayLike,
    labels: ArrayLike,
    new_features: ArrayLike,
    new_labels: ArrayLike,
    *,
    num_new: int,
    statistics: FeatureStatistics | None = None,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    kappa: float | None = None,
    l2: float | None = None,
    tau: float = 0.0,
    num_neighbors: int = 5,
    tolerance: float = TOLERANCE,
    max_iterations: int = 500,
    on_step: Callable[[Step], None] | None = None,
) -> NewRows:
    """Fits rows of new classes to all samples; the others of a classifier stay.

    It is the problem of alphanet+ (`plus`) with all rows but the new ones held: with
    its outcome, `new.head` is near what a fit of all classes at once would give.

    Args:
      head: The classifier, of C classes, that takes classes for alike: corrected.
      features: Training features of its classes, with shape `[n, d]`, perhaps mapped.
      labels: Their classes, with shape `[n]`.
      new_features: Those of new classes.
      new_labels: Their classes, from 0 to m - 1, each with a sample.
      num_new: Number of new classes m.
      statistics: Those of `features`, where they are known.
      covariance_shrinkage: a, see `prior_of_new`; so is `kappa`.
      kappa: See `prior_of_new`.
      l2: w, the weight of the prior; by default `default_l2` of the known classes.
      tau: Factor of the log prior that was taken from the logits of `head`, and will
        be from those of new rows.
      num_neighbors: Classes that a class borrows from.
      tolerance: It ends when the objective is expected to fall by at most this, in
        nats a sample of the new classes.
      max_iterations: It ends after so many steps.
      on_step: Called before every step and at the end.

    Returns:
      The rows, and their prior.

    Raises:
      ValueError: If an argument is not right.
    """
    new, truth = np.asarray(new_features, np.float32), np.asarray(new_labels)
    counts = check_new(truth, num_new)
    num_classes = len(head.weight)
    rows = training_rows(
        features, labels, num_classes=num_classes, statistics=statistics
    )
    known = rows.statistics
    l2 = default_l2(num_classes) if l2 is None else l2
    if not l2 > 0:
        raise ValueError(f"l2 must be positive, got {l2}.")
    means = streaming.class_means(new, truth, num_classes=num_new)
    prior = prior_of_new(
        head,
        known,
        means,
        counts,
        covariance_shrinkage=covariance_shrinkage,
        kappa=kappa,
        num_neighbors=num_neighbors,
    )
    total = known.counts.sum() + counts.sum()
    log_prior = np.log(np.concatenate([known.counts, counts]) / total)
    scaling, pieces, own = _problem(head, rows, new, truth, log_prior, tau)
    target = jnp.asarray(rows.spread * prior.weight, jnp.float32)
    weight = l2 * float(total / counts.sum())  # beside a mean over new samples
    evaluate = partial(
        _evaluate,
        pieces=pieces,
        scaling=scaling,
        target=target,
        l2=weight,
        number=float(counts.sum()),
    )
    found = lbfgs.minimize(
        evaluate,
        _start(target, means, own, counts, scaling),
        precondition=partial(_precondition, l2=weight),
        tolerance=tolerance,
        max_iterations=max_iterations,
        on_step=on_step,
    )
    fitted = rows.head(found.point)
    bias = fitted.bias - tau * log_prior[num_classes:]
    made = Linear(fitted.weight, bias.astype(np.float32))
    return NewRows(made, prior, found.converged, found.step)


def _problem(
    head: Linear,
    rows: TrainingRows,
    new: np.ndarray,
    truth: np.ndarray,
    log_prior: np.ndarray,
    tau: float,
) -> tuple[_Scaling, Callable[[], Iterator[_Piece]], _Piece]:
    """Computes once what the rows that stay give of every sample.

    Returns:
      How features are scaled; what yields all samples; and those of new classes.
    """
    old, added = np.split(log_prior.astype(np.float32), [len(head.weight)])
    scaling = _Scaling(rows.centre, rows.spread, jnp.asarray(added))
    of_others = partial(
        _logsumexp,
        # As it was before tau of the log prior was taken from its logits.
        point=rows.point(adjusted(head, rows.statistics.counts, -tau)),
        log_prior=jnp.asarray(old),
        scaling=scaling,
    )
    others = [of_others(piece) for piece, _ in rows.pieces()]
    padded, marks = _padded(new, truth)
    own = _Piece(padded, marks, of_others(padded))
    return scaling, partial(_pieces, rows, own, others), own


def check_new(labels: np.ndarray, num_new: int) -> np.ndarray:
    """Counts samples of new classes.

    Raises:
      ValueError: If a label is not in `[0, num_new)`, or a class has no sample.
    """
    if labels.size and not 0 <= labels.min() <= labels.max() < num_new:
        raise ValueError(
            f"labels of new classes must be in [0, {num_new}), got {labels.min()} to "
            f"{labels.max()}."
        )
    counts = np.bincount(labels, minlength=num_new)
    if not num_new or not counts.all():
        missing = np.flatnonzero(counts == 0).tolist()
        raise ValueError(f"every new class needs a sample, got none of {missing}.")
    return counts


def _padded(features: np.ndarray, labels: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Pads to a power of two, so that a sample more is no other program."""
    missing = 2 ** int(np.ceil(np.log2(len(labels)))) - len(labels)
    return (
        jnp.asarray(np.pad(features, ((0, missing), (0, 0)))),
        jnp.asarray(np.pad(labels.astype(np.int32), (0, missing), constant_values=-2)),
    )


def _start(
    target: jax.Array,
    means: np.ndarray,
    own: _Piece,
    counts: np.ndarray,
    scaling: _Scaling,
) -> jax.Array:
    """Returns the prior mean, with biases that put a class's mean level with others."""
    scaled = (jnp.asarray(means) - scaling.centre[None, :]) / scaling.spread
    sums = np.zeros(len(counts))
    marks, others = np.asarray(own.labels), np.asarray(own.others, np.float64)
    np.add.at(sums, marks[marks >= 0], others[marks >= 0])
    level = jnp.asarray(sums / counts, jnp.float32) - scaling.log_prior
    bias = level - (target * scaled).sum(axis=1)
    return jnp.concatenate([target, bias[:, None]], axis=1)


def _evaluate(
    point: jax.Array,
    *,
    pieces: Callable[[], Iterator[_Piece]],
    scaling: _Scaling,
    target: jax.Array,
    l2: float,
    number: float,
) -> lbfgs.Evaluation:
    """Computes the objective, a new sample, by a pass over all samples."""
    losses, curvature = [], jnp.zeros(len(point))
    offset = point[:, :-1] - target
    gradient = jnp.zeros_like(point)
    for piece in pieces():
        loss, more, curved = _sums(point, piece, scaling)
        losses.append(loss)
        gradient, curvature = gradient + more, curvature + curved
    value = float(np.sum(np.asarray(losses, np.float64))) / number
    return lbfgs.Evaluation(
        value + 0.5 * l2 * float(jnp.vdot(offset, offset)),
        gradient / number + l2 * jnp.pad(offset, ((0, 0), (0, 1))),
        curvature / number,
    )


def _precondition(vector: jax.Array, curvature: jax.Array, *, l2: float) -> jax.Array:
    """Divides by a Hessian in which features, of a mean square of 1/d, do not mix."""
    by_class = jnp.maximum(curvature, 1e-9)[:, None]
    weight = vector[:, :-1] / (by_class / (vector.shape[1] - 1) + l2)
    return jnp.concatenate([weight, vector[:, -1:] / by_class], axis=1)
