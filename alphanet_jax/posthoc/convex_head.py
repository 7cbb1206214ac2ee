"""A linear classifier fitted anew to frozen features, by a convex problem.

The head H(A, L, w) minimizes

    mean_i CE(W x_i + b + log pi, y_i)  +  w/2 |(I - L)(W - A)|_F^2

over W and b: cross-entropy with the classes' shares pi of the training samples added
(the balanced softmax: without them, at test, all classes are alike), and a Gaussian
prior of W, whose mean is A and in which a class goes with those that L says. Features
are centred and scaled by one number, which keeps w comparable from set to set.

Features may be larger than memory: they are read piece by piece, over and over, as
`pieces` cuts them.

Notation: n samples, d feature dimensions, C classes.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc import lbfgs
from alphanet_jax.posthoc.gaussian import FeatureStatistics
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.pieces import (
    TrainingRows,
    copy_piece,
    piece_size,
    training_rows,
)

__all__ = [
    "TOLERANCE",
    "ConvexHead",
    "Prior",
    "adjusted",
    "balanced_softmax_head",
    "default_l2",
    "fit_head",
    "try_piece",
    "unadjusted",
]

# w, and the classes up to which it is that, for any number of samples. To let it go
# down with samples, as the weight of a prior that is known would, did better by 0.3
# points on features of a network that was trained on other data, and worse by 1 to 1.5
# on those of networks trained on the long tail itself.
_L2, _L2_CLASSES = 2e-5, 100
# In nats a sample: predictions of an example set differ by 0.1 % from those of the
# minimum, and its accuracy by less than 0.05 points.
TOLERANCE = 1e-5


def default_l2(num_classes: int) -> float:
    """Computes w, the weight of the prior, for a number of classes.

    It is 2e-5 for up to 100 classes. Of more, each has a smaller share in the mean over
    samples, beside which w stands; so it goes down with their number.

    Examples:
      >>> default_l2(26), default_l2(100), default_l2(200)
      (2e-05, 2e-05, 1e-05)
    """
    return _L2 / max(1.0, num_classes / _L2_CLASSES)


class Prior(NamedTuple):
    """The Gaussian prior of a head's weights, in scaled features."""

    mean: jax.Array  # shape=(C, d): A.
    coupling: jax.Array  # shape=(C, C): L.


class ConvexHead(NamedTuple):
    """A fitted head."""

    head: Linear
    converged: bool
    step: Step  # how far its minimization went


class _Sums(NamedTuple):
    """Sums over samples."""

    gradient: jax.Array  # shape=(C, d + 1): of the cross-entropy.
    curvature: jax.Array  # shape=(C,): of p (1 - p).


class _Frame(NamedTuple):
    """What all pieces of samples share."""

    centre: jax.Array  # shape=(d,)
    spread: float
    log_prior: jax.Array  # shape=(C,)
    class_weights: jax.Array  # shape=(C,)


@partial(jax.jit, donate_argnames="sums")
def _add_piece(
    sums: _Sums,
    point: jax.Array,
    features: jax.Array,
    labels: jax.Array,
    frame: _Frame,
) -> tuple[_Sums, jax.Array]:
    """Adds a piece of samples, and computes the sum of their cross-entropy."""
    offsets = features.astype(jnp.float32) - frame.centre[None, :]
    scaled = offsets / frame.spread
    bias = point[:, -1] + frame.log_prior
    logits = jnp.matmul(scaled, point[:, :-1].T, precision="highest") + bias[None, :]
    is_row = labels >= 0
    log_shares = jax.nn.log_softmax(logits, axis=1)
    at_label = jnp.take_along_axis(
        log_shares, jnp.where(is_row, labels, 0)[:, None], axis=1
    )[:, 0]
    times = jnp.where(is_row, frame.class_weights[labels], 0.0)
    shares = jnp.exp(log_shares)
    hits = jax.nn.one_hot(labels, len(bias), dtype=shares.dtype)
    residuals = times[:, None] * (shares - hits)
    by_weight = jnp.matmul(residuals.T, scaled, precision="highest")
    gradient = jnp.concatenate([by_weight, residuals.sum(axis=0)[:, None]], axis=1)
    added = _Sums(
        sums.gradient + gradient,
        sums.curvature + (times[:, None] * shares * (1 - shares)).sum(axis=0),
    )
    return added, -(times * at_label).sum()


