"""The oracle's problems in the types that the package takes, built its own way.

Sources are not shared: every few class has copies of all of its classifiers, and rows
are its own number. Whatever the package shares is thus tested against what shares
nothing.
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracle

from alphanet_jax.model import Layer, SourceLayer
from alphanet_jax.nn_search import Sources
from alphanet_jax.scores import Frozen, ScoreTable


def to_params(layers, dtype=np.float32):
    """Parameters; there is an output for each neighbor, and a place more."""
    (weight, bias), *others = [
        (jnp.asarray(w, dtype), jnp.asarray(b, dtype)) for w, b in layers
    ]
    places = len(layers[-1][1]) + 1
    dim = weight.shape[1] // places
    parts = tuple(weight[:, dim * j : dim * (j + 1)] for j in range(places))
    return (SourceLayer(parts, bias), *(Layer(w, b) for w, b in others))


def from_params(params):
    """Inverse of `to_params`, of any leading axes."""
    first, *others = jax.device_get(params)
    weight = np.concatenate(first.weights, axis=-1)
    return [(weight, first.bias), *((layer.weight, layer.bias) for layer in others)]


def to_sources(source_weights, dtype=np.float32):
    """Sources of classifiers with shape `(F, k + 1, d)`."""
    copies = np.asarray(source_weights, dtype)
    rows = np.repeat(
        np.arange(len(copies), dtype=np.int32)[:, None], copies.shape[1], 1
    )
    return Sources(tuple(copies[:, j].copy() for j in range(copies.shape[1])), rows)


def to_table(problem, pred_scale=1.0, dtype=np.float32):
    return ScoreTable(**oracle.score_columns(problem, pred_scale, dtype))


def to_frozen(problem, dtype=np.float32):
    return Frozen(
        **oracle.frozen_columns(problem, dtype),
        sources=to_sources(problem.source_weights, dtype),
    )


def assert_params_close(actual, expected, **tolerance):
    """Compares parameters with the oracle's layers, or with other parameters."""
    if isinstance(expected[0], SourceLayer):
        expected = from_params(expected)
    for found, layer in zip(from_params(actual), expected, strict=True):
        for part, wanted in zip(found, layer, strict=True):
            np.testing.assert_allclose(part, wanted, **tolerance)
