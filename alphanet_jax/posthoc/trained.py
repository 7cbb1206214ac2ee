"""Corrections that are trained by stochastic gradient descent, in plain form.

Each takes the recipe of its paper, for features that are fixed: no augmentation, and
nothing of the network below changes. Each is deterministic given its key.

Notation: n samples, d feature dimensions, C classes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax.posthoc import checks
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.offsets import log_prior
from alphanet_jax.posthoc.recipes import Recipe, minimize, weighted_cross_entropy

__all__ = [
    "CRT",
    "DISALIGN",
    "LWS",
    "MARC",
    "Aligned",
    "crt",
    "disalign",
    "lws",
    "marc",
]

CRT = Recipe(learning_rate=0.2, epochs=10, per_class=4)
LWS = Recipe(learning_rate=0.2, epochs=5, per_class=4)
DISALIGN = MARC = Recipe(learning_rate=0.1, epochs=10)


def _logits(features: jax.Array, head: Linear) -> jax.Array:
    products = jnp.matmul(features, head.weight.T, precision="highest")
    return products + head.bias[None, :]


def _head(
    features: ArrayLike, labels: ArrayLike, weight: ArrayLike, bias: ArrayLike
) -> Linear:
    checks.classifier(features, weight, bias)
    checks.in_range("labels", labels, len(np.asarray(bias)))
    return Linear(jnp.asarray(weight, float), jnp.asarray(bias, float))


def _rare_weights(head: Linear, counts: ArrayLike, power: float) -> jax.Array:
    """Computes weights `pi ** -power`, scaled so that they sum to C."""
    prior = log_prior(counts)
    checks.last_axis("bias", head.bias, "counts", prior)
    shares = jax.nn.softmax(-power * prior)
    return shares.shape[0] * shares


def _crt_loss(
    head: Linear, _: None, features: jax.Array, labels: jax.Array
) -> jax.Array:
    return weighted_cross_entropy(_logits(features, head), labels)


def crt(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    key: jax.Array,
    recipe: Recipe = CRT,
) -> Linear:
    """Trains the classifier anew, with class-balanced batches (cRT).

    Args:
      features: Training features, with shape `[n, d]`.
      labels: Classes of the rows, with shape `[n]`.
      num_classes: Number of classes C.
      key: Random key of the first weights and of the batches.
      recipe: How to train.

    Returns:
      The classifier. It starts as PyTorch's linear layer does, uniform within
      `1 / sqrt(d)`.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    checks.in_range("labels", labels, num_classes)
    dim = np.shape(features)[-1]
    weight_key, bias_key, batch_key = jax.random.split(key, 3)
    bound = dim**-0.5
    head = Linear(
        jax.random.uniform(weight_key, (num_classes, dim), minval=-bound, maxval=bound),
        jax.random.uniform(bias_key, (num_classes,), minval=-bound, maxval=bound),
    )
    return minimize(
        _crt_loss, head, None, features, labels, recipe=recipe, key=batch_key
    )


def _lws_loss(
    scale: jax.Array, head: Linear, features: jax.Array, labels: jax.Array
) -> jax.Array:
    return weighted_cross_entropy(scale[None, :] * _logits(features, head), labels)


