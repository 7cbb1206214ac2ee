"""Methods of the table that fit a classifier anew: what each does before its knob.

Each returns the function from the knob, a factor of the log prior that is taken from
the logits, to the outcome. What several have in common, such as statistics of the
features, is found in `kept`, a dict, or put there.

Notation: n samples, d feature dimensions, C classes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.posthoc.convex_head import balanced_softmax_head, default_l2
from alphanet_jax.posthoc.gaussian import (
    COVARIANCE_GRID,
    Discriminants,
    FeatureStatistics,
    discriminants,
    feature_statistics,
    gaussian_mix,
    scores_of,
)
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.outcomes import Outcome, adjusted
from alphanet_jax.posthoc.plus import AlphaNetPlus, alphanet_plus, choose_covariance

__all__ = [
    "BALANCED",
    "PlusFamily",
    "head_family",
    "mix_family",
    "plus_family",
    "scores_family",
]

# Where the balanced-softmax head with the default penalty is kept.
BALANCED = ("balanced", 1.0)

Family = Callable[[float], Outcome]
OnStep = Callable[[Step], None]
Kept = dict[Any, Any] | None
Found = TypeVar("Found")


def _keep(kept: Kept, key: Any, make: Callable[[], Found]) -> Found:
    """Returns what is kept, or makes it and keeps it."""
    if kept is None:
        return make()
    if key not in kept:
        kept[key] = make()
    found: Found = kept[key]
    return found


def _statistics(
    kept: Kept, features: ArrayLike, labels: np.ndarray, num_classes: int
) -> FeatureStatistics:
    return _keep(
        kept,
        "statistics",
        lambda: feature_statistics(features, labels, num_classes=num_classes),
    )


def _discriminants(
    kept: Kept, statistics: FeatureStatistics, covariance_shrinkage: float
) -> Discriminants:
    return _keep(
        kept,
        ("discriminants", covariance_shrinkage),
        lambda: discriminants(statistics, covariance_shrinkage=covariance_shrinkage),
    )


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
    most_per_class: int | None = None,
    seed: int = 0,
    kept: Kept = None,
    l2_factor: float = 1.0,
) -> Family:
    """Fits the balanced-softmax head, with a multiple of the default penalty."""
    head = _keep(
        kept,
        (BALANCED[0], l2_factor),
        lambda: balanced_softmax_head(
            features,
            labels,
            num_classes=num_classes,
            l2=l2_factor * default_l2(num_classes),
            classifier=Linear(weight, bias),
            statistics=_statistics(kept, features, labels, num_classes),
            most_per_class=most_per_class,
            seed=seed,
            on_step=on_step,
        ),
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
    most_per_class: int | None = None,
    seed: int = 0,
    kept: Kept = None,
    l2_factor: float = 1.0,
    covariance_shrinkage: float | None = None,
) -> PlusFamily:
    """Fits alphanet+, with a multiple of the default weight of its prior.

    The shrinkage of the covariance is chosen by validation data, where there are some
    and it is not given.
    """
    statistics = _statistics(kept, features, labels, num_classes)
    covariance = covariance_shrinkage
    if covariance is None and val_features is not None and val_labels is not None:
        val = val_features, val_labels
        covariance = _keep(
            kept,
            "covariance",
            lambda: choose_covariance(
                statistics, *val, find=functools.partial(_discriminants, kept)
            ),
        )
    found = alphanet_plus(
        features,
        labels,
        num_classes=num_classes,
        covariance_shrinkage=covariance,
        l2=l2_factor * default_l2(num_classes),
        tau=0.0,
        classifier=Linear(weight, bias),
        balanced=None if kept is None else kept.get(BALANCED),
        statistics=statistics,
        most_per_class=most_per_class,
        seed=seed,
        on_progress=None if on_step is None else lambda found: on_step(found.step),
    )
    if kept is not None:
        kept[BALANCED] = found.balanced
    return PlusFamily(found, counts)


def scores_family(
    *,
    features: ArrayLike,
    labels: np.ndarray,
    num_classes: int,
    counts: ArrayLike,
    kept: Kept = None,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    shrunk: bool = True,
) -> Family:
    """Computes Gaussian scores."""
    statistics = _statistics(kept, features, labels, num_classes)
    found = _discriminants(kept, statistics, covariance_shrinkage)
    scores = scores_of(found, statistics, shrunk=shrunk)
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
    kept: Kept = None,
    covariance_shrinkage: float = COVARIANCE_GRID[0],
    share: float = 0.5,
) -> Family:
    """Mixes the classifier's scores with shrunk Gaussian ones.

    Their scales are compared on validation features, or else on training features.
    """
    statistics = _statistics(kept, features, labels, num_classes)
    found = _discriminants(kept, statistics, covariance_shrinkage)
    scores = scores_of(found, statistics)
    mixed = gaussian_mix(
        Linear(weight, bias),
        scores,
        counts,
        features if val_features is None else val_features,
        share=share,
        tau=0.0,
    )
    return lambda tau: adjusted(mixed, counts, tau)
