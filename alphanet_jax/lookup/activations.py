"""Activations by PyTorch's names, with its meanings and defaults, and by `jax.nn`'s.

All are elementwise. Where both libraries have a name, PyTorch's function is meant, down
to the slope that it has at a kink.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from alphanet_jax.lookup import by_name

__all__ = ["ACTIVATIONS", "look_up"]

Activation = Callable[[jax.Array], jax.Array]


def _leaky_relu(x: jax.Array, slope: float = 0.01) -> jax.Array:
    # jax.nn.leaky_relu has the other slope at 0.
    return jnp.where(x > 0, x, slope * x)


def _clip(x: jax.Array, low: float, high: float) -> jax.Array:
    """Clips, with a slope of 0 at the limits; that of `jnp.clip` is 1/2 there."""
    inside = (x > low) & (x < high)
    return jnp.where(inside, x, jax.lax.stop_gradient(jnp.clip(x, low, high)))


def _hardswish(x: jax.Array) -> jax.Array:
    middle = x * ((x + 3) / 6)
    return jnp.where(x <= -3, 0.0, jnp.where(x < 3, middle, x))


def _softplus(x: jax.Array) -> jax.Array:
    return jnp.where(x > 20, x, jax.nn.softplus(x))


# With <=, not >, so that not a number stays so.


def _hardshrink(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) <= 0.5, 0.0, x)


def _softshrink(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.abs(x) <= 0.5, 0.0, x - jnp.where(x > 0, 0.5, -0.5))


_TORCH: dict[str, Activation] = {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "hardshrink": _hardshrink,
    "hardsigmoid": lambda x: (_clip(x, -3.0, 3.0) + 3) / 6,
    "hardswish": _hardswish,
    "hardtanh": lambda x: _clip(x, -1.0, 1.0),
    "leaky_relu": _leaky_relu,
    "logsigmoid": jax.nn.log_sigmoid,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": lambda x: _clip(x, 0.0, 6.0),
    # Called with an input only, it has the mean slope, and is not random.
    "rrelu": lambda x: _leaky_relu(x, slope=(1 / 8 + 1 / 3) / 2),
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "softplus": _softplus,
    "softshrink": _softshrink,
    "softsign": jax.nn.soft_sign,
    "tanh": jnp.tanh,
    "tanhshrink": lambda x: x - jnp.tanh(x),
}

# Looked up by the names of torch.nn.functional and jax.nn.
# fmt: off
ACTIVATIONS: dict[str, Activation] = {
    **_TORCH,
    # What PyTorch does in place; the values are the same.
    **{
        f"{name}_": _TORCH[name]
        for name in ("celu", "elu", "hardtanh", "leaky_relu", "relu", "rrelu", "selu")
    },
    # Those that PyTorch does not have by these names.
    **{
        name: getattr(jax.nn, name)
        for name in (
            "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "identity",
            "log_sigmoid", "soft_sign", "sparse_plus", "sparse_sigmoid", "squareplus",
            "swish",
        )
    },
}
_REFUSED = {
    name: reason
    for reason, names in {
        "it is random, and would be so at evaluation too": (
            "dropout", "dropout1d", "dropout2d", "dropout3d", "gumbel_softmax",
        ),
        "called with an input only it does nothing; see identity": (
            "alpha_dropout", "feature_alpha_dropout",
        ),
        "it is not elementwise": (
            "layer_norm", "log_softmax", "logmeanexp", "logsumexp", "normalize",
            "rms_norm", "softmax", "softmin", "standardize",
        ),
        "it changes the number of units": ("glu",),
        "it needs more than its input": (
            "bilinear", "linear", "prelu", "threshold", "threshold_",
        ),
    }.items()
    for name in names
}
# fmt: on


def look_up(name: str) -> Activation:
    """Looks an activation up.

    Args:
      name: Name in `ACTIVATIONS`.

    Returns:
      The function, elementwise.

    Raises:
      ValueError: If the name is unknown, or that of another function.

    Examples:
      >>> look_up("leaky_relu")(jnp.array([-2.0, 0.0, 3.0])).tolist()
      [-0.019999999552965164, 0.0, 3.0]
    """
    activation: Activation = by_name.look_up(name, "activation", ACTIVATIONS, _REFUSED)
    return activation
