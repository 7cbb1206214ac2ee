"""Other corrections of the same classifier, from the same inputs."""

from alphanet_jax.posthoc.convex_head import balanced_softmax_head
from alphanet_jax.posthoc.gaussian import gaussian_mix, gaussian_scores
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.neighborhood import random_neighbors
from alphanet_jax.posthoc.plus import AlphaNetPlus, alphanet_plus

__all__ = [
    "AlphaNetPlus",
    "Linear",
    "alphanet_plus",
    "balanced_softmax_head",
    "gaussian_mix",
    "gaussian_scores",
    "random_neighbors",
]
