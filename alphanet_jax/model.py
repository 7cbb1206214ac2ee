"""The AlphaNet network: from source classifiers to combination coefficients.

The first layer does nearly all of the work: it takes the k + 1 source classifiers of a
class, side by side. A class is often the neighbor of several others, so the layer is
applied to every distinct classifier of a place (own, nearest, second nearest ...) once,
and the few classes look their part of the sum up: the same function for a fraction of
the products (4 of 5 on ImageNet-LT, 1 of 3 on iNaturalist).

Notation: F 'few' classes, k neighbors of a class, d feature dimensions, h units of
a hidden layer, D_j distinct classifiers at place j of the sources. Parameters are a
plain tuple of layers, so they can be stacked over seeds, differentiated and stored like
any tree of arrays.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax.lookup import activations
from alphanet_jax.nn_search import Sources

__all__ = [
    "Layer",
    "Params",
    "SourceLayer",
    "apply",
    "check_sizes",
    "combine",
    "init",
    "params_from_torch",
    "params_to_torch",
]


class SourceLayer(NamedTuple):
    """The first layer: the sum over places of `source @ weight.T`, plus `bias`.

    Weights are stored output first: stacked over seeds each is a contiguous
    `[seeds * h, d]` matrix, and its product with the classifiers that all seeds share
    stays a single matrix product under `vmap`.
    """

    weights: tuple[jax.Array, ...]  # for each of the k + 1 places, shape=(h, d).
    bias: jax.Array  # shape=(h,).


class Layer(NamedTuple):
    """Any other layer, computing `x @ weight.T + bias`."""

    weight: jax.Array  # shape=(out, in).
    bias: jax.Array  # shape=(out,).


Params = tuple[SourceLayer | Layer, ...]


def check_sizes(
    *, num_features: int, num_neighbors: int, hidden_dims: Sequence[int]
) -> tuple[int, ...]:
    """Returns the sizes of all layers, input first.

    Raises:
      ValueError: If a size is not positive or there is no hidden layer.
    """
    sizes = ((num_neighbors + 1) * num_features, *hidden_dims, num_neighbors)
    if len(sizes) < 3 or min(sizes) < 1:
        raise ValueError(
            "hidden_dims must hold at least one size, and every size be positive, got "
            f"{hidden_dims=}, {num_features=}, {num_neighbors=}."
        )
    return sizes


def init(
    key: jax.Array,
    *,
    num_features: int,
    num_neighbors: int,
    hidden_dims: Sequence[int] = (32, 32, 32),
) -> Params:
    """Draws initial parameters, uniform in +-1/sqrt(fan_in) as PyTorch's layers.

    Args:
      key: Random key.
      num_features: Number of feature dimensions d.
      num_neighbors: Number of neighbors k.
      hidden_dims: Sizes of the hidden layers, at least one.

    Returns:
      One layer for each hidden layer and one for the k outputs; the first is a
      `SourceLayer`, which takes the (k + 1) d numbers of a class's sources.

    Raises:
      ValueError: If a size is not positive or there is no hidden layer.
    """
    sizes = check_sizes(
        num_features=num_features, num_neighbors=num_neighbors, hidden_dims=hidden_dims
    )
    # One draw for all layers: each further one would cost compile time.
    num_params = sum((fan_in + 1) * out for fan_in, out in itertools.pairwise(sizes))
    drawn = jax.random.uniform(key, (num_params,), minval=-1.0, maxval=1.0)
    layers: list[SourceLayer | Layer] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        bound = fan_in**-0.5
        weight, bias, drawn = jnp.split(
            drawn, [fan_in * fan_out, (fan_in + 1) * fan_out]
        )
        weight, bias = bound * weight.reshape(fan_out, fan_in), bound * bias
        layers.append(
            Layer(weight, bias)
            if layers
            else _source_layer(weight, bias, num_neighbors + 1)
        )
    return tuple(layers)


def _source_layer(weight: ArrayLike, bias: ArrayLike, places: int) -> SourceLayer:
    """Cuts the weight of a layer that takes all sources side by side."""
    parts = jnp.split(jnp.asarray(weight, jnp.float32), places, axis=1)
    return SourceLayer(tuple(parts), jnp.asarray(bias, jnp.float32))


def apply(
    params: Params,
    sources: Sources,
    *,
    activation: str = "leaky_relu",
    precision: str = "highest",
    alone: bool = False,
) -> jax.Array:
    """Computes the combination coefficients of every few class.

    Args:
      params: Parameters of the network.
      sources: Source classifiers of each few class, from `nn_search.make_sources`.
      activation: Name in `activations.ACTIVATIONS`.
      precision: Of matrix products, as JAX names it. On GPUs 'tensorfloat32' is
        faster than 'highest', which is float32, and keeps 10 bits of each factor.
      alone: Whether no other network is computed at the same time, under `vmap`. The
        same function to rounding, and the quicker way for one network on CPUs.

    Returns:
      Coefficients alpha, with shape `[F, k + 1]`: 1 for the class itself, then one
      for each neighbor; the latter have an L1 norm of 1 and any sign.

    Raises:
      ValueError: If `activation` is unknown or the input does not fit the network.
    """
    activate = activations.look_up(activation)
    first, *others = params
    assert isinstance(first, SourceLayer)
    expected = [weight.shape[1] for weight in first.weights]
    found = [weights.shape[1] for weights in sources.weights]
    if expected != found or sources.rows.shape[1:] != (len(found),):
        raise ValueError(
            f"the sources have {found} features at their places and rows of shape "
            f"{sources.rows.shape}; the network takes {expected}."
        )
    x = first.bias[:, None]
    for weight, classifiers, rows in zip(
        first.weights, sources.weights, sources.rows.T, strict=True
    ):
        x = x + _products(weight, classifiers, rows, precision=precision, alone=alone)
    for layer in others:
        assert isinstance(layer, Layer)
        x = activate(x)
        x = jnp.matmul(layer.weight, x, precision=precision) + layer.bias[:, None]
    coefficients = (x / jnp.sum(jnp.abs(x), axis=0, keepdims=True)).T
    return jnp.concatenate([jnp.ones_like(coefficients[:, :1]), coefficients], axis=1)


def _products(
    weight: jax.Array,
    classifiers: jax.Array | np.ndarray,
    rows: jax.Array | np.ndarray,
    *,
    precision: str,
    alone: bool,
) -> jax.Array:
    """Multiplies the distinct classifiers of a place; one column for each few class.

    Rows are looked up, which their gradient adds up row by row. Neither way transposes
    the weights, and both run at the full rate of a CPU: that of one network has the
    few rows of its weights on the side that libraries copy to where they are fast, and
    that of several has the classifiers there, which are fewer then.
    """
    if alone:
        return jnp.matmul(classifiers, weight.T, precision=precision)[rows].T
    return jnp.matmul(weight, classifiers.T, precision=precision).T[rows].T


def combine(alphas: ArrayLike, sources: Sources) -> jax.Array:
    """Builds the new few classifiers from their sources.

    Args:
      alphas: Coefficients, with shape `[F, k + 1]`.
      sources: Source classifiers, from `nn_search.make_sources`.

    Returns:
      Weight vectors of the few classes, with shape `[F, d]`. Their biases stay as
      they were.

    Examples:
      >>> from alphanet_jax.nn_search import make_sources
      >>> sources = make_sources([[2.0, 0.0], [0.0, 4.0]], [[0, 1]])
      >>> combine([[1.0, -0.5]], sources).tolist()
      [[2.0, -2.0]]
    """
    alphas = jnp.asarray(alphas)
    new = jnp.zeros((len(alphas), sources.weights[0].shape[1]))
    for place, weights in enumerate(sources.weights):
        new = new + alphas[:, place, None] * weights[sources.rows[:, place]]
    return new


_CONV = "conv_layer"
_LINEAR = "linear_layer__seq"
_PARTS = ("weight", "bias")


def params_from_torch(state_dict: Mapping[str, ArrayLike]) -> Params:
    """Turns arrays named as in the original's checkpoints into parameters.

    Args:
      state_dict: `conv_layer.weight` with shape `[h1, 1, k + 1, d]`,
        `conv_layer.bias`, and `linear_layer__seq.<i>.weight` (out, in) and `.bias`
        for i = 0, 1, ...; names may have the prefix `alphanet.`, and names of
        other things are ignored.

    Returns:
      The parameters.

    Raises:
      ValueError: If a name is missing or shapes do not chain.
    """
    arrays = {
        name.removeprefix("alphanet."): np.asarray(array)
        for name, array in state_dict.items()
    }
    indices = {name.split(".")[1] for name in arrays if name.startswith(f"{_LINEAR}.")}
    prefixes = [_CONV, *(f"{_LINEAR}.{i}" for i in range(max(1, len(indices))))]
    expected = {f"{prefix}.{part}" for prefix in prefixes for part in _PARTS}
    if missing := expected - arrays.keys():
        raise ValueError(f"{sorted(missing)} missing; got {sorted(arrays)}.")
    conv, outputs = arrays[f"{_CONV}.weight"], arrays[f"{prefixes[-1]}.bias"]
    if conv.ndim != 4 or conv.shape[1] != 1 or conv.shape[2] != len(outputs) + 1:
        raise ValueError(
            f"{_CONV}.weight must have shape (h, 1, {len(outputs) + 1}, d) to fit "
            f"{len(outputs)} outputs, got {conv.shape}."
        )
    layers: list[SourceLayer | Layer] = []
    for prefix in prefixes:
        weight = arrays[f"{prefix}.weight"]
        bias = arrays[f"{prefix}.bias"]
        weight = weight.reshape(weight.shape[0], -1)
        if bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{prefix}: weight {weight.shape} and bias {bias.shape} do not fit."
            )
        if layers and len(layers[-1].bias) != weight.shape[1]:
            raise ValueError(
                f"{prefix}.weight takes {weight.shape[1]} inputs, but the layer "
                f"before gives {len(layers[-1].bias)}."
            )
        if layers:
            layers.append(
                Layer(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))
            )
        else:
            layers.append(_source_layer(weight, bias, conv.shape[2]))
    return tuple(layers)


def params_to_torch(params: Params) -> dict[str, np.ndarray]:
    """Names parameters as the original does; inverse of `params_from_torch`.

    Args:
      params: Parameters of one network (no seed axis).

    Returns:
      Arrays by name, as `params_from_torch` takes them.
    """
    first, *others = params
    assert isinstance(first, SourceLayer)
    arrays = {
        f"{_CONV}.weight": np.stack(first.weights, axis=1)[:, None],
        f"{_CONV}.bias": np.asarray(first.bias),
    }
    for index, layer in enumerate(others):
        assert isinstance(layer, Layer)
        arrays[f"{_LINEAR}.{index}.weight"] = np.asarray(layer.weight)
        arrays[f"{_LINEAR}.{index}.bias"] = np.asarray(layer.bias)
    return arrays
