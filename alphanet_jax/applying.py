"""A trained AlphaNet, applied to rare classes that came after its training.

The network sees what it saw in training: the row of a class, and those of its nearest
base classes. Nothing is learned here.

Notation: S seeds, C classes, m new classes, k neighbors, d feature dimensions.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import model, nn_search
from alphanet_jax.nn_search import Sources

__all__ = ["Applied", "apply_to_new"]


class Applied(NamedTuple):
    """What networks make of new classes."""

    neighbors: np.ndarray  # shape=(m, k), dtype=np.int32: base classes, nearest first
    distances: np.ndarray  # shape=(m, k)
    alphas: np.ndarray  # shape=(S, m, k + 1): the class itself first
    weight: np.ndarray  # shape=(S, m, d)


@partial(jax.jit, static_argnames=("activation", "precision"))
def _apply(
    params: model.Params, sources: Sources, *, activation: str, precision: str
) -> tuple[jax.Array, jax.Array]:
    def one(params: model.Params) -> tuple[jax.Array, jax.Array]:
        alphas = model.apply(
            params, sources, activation=activation, precision=precision
        )
        return alphas, model.combine(alphas, sources)

    found: tuple[jax.Array, jax.Array] = jax.vmap(one)(params)
    return found


def apply_to_new(
    params: model.Params,
    weight: ArrayLike,
    means: ArrayLike,
    base_classes: ArrayLike,
    new_weight: ArrayLike,
    new_means: ArrayLike,
    *,
    metric: str = "euclidean",
    activation: str = "leaky_relu",
    precision: str = "highest",
    key: jax.Array | None = None,
) -> Applied:
    """Combines rows of new classes with those of their nearest base classes.

    Args:
      params: Trained parameters of all seeds, every array with the seed axis S first.
      weight: Weights of the classifier before its correction, with shape `[C, d]`.
      means: Mean training feature of every class, with shape `[C, d]`.
      base_classes: Class ids that may be neighbors, ascending.
      new_weight: Rows of new classes, with shape `[m, d]`.
      new_means: Their mean features, with shape `[m, d]`.
      metric: How neighbors are found, one of `nn_search.METRICS`.
      activation: Activation of the network.
      precision: Of its products, as JAX names it.
      key: Random key, for the metric 'random'.

    Returns:
      Neighbors, coefficients and new weights.

    Raises:
      ValueError: If shapes do not fit the network or each other.
    """
    weight, rows = np.asarray(weight, np.float32), np.asarray(new_weight, np.float32)
    means, new = np.asarray(means, np.float32), np.asarray(new_means, np.float32)
    if means.shape != weight.shape or new.shape != rows.shape:
        raise ValueError(
            "means must have the shape of weights, got "
            f"{means.shape} for {weight.shape} and {new.shape} for {rows.shape}."
        )
    ids = np.arange(len(weight), len(weight) + len(rows))
    first = params[0]
    assert isinstance(first, model.SourceLayer)
    found = nn_search.find_neighbors(
        np.concatenate([means, new]),
        ids,
        base_classes,
        num_neighbors=len(first.weights) - 1,
        metric=metric,
        key=key,
    )
    sources = nn_search.make_sources(
        np.concatenate([weight, rows]), nn_search.source_classes(ids, found.classes)
    )
    params = jax.tree.map(jnp.asarray, params)
    alphas, combined = _apply(
        params, sources, activation=activation, precision=precision
    )
    return Applied(*map(np.asarray, (*found, alphas, combined)))