def lws(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    *,
    key: jax.Array,
    recipe: Recipe = LWS,
) -> Linear:
    """Learns a scale of every class's logit, with class-balanced batches (LWS).

    Args:
      features: Training features, with shape `[n, d]`.
      labels: Classes of the rows, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`; they are scaled, too.
      key: Random key of the batches.
      recipe: How to train.

    Returns:
      The classifier.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    head = _head(features, labels, weight, bias)
    start = jnp.ones_like(head.bias)
    scale = minimize(_lws_loss, start, head, features, labels, recipe=recipe, key=key)
    return Linear(scale[:, None] * head.weight, scale * head.bias)


def _marc_head(params: tuple[jax.Array, jax.Array], head: Linear) -> Linear:
    scale, shift = params
    norms = jnp.linalg.norm(head.weight, axis=1)
    return Linear(scale[:, None] * head.weight, scale * head.bias + shift * norms)


def _marc_loss(
    params: tuple[jax.Array, jax.Array],
    frozen: tuple[Linear, jax.Array],
    features: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    head, class_weights = frozen
    logits = _logits(features, _marc_head(params, head))
    return weighted_cross_entropy(logits, labels, class_weights)


def marc(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    counts: ArrayLike,
    *,
    key: jax.Array,
    power: float = 1.2,
    recipe: Recipe = MARC,
) -> Linear:
    """Calibrates the margin of every class: a scale and a shift (MARC).

    The shift is in units of the length of the class's weight.

    Args:
      features: Training features, with shape `[n, d]`.
      labels: Classes of the rows, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`; they are scaled, too.
      counts: Number of training samples of every class, with shape `[C]`.
      key: Random key of the batches.
      power: Classes weigh in the loss as their prior to the negative of this.
      recipe: How to train.

    Returns:
      The classifier.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    head = _head(features, labels, weight, bias)
    frozen = head, _rare_weights(head, counts, power)
    start = jnp.ones_like(head.bias), jnp.zeros_like(head.bias)
    params = minimize(
        _marc_loss, start, frozen, features, labels, recipe=recipe, key=key
    )
    return _marc_head(params, head)


@struct.dataclass
class Aligned:
    """A classifier with an adjusted one beside it, mixed by a gate for every sample."""

    head: Linear
    scale: jax.Array  # shape=(C,).
    shift: jax.Array  # shape=(C,).
    gate_weight: jax.Array  # shape=(d,).
    gate_bias: jax.Array  # shape=().

    def logits(self, features: ArrayLike) -> jax.Array:
        """Computes the logits of features, with shape `[n, C]`."""
        rows = jnp.asarray(features, float)
        plain = _logits(rows, self.head)
        open_ = jnp.matmul(rows, self.gate_weight, precision="highest") + self.gate_bias
        gate = jax.nn.sigmoid(open_)[:, None]
        adjusted = self.scale[None, :] * plain + self.shift[None, :]
        return gate * adjusted + (1.0 - gate) * plain


def _disalign_loss(
    params: dict[str, jax.Array],
    frozen: tuple[Linear, jax.Array],
    features: jax.Array,
    labels: jax.Array,
) -> jax.Array:
    head, class_weights = frozen
    logits = Aligned(head, **params).logits(features)
    return weighted_cross_entropy(logits, labels, class_weights)


def disalign(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    counts: ArrayLike,
    *,
    key: jax.Array,
    power: float = 1.2,
    recipe: Recipe = DISALIGN,
) -> Aligned:
    """Aligns logits with a balanced distribution: scale, shift and a gate (DisAlign).

    As the paper writes it; some public copies of its layer differ.

    Args:
      features: Training features, with shape `[n, d]`.
      labels: Classes of the rows, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.
      counts: Number of training samples of every class, with shape `[C]`.
      key: Random key of the batches.
      power: Classes weigh in the loss as their prior to the negative of this.
      recipe: How to train.

    Returns:
      The classifier, which is not linear. It starts with scale 1, shift 0 and the gate
      half open: the logits as they were.

    Raises:
      ValueError: If shapes do not fit each other.
    """
    head = _head(features, labels, weight, bias)
    frozen = head, _rare_weights(head, counts, power)
    start: dict[str, Any] = {
        "scale": jnp.ones_like(head.bias),
        "shift": jnp.zeros_like(head.bias),
        "gate_weight": jnp.zeros(head.weight.shape[1]),
        "gate_bias": jnp.zeros(()),
    }
    params = minimize(
        _disalign_loss, start, frozen, features, labels, recipe=recipe, key=key
    )
    return Aligned(head, **params)
