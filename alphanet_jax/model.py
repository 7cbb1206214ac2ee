"""The AlphaNet network: from source classifiers to combination coefficients.

Notation: F 'few' classes, k neighbors of a class, d feature dimensions, h units of
a hidden layer. Parameters are a plain tuple of `Layer`s, so they can be stacked over
seeds, differentiated and stored like any tree of arrays.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import activations

__all__ = [
    "Layer",
    "Params",
    "apply",
    "check_sizes",
    "combine",
    "init",
    "params_from_torch",
    "params_to_torch",
]


class Layer(NamedTuple):
    """One affine layer, computing `x @ weight.T + bias`.

    The weight is stored output first: stacked over seeds, the first layer is then a
    contiguous `[seeds * h, (k + 1) d]` matrix, and its product with the input that
    all seeds share stays a single matrix product under `vmap`.
    """

    weight: jax.Array  # shape=(out, in).
    bias: jax.Array  # shape=(out,).


Params = tuple[Layer, ...]


def check_sizes(
    *, num_features: int, num_neighbors: int, hidden_dims: Sequence[int]
) -> tuple[int, ...]:
    """Gives the sizes of all layers, input first.

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
      One `Layer` for each hidden layer and one for the k outputs; the first takes
      the (k + 1) d numbers of a class's source classifiers.

    Raises:
      ValueError: If a size is not positive or there is no hidden layer.
    """
    sizes = check_sizes(
        num_features=num_features, num_neighbors=num_neighbors, hidden_dims=hidden_dims
    )
    # One draw for all layers: each further one would cost compile time.
    num_params = sum((fan_in + 1) * out for fan_in, out in itertools.pairwise(sizes))
    drawn = jax.random.uniform(key, (num_params,), minval=-1.0, maxval=1.0)
    layers = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        bound = fan_in**-0.5
        weight, bias, drawn = jnp.split(
            drawn, [fan_in * fan_out, (fan_in + 1) * fan_out]
        )
        layers.append(Layer(bound * weight.reshape(fan_out, fan_in), bound * bias))
    return tuple(layers)


def apply(
    params: Params, source_weights: ArrayLike, *, activation: str = "leaky_relu"
) -> jax.Array:
    """Computes the combination coefficients of every few class.

    Args:
      params: Parameters of the network.
      source_weights: Source classifiers of each few class: its own weight vector,
        then its neighbors', with shape `[F, k + 1, d]`.
      activation: Name in `activations.ACTIVATIONS`.

    Returns:
      Coefficients alpha, with shape `[F, k + 1]`: 1 for the class itself, then one
      for each neighbor; the latter have an L1 norm of 1 and any sign.

    Raises:
      ValueError: If `activation` is unknown or the input does not fit the network.
    """
    sources = jnp.asarray(source_weights)
    activate = activations.look_up(activation)
    fan_in, num_neighbors = params[0].weight.shape[1], params[-1].weight.shape[0]
    if sources.shape[1:] != (num_neighbors + 1, fan_in // (num_neighbors + 1)):
        raise ValueError(
            f"source_weights must be (F, k + 1, d), got {sources.shape} for a network "
            f"with {fan_in} inputs and {num_neighbors} outputs."
        )
    # Classes last: the large first layer is then the product of its weight, as it is
    # stored, with an input that never changes, and neither is transposed at each step.
    x = sources.reshape(sources.shape[0], -1).T
    for index, layer in enumerate(params):
        if index:
            x = activate(x)
        x = jnp.matmul(layer.weight, x) + layer.bias[:, None]
    coefficients = (x / jnp.sum(jnp.abs(x), axis=0)).T
    return jnp.concatenate([jnp.ones_like(coefficients[:, :1]), coefficients], axis=1)


def combine(alphas: ArrayLike, source_weights: ArrayLike) -> jax.Array:
    """Builds the new few classifiers from their sources.

    Args:
      alphas: Coefficients, with shape `[F, k + 1]`.
      source_weights: Source classifiers, with shape `[F, k + 1, d]`.

    Returns:
      Weight vectors of the few classes, with shape `[F, d]`. Their biases stay as
      they were.

    Examples:
      >>> combine([[1.0, -0.5]], [[[2.0, 0.0], [0.0, 4.0]]]).tolist()
      [[2.0, -2.0]]
    """
    alphas, source_weights = jnp.asarray(alphas), jnp.asarray(source_weights)
    return jnp.einsum("fj,fjd->fd", alphas, source_weights, precision="highest")


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
    layers: list[Layer] = []
    for prefix in prefixes:
        weight = arrays[f"{prefix}.weight"]
        bias = arrays[f"{prefix}.bias"]
        weight = weight.reshape(weight.shape[0], -1)
        if bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{prefix}: weight {weight.shape} and bias {bias.shape} do not fit."
            )
        if layers and layers[-1].weight.shape[0] != weight.shape[1]:
            raise ValueError(
                f"{prefix}.weight takes {weight.shape[1]} inputs, but the layer "
                f"before gives {layers[-1].weight.shape[0]}."
            )
        layers.append(
            Layer(jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32))
        )
    return tuple(layers)


def params_to_torch(params: Params) -> dict[str, np.ndarray]:
    """Names parameters as the original does; inverse of `params_from_torch`.

    Args:
      params: Parameters of one network (no seed axis).

    Returns:
      Arrays by name, as `params_from_torch` takes them.
    """
    num_sources = params[-1].weight.shape[0] + 1
    first = np.asarray(params[0].weight)
    arrays = {
        f"{_CONV}.weight": first.reshape(first.shape[0], 1, num_sources, -1),
        f"{_CONV}.bias": np.asarray(params[0].bias),
    }
    for index, layer in enumerate(params[1:]):
        arrays[f"{_LINEAR}.{index}.weight"] = np.asarray(layer.weight)
        arrays[f"{_LINEAR}.{index}.bias"] = np.asarray(layer.bias)
    return arrays
