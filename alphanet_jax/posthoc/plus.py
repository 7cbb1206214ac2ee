"""alphanet+: a convex head whose prior lets every class borrow from its nearest ones.

As in AlphaNet, a rare class borrows from its nearest classes by fixed combination
coefficients. Here they are not the classifier but its prior: a head is fitted anew,
with the balanced softmax, and the weights of a class are drawn towards a combination
of those of its nearest classes, the more so the fewer samples it has; what is compared
are differences from scores of Gaussian classes whose means are shrunk. The problem is
convex and its outcome linear.

Notation: n samples, d feature dimensions, C classes, k neighbors of a class.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc.convex_head import (
    TOLERANCE,
    ConvexHead,
    Prior,
    adjusted,
    default_l2,
    fit_head,
    unadjusted,
)
from alphanet_jax.posthoc.gaussian import (
    COVARIANCE_GRID,
    Discriminants,
    FeatureStatistics,
    discriminants,
    feature_statistics,
    row_slices,
    scores_of,
)
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.neighborhood import (
    Neighborhood,
    find_neighborhood,
    given_neighborhood,
)
from alphanet_jax.posthoc.pieces import TrainingRows, training_rows

__all__ = [
    "L2_FACTORS",
    "TAU_GRID",
    "USUAL_PASSES",
    "AlphaNetPlus",
    "Progress",
    "alphanet_plus",
    "choose_covariance",
    "choose_tau",
]

# Of the default. A small weight is best for features of a network that was trained on
# the same samples, a large one where there are few samples of many classes.
L2_FACTORS = (1.0, 4.0, 0.25, 16.0)
USUAL_PASSES = 20  # over the samples, for a head of a large dataset
TAU_GRID = tuple(step / 10 for step in range(-10, 26))


class Progress(NamedTuple):
    """How far alphanet+ is."""

    stage: str  # "balanced softmax head" or "alphanet+".
    head: int  # which one is fitted, from 0
    num_heads: int
    step: Step  # of it; a head takes some USUAL_PASSES evaluations.


class AlphaNetPlus(NamedTuple):
    """What alphanet+ comes to, and how."""

    head: Linear
    neighborhood: Neighborhood
    kept: np.ndarray  # shape=(C,): of every mean's distance from the centre.
    covariance_shrinkage: float  # a
    l2: float  # w
    tau: float
    kappa: float
    balanced: Linear  # the balanced-softmax head that it started at
    converged: bool
    evaluations: int  # passes over the training samples


def choose_tau(
    head: Linear,
    counts: np.ndarray,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    grid: Iterable[float] = TAU_GRID,
) -> tuple[float, float]:
    """Chooses the factor of the log prior that is taken from a head's logits.

    Args:
      head: The head.
      counts: Number of training samples of every class, with shape `[C]`.
      features: Validation features, with shape `[n, d]`.
      labels: Their classes, with shape `[n]`.
      grid: What to choose from.

    Returns:
      The factor with the highest accuracy, of equal ones the nearest to 0; and that
      accuracy, the mean over classes.
    """
    # Of equal ones the nearest to 0 comes first.
    taus = sorted(grid, key=lambda value: (abs(value), value))
    weight, bias = (np.asarray(part, np.float32) for part in head)
    log_prior = np.log(counts / counts.sum())
    biases = [bias - (tau * log_prior).astype(np.float32) for tau in taus]
    labels, plain = np.asarray(labels), np.asarray(features)
    right = np.zeros((len(taus), len(labels)), bool)
    for place, rows in row_slices(plain):
        scores = rows @ weight.T
        for hits, shifted in zip(right, biases, strict=True):
            hits[place] = (scores + shifted[None, :]).argmax(axis=1) == labels[place]
    numbers = np.bincount(labels)
    sums = np.array([np.bincount(labels, hits, len(numbers)) for hits in right])
    accuracy = (sums / np.maximum(numbers, 1)).sum(axis=1) / (numbers > 0).sum()
    best = int(accuracy.argmax())
    return taus[best], float(accuracy[best])


def choose_covariance(
    statistics: FeatureStatistics,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    grid: Sequence[float] = COVARIANCE_GRID,
    shrunk: bool = True,
    find: Callable[[FeatureStatistics, float], Discriminants] | None = None,
) -> float:
    """Chooses the shrinkage of the covariance by accuracy of the Gaussian scores.

    Args:
      statistics: Those of the training features.
      features: Validation features, with shape `[n, d]`.
      labels: Their classes, with shape `[n]`.
      grid: What to choose from.
      shrunk: Whether class means are shrunk.
      find: Gives the discriminants for a shrinkage, where some are known already; by
        default they are computed.

    Returns:
      The shrinkage whose scores are right most often with a factor of the log prior
      that is chosen for it; of equal ones the first.
    """

    def accuracy(value: float) -> float:
        found = (
            discriminants(statistics, covariance_shrinkage=value)
            if find is None
            else find(statistics, value)
        )
        head = scores_of(found, statistics, shrunk=shrunk)
        return choose_tau(head, statistics.counts, features, labels)[1]

    return max(grid, key=accuracy)


def _prior(
    rows: TrainingRows, gaussian: Linear, balanced: Linear, neighborhood: Neighborhood
) -> tuple[Prior, float]:
    """Computes the prior of the head and kappa, the scale of its mean."""
    scores, fitted = (
        np.asarray(rows.point(head), np.float64)[:, :-1]
        for head in (gaussian, balanced)
    )
    scores, fitted = scores - scores.mean(axis=0), fitted - fitted.mean(axis=0)
    size = np.linalg.norm(scores)
    kappa = 0.5 * float(np.linalg.norm(fitted) / size) if size > 0 else 0.0
    mean = jnp.asarray(kappa * scores, jnp.float32)
    return Prior(mean, jnp.asarray(neighborhood.matrix(), jnp.float32)), kappa


class _Fitting(NamedTuple):
    """What the heads of one alphanet+ share."""

    rows: TrainingRows
    tolerance: float
    on_progress: Callable[[Progress], None] | None
    num_heads: int

    def head(
        self,
        number: int,
        l2: float,
        start: Linear | None,
        prior: Prior | None = None,
    ) -> ConvexHead:
        """Fits a head, and says how far it is."""
        stage = "balanced softmax head" if prior is None else "alphanet+"

        def on_step(step: Step) -> None:
            if self.on_progress is not None:
                self.on_progress(Progress(stage, number, self.num_heads, step))

        return fit_head(
            self.rows,
            l2=l2,
            prior=prior,
            start=start,
            tolerance=self.tolerance,
            on_step=on_step,
        )


class _Choice(NamedTuple):
    """A fitted head, and the factor of the log prior that is best for it."""

    fitted: ConvexHead
    l2: float
    tau: float
    accuracy: float


def _candidates(
    fitting: _Fitting,
    prior: Prior,
    start: Linear,
    l2s: Sequence[float],
    tau: float | None,
    val: tuple[ArrayLike, ArrayLike] | None,
) -> Iterator[_Choice]:
    """Fits a head with every weight of the prior, each started at the one before."""
    first = fitting.num_heads - len(l2s)
    for number, l2 in enumerate(l2s, start=first):
        fitted = fitting.head(number, l2, start, prior)
        start, chosen, accuracy = fitted.head, tau or 0.0, 0.0
        if val is not None:
            chosen, accuracy = choose_tau(
                fitted.head,
                fitting.rows.statistics.counts,
                *val,
                grid=TAU_GRID if tau is None else (tau,),
            )
        yield _Choice(fitted, l2, chosen, accuracy)


def _weights(l2: float | None, num_classes: int, *, several: bool) -> list[float]:
    """Lists the weights of the prior to try: the one that is given, or some."""
    if l2 is not None:
        return [l2]
    factors = L2_FACTORS if several else (1.0,)
    return [factor * default_l2(num_classes) for factor in factors]


def alphanet_plus(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    val: tuple[ArrayLike, ArrayLike] | None = None,
    covariance_shrinkage: float | None = None,
    l2: float | None = None,
    tau: float | None = None,
    num_neighbors: int = 5,
    neighbors: ArrayLike | None = None,
    shrunk: bool = True,
    classifier: Linear | None = None,
    balanced: Linear | None = None,
    statistics: FeatureStatistics | None = None,
    most_per_class: int | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    on_progress: Callable[[Progress], None] | None = None,
) -> AlphaNetPlus:
    """Fits alphanet+: a convex head in whose prior classes borrow from their nearest.

    It is deterministic, and needs to know of no splits: all classes borrow, those with
    few samples most.

    Args:
      features: Training features, with shape `[n, d]` and any float dtype, perhaps
        mapped from a file: they are read piece by piece.
      labels: Their classes, with shape `[n]`.
      num_classes: Number of classes C, each with a sample.
      val: Validation features and labels, by which what is None below is chosen.
      covariance_shrinkage: a of the Gaussian scores, in (0, 1]; without validation
        data 0.3.
      l2: w, the weight of the prior; without validation data `default_l2` of these
        classes, which is also that of the head it starts at.
      tau: Factor of the log prior that is taken from logits; without validation data
        0.
      num_neighbors: Number of classes k that a class borrows from; all others where
        there are not as many.
      neighbors: Those of every class, with shape `[C, k]`, in place of the nearest.
      shrunk: Whether means of classes are shrunk; False is a control.
      classifier: The given classifier, to start at: the same minimum, sooner.
      balanced: What `balanced_softmax_head` gave for these samples, where it is known.
      statistics: Those of these samples, where they are known.
      most_per_class: Most rows of a class that heads are fitted to, each of which then
        stands for several: less time where the many classes are large. Statistics are
        of all samples.
      seed: Of these rows.
      tolerance: Heads end when their objective is expected to fall by at most this,
        in nats a sample.
      on_progress: Called before every step of a head and at its end.

    Returns:
      The head, and what it was made with.

    Raises:
      ValueError: If an argument is not right.
    """
    if statistics is None:
        statistics = feature_statistics(features, labels, num_classes=num_classes)
    a = covariance_shrinkage
    if a is None:
        a = COVARIANCE_GRID[0]
        if val is not None:
            a = choose_covariance(statistics, *val, shrunk=shrunk)
    found, counts = discriminants(statistics, covariance_shrinkage=a), statistics.counts
    neighborhood = (
        find_neighborhood(found, counts, num_neighbors=num_neighbors, shrunk=shrunk)
        if neighbors is None
        else given_neighborhood(found, counts, neighbors, shrunk=shrunk)
    )
    rows = training_rows(
        features,
        labels,
        num_classes=num_classes,
        statistics=statistics,
        most_per_class=most_per_class,
        seed=seed,
    )
    l2s = _weights(l2, num_classes, several=val is not None)
    num_heads = len(l2s) + (balanced is None)
    fitting = _Fitting(rows, tolerance, on_progress, num_heads)
    fits: list[ConvexHead] = []
    if balanced is None:
        start = None if classifier is None else unadjusted(classifier, rows)
        fits = [fitting.head(0, default_l2(num_classes), start)]
        balanced = fits[0].head
    gaussian = scores_of(found, statistics, shrunk=shrunk)
    prior, kappa = _prior(rows, gaussian, balanced, neighborhood)
    choices = list(_candidates(fitting, prior, balanced, l2s, tau, val))
    best = max(choices, key=lambda choice: choice.accuracy)  # of equal ones the first
    fits += [choice.fitted for choice in choices]
    return AlphaNetPlus(
        head=adjusted(best.fitted.head, counts, best.tau),
        neighborhood=neighborhood,
        kept=found.kept,
        covariance_shrinkage=a,
        l2=best.l2,
        tau=best.tau,
        kappa=kappa,
        balanced=balanced,
        converged=all(fit.converged for fit in fits),
        evaluations=sum(fit.step.evaluations for fit in fits),
    )