def _add(
    rows: TrainingRows,
    sums: _Sums,
    point: jax.Array,
    features: jax.Array,
    labels: jax.Array,
) -> tuple[_Sums, jax.Array]:
    frame = _Frame(rows.centre, rows.spread, rows.log_prior, rows.class_weights)
    added: tuple[_Sums, jax.Array] = _add_piece(sums, point, features, labels, frame)
    return added


def try_piece(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    most_per_class: int | None = None,
) -> int:
    """Does for one piece of the samples what a pass of a head does for each.

    Whoever takes the time of a second call knows what a pass takes.

    Args:
      features: Training features, with shape `[n, d]`, perhaps mapped from a file.
      labels: Their classes, with shape `[n]`.
      num_classes: Number of classes C.
      most_per_class: Most rows of a class that are used.

    Returns:
      How many pieces make up a pass.
    """
    rows, labels = np.asarray(features), np.asarray(labels)
    counts = np.bincount(labels, minlength=num_classes)
    used = counts if most_per_class is None else np.minimum(counts, most_per_class)
    number, dim = int(used.sum()), rows.shape[1]
    size = piece_size(number, dim)
    point, ones = jnp.zeros((num_classes, dim + 1)), jnp.ones(num_classes)
    sums = _Sums(jnp.zeros_like(point), jnp.zeros(num_classes))
    some = np.resize(labels[:size], size).astype(np.int32)
    sums, loss = _add_piece(
        sums,
        point,
        copy_piece(rows, None, 0, size),
        jnp.asarray(some),
        _Frame(jnp.zeros(dim), 1.0, jnp.zeros(num_classes), ones),
    )
    jax.block_until_ready((sums, loss))
    return -(-number // size)


@jax.jit
def _penalty(point: jax.Array, prior: Prior) -> tuple[jax.Array, jax.Array]:
    """Computes |(I - L)(W - A)|^2 / 2 and its gradient."""
    offset = point[:, :-1] - prior.mean
    apart = offset - jnp.matmul(prior.coupling, offset, precision="highest")
    back = apart - jnp.matmul(prior.coupling.T, apart, precision="highest")
    return 0.5 * jnp.vdot(apart, apart), jnp.pad(back, ((0, 0), (0, 1)))


def _evaluate(
    point: jax.Array, *, rows: TrainingRows, prior: Prior | None, l2: float
) -> lbfgs.Evaluation:
    """Computes the objective by a pass over the samples."""
    total = int(rows.statistics.counts.sum())
    sums = _Sums(jnp.zeros_like(point), jnp.zeros(len(point), point.dtype))
    losses = []
    for features, labels in rows.pieces():
        sums, loss = _add(rows, sums, point, features, labels)
        losses.append(loss)
    if prior is None:
        penalty = 0.5 * jnp.vdot(point[:, :-1], point[:, :-1])
        penalty_gradient = point.at[:, -1].set(0.0)
    else:
        penalty, penalty_gradient = _penalty(point, prior)
    value = float(np.sum(np.asarray(losses, np.float64))) / total
    return lbfgs.Evaluation(
        value + l2 * float(penalty),
        sums.gradient / total + l2 * penalty_gradient,
        sums.curvature / total,
    )


class _Preconditioner(NamedTuple):
    """The inverse of a Hessian in which classes and axes of features do not mix.

    The block of a class is the covariance of features times its mean p (1 - p), plus
    the prior's; in the axes of the covariance it is diagonal.
    """

    axes: jax.Array  # shape=(d, d).
    variances: jax.Array  # shape=(d,): along them.
    prior: jax.Array  # shape=(C,): diagonal of the prior's Hessian.

    @jax.jit
    def apply(self, vector: jax.Array, curvature: jax.Array) -> jax.Array:
        """Multiplies a vector of the shape of a point."""
        # A class that is told apart from all others has hardly any curvature left.
        by_class = jnp.maximum(curvature, 1e-9)[:, None]
        diagonal = by_class * self.variances[None, :] + self.prior[:, None]
        turned = jnp.matmul(vector[:, :-1], self.axes, precision="highest") / diagonal
        weight = jnp.matmul(turned, self.axes.T, precision="highest")
        return jnp.concatenate([weight, vector[:, -1:] / by_class], axis=1)


def _preconditioner(
    rows: TrainingRows, prior: Prior | None, l2: float
) -> _Preconditioner:
    """Computes the preconditioner of a head's minimization."""
    variances, axes = rows.statistics.axes_of_all
    num_classes = len(rows.log_prior)
    diagonal = jnp.ones(num_classes)
    if prior is not None:
        own = jnp.eye(num_classes) - prior.coupling
        diagonal = (own**2).sum(axis=0)
    return _Preconditioner(
        jnp.asarray(axes, jnp.float32),
        jnp.asarray(variances, jnp.float32),
        l2 * diagonal,
    )


def fit_head(
    rows: TrainingRows,
    *,
    l2: float | None = None,
    prior: Prior | None = None,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
    max_iterations: int = 500,
    on_step: Callable[[Step], None] | None = None,
) -> ConvexHead:
    """Fits the head H(A, L, w).

    Args:
      rows: Training samples.
      l2: w, the weight of the prior; by default `default_l2` of these classes.
      prior: A and L; None for zeros.
      start: A head to start at, which changes how long it takes, and not where it
        gets to. One that is worse than to know nothing is left aside.
      tolerance: It ends when the objective is expected to fall by at most this, in
        nats a sample.
      max_iterations: It ends after so many steps.
      on_step: Called before every step and at the end.

    Returns:
      The head.

    Raises:
      ValueError: If `l2` is not positive.
    """
    counts, means = rows.statistics.counts, rows.statistics.means
    l2 = default_l2(len(counts)) if l2 is None else l2
    if not l2 > 0:
        raise ValueError(f"l2 must be positive, got {l2}.")
    function = partial(_evaluate, rows=rows, prior=prior, l2=l2)
    point = jnp.zeros((means.shape[0], means.shape[1] + 1), jnp.float32)
    first = None
    if start is not None:
        first = function(rows.point(start))
        shares = counts / counts.sum()
        if prior is None and not first.value < -(shares @ np.log(shares)):
            first = None
        else:
            point = rows.point(start)
    found = lbfgs.minimize(
        function,
        point,
        first=first,
        precondition=_preconditioner(rows, prior, l2).apply,
        tolerance=tolerance,
        max_iterations=max_iterations,
        on_step=on_step,
    )
    return ConvexHead(rows.head(found.point), found.converged, found.step)


def adjusted(head: Linear, counts: np.ndarray, tau: float) -> Linear:
    """Returns a head with tau times the log shares of classes taken from its bias."""
    if tau == 0:
        return head
    weight, bias = head
    bias = np.asarray(bias) - tau * np.log(counts / counts.sum())
    return Linear(weight, bias.astype(np.float32))


def balanced_softmax_head(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    l2: float | None = None,
    tau: float = 0.0,
    classifier: Linear | None = None,
    statistics: FeatureStatistics | None = None,
    most_per_class: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    on_step: Callable[[Step], None] | None = None,
) -> Linear:
    """Fits a classifier anew with the balanced softmax, its L2 penalty tuned.

    The balanced softmax (Ren et al., 2020) adds the log shares of classes to logits
    while it trains, so that without them the classifier takes all classes for alike.

    Args:
      features: Training features, with shape `[n, d]` and any float dtype, perhaps
        mapped from a file.
      labels: Their classes, with shape `[n]`.
      num_classes: Number of classes C, each with a sample.
      l2: Weight of the penalty, for features scaled to a mean squared distance of 1
        from their centre; by default `default_l2` of these classes.
      tau: Factor of the log prior that is taken from logits afterwards.
      classifier: The given classifier, to start at: the same minimum, sooner.
      statistics: Those of these samples, where they are known.
      most_per_class: Most rows of a class that are used; see `training_rows`.
      seed: Of the rows that are used.
      tolerance: It ends when the objective is expected to fall by at most this, in
        nats a sample.
      on_step: Called before every step and at the end.

    Returns:
      The classifier.

    Raises:
      ValueError: If an argument is not right.
    """
    rows = training_rows(
        features,
        labels,
        num_classes=num_classes,
        statistics=statistics,
        most_per_class=most_per_class,
        seed=seed,
    )
    start = None if classifier is None else unadjusted(classifier, rows)
    fitted = fit_head(rows, l2=l2, start=start, tolerance=tolerance, on_step=on_step)
    return adjusted(fitted.head, rows.statistics.counts, tau)


def unadjusted(classifier: Linear, rows: TrainingRows) -> Linear:
    """Returns a classifier of the plain softmax, less the log prior that is in it."""
    return adjusted(classifier, rows.statistics.counts, 1.0)
