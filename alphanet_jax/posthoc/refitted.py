"""Methods of the table that fit a classifier anew: what each does before its knob.

Each returns the function from the knob, a factor of the log prior that is taken from
the logits, to the outcome.

Notation: n samples, d feature dimensions, C classes.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc.convex_head import balanced_softmax_head, default_l2
from alphanet_jax.posthoc.gaussian import (
    COVARIANCE_GRID,
    feature_statistics,
    gaussian_mix,
    gaussian_scores,
)
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.outcomes import Outcome, adjusted
from alphanet_jax.posthoc.plus import AlphaNetPlus, alphanet_plus, choose_covariance

__all__ = ["PlusFamily", "head_family", "mix_family", "plus_family", "scores_family"]

Family = Callable[[float], Outcome]
OnStep = Callable[[Step], None]


@dataclasses.dataclass(frozen=True)
class PlusFamily:
    """alphanet+ before its knob.

    Attributes:
      found: What was fitted, with tau 0.
      counts: Number of training samples of every class, with shape `[C]`.
    """

    found: AlphaNetPlus
    counts: ArrayLike

    def __call__(self, tau: float) -> Outcome:
        """Adjusts the head."""
        return adjusted(self.found.head, self.counts, tau)


def head_family(
    *,
    features: ArrayLike,
    labels: np.ndarray,
    num_classes: int,
    counts: ArrayLike,
    weight: jax.Array,
    bias: jax.Array,
    on_step: OnStep | None = None,
    l2_factor: float = 1.0,
) -> Family:
    """Fits the balanced-softmax head, with a multiple of the default penalty."""
    head = balanced_softmax_head(
        features,
        labels,
        num_classes=num_classes,
        l2=l2_factor * default_l2(len(labels)),
        classifier=Linear(weight, bias),
        on_step=on_step,
    )
    return lambda tau: adjusted(head, counts, tau)


def plus_family(
    *,
    features: ArrayLike,
    labels: np.ndarray,
    num_classes: int,
    counts: ArrayLike,
    weight: jax.Array,
    bias: jax.Array,
    val_features: ArrayLike | None = None,
    val_labels: ArrayLike | None = None,
    on_step: OnStep | None = None,
    l2_factor: float = 1.0,
    covariance_shrinkage: float | None = None,
) -> PlusFamily:
    """Fits alphanet+, with a multiple of the default weight of its prior.

    The shrinkage of the covariance is chosen by validation data, where there are some
    and it is not given.
    """
    covariance = covariance_shrinkage
    if covariance is None and val_features is not None and val_labels is not None:
        statistics = feature_statistics(features, labels, num_classes=num_classes)
        covariance = choose_covariance(statistics, val_features, val_labels)
    found = alphanet_plus(
        features,
        labels,
        num_classes=num_classes,
        covariance_shrinkage=covariance,
        l2=l2_factor * default_l2(len(labels)),
        tau=0.0,
        classifier=Linear(weight, bias),
        on_progress=None if on_step is None else lambda found: on_step(found.step),
    )
    return PlusFamily(found, counts)


def scores_family(
    *,
    features: ArrayLike,
    labels: np.ndarray,
    num_classes: int,
    counts: ArrayLike,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    shrunk: bool = True,
) -> Family:
    """Computes Gaussian scores."""
    scores = gaussian_scores(
        features,
        labels,
        num_classes=num_classes,
        covariance_shrinkage=covariance_shrinkage,
        shrunk=shrunk,
    )
    return lambda tau: adjusted(scores, counts, tau)


def mix_family(
    *,
    features: ArrayLike,
    labels: np.ndarray,
    num_classes: int,
    counts: ArrayLike,
    weight: jax.Array,
    bias: jax.Array,
    val_features: ArrayLike | None = None,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    share: float = 0.5,
) -> Family:
    """Mixes the classifier's scores with shrunk Gaussian ones.

    Their scales are compared on validation features, or else on training features.
    """
    scores = gaussian_scores(
        features,
        labels,
        num_classes=num_classes,
        covariance_shrinkage=covariance_shrinkage,
    )
    mixed = gaussian_mix(
        Linear(weight, bias),
        scores,
        counts,
        features if val_features is None else val_features,
        share=share,
        tau=0.0,
    )
    return lambda tau: adjusted(mixed, counts, tau)
