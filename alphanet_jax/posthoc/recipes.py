"""Stochastic gradient descent as the papers of trained corrections use it.

Features may be mapped from a file: a batch at a time is read.

Notation: n samples, d feature dimensions, C classes, B rows of a batch, T batches of an
epoch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from alphanet_jax.posthoc import checks

__all__ = ["Loss", "Recipe", "draw_batches", "minimize", "weighted_cross_entropy"]

Params = TypeVar("Params")

# Of parameters, what is frozen, features and labels of a batch: a mean over it.
Loss = Callable[[Any, Any, jax.Array, jax.Array], jax.Array]


class Recipe(NamedTuple):
    """How a correction is trained.

    Attributes:
      learning_rate: Of the first epoch; it falls to 0 along a cosine, once an epoch.
      momentum: Of stochastic gradient descent, not Nesterov's.
      weight_decay: Added to the gradient, times the parameter, as PyTorch does.
      epochs: Number of epochs.
      batch_size: Rows of a batch, or all where there are fewer.
      per_class: Where positive, batches are class-aware: classes take turns, in a new
        order each time, and each gives so many rows. Where 0, an epoch takes every row
        once, but for the last few that do not fill a batch.
    """

    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    epochs: int = 10
    batch_size: int = 512
    per_class: int = 0


def draw_batches(key: jax.Array, labels: ArrayLike, *, recipe: Recipe) -> np.ndarray:
    """Draws the rows of one epoch; runs on the host.

    Args:
      key: Random key.
      labels: Classes of the training samples, with shape `[n]`.
      recipe: How to draw.

    Returns:
      Rows, with shape `[T, B]`, where T is n / B rounded down, at least 1.
    """
    truth = np.asarray(labels)
    size = min(recipe.batch_size, len(truth))
    num_rows = max(1, len(truth) // size) * size
    order_key, turns_key = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, len(truth)))
    if recipe.per_class == 0:
        return order[:num_rows].reshape(-1, size)

    # Rows of the same class side by side, shuffled among themselves.
    order = order[np.argsort(truth[order], kind="stable")]
    _, starts, counts = np.unique(truth[order], return_index=True, return_counts=True)
    num_turns = -(-num_rows // recipe.per_class)
    rounds = -(-num_turns // len(counts))
    drawn = jax.random.uniform(turns_key, (rounds, len(counts)))
    turns = np.argsort(np.asarray(drawn), axis=1).reshape(-1)[:num_turns]
    classes = np.repeat(turns, recipe.per_class)[:num_rows]
    # The how many-th of its class each of these rows is; then from the first again.
    by_class = np.argsort(classes, kind="stable")
    firsts = np.searchsorted(classes[by_class], np.arange(len(counts)))
    rank = np.empty(num_rows, np.int64)
    rank[by_class] = np.arange(num_rows) - firsts[classes[by_class]]
    rows = order[starts[classes] + rank % counts[classes]]
    return np.asarray(rows.reshape(-1, size))


def minimize(
    loss: Loss,
    params: Params,
    frozen: Any,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    recipe: Recipe,
    key: jax.Array,
) -> Params:
    """Minimizes a loss over batches of samples.

    Args:
      loss: Loss of a batch: a function of a module, so that it compiles once.
      params: What is learned, as it starts.
      frozen: What the loss needs besides.
      features: Training features, with shape `[n, d]`.
      labels: Classes of the rows, with shape `[n]`.
      recipe: How to train.
      key: Random key of the batches.

    Returns:
      What was learned; the same for the same key.

    Raises:
      ValueError: If there is not a label for every row.
    """
    rows = np.asarray(features)
    truth = np.asarray(labels).astype(np.int32)
    checks.samples("features", rows, "labels", truth)
    state = _optimizer(recipe).init(params)
    for epoch, epoch_key in enumerate(jax.random.split(key, recipe.epochs)):
        rate = (
            0.5 * recipe.learning_rate * (1.0 + np.cos(np.pi * epoch / recipe.epochs))
        )
        state.hyperparams["learning_rate"] = jnp.asarray(rate, float)
        for batch in draw_batches(epoch_key, truth, recipe=recipe):
            chosen = rows[batch].astype(np.float32)
            params, state = _step(
                loss, recipe, params, state, frozen, chosen, truth[batch]
            )
    return params


def _optimizer(recipe: Recipe) -> optax.GradientTransformation:
    def make(learning_rate: float) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(recipe.weight_decay),
            optax.sgd(learning_rate, momentum=recipe.momentum),
        )

    changeable = optax.inject_hyperparams(make)(learning_rate=recipe.learning_rate)
    return cast(optax.GradientTransformation, changeable)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _step(
    loss: Loss,
    recipe: Recipe,
    params: Params,
    state: optax.OptState,
    frozen: Any,
    features: jax.Array,
    labels: jax.Array,
) -> tuple[Params, optax.OptState]:
    grads = jax.grad(loss)(params, frozen, features, labels)
    updates, state = _optimizer(recipe).update(grads, state, params)
    return optax.apply_updates(params, updates), state


def weighted_cross_entropy(
    logits: jax.Array, labels: jax.Array, class_weights: jax.Array | None = None
) -> jax.Array:
    """Computes the mean cross-entropy, each sample weighed by its class.

    Args:
      logits: Logits, with shape `[n, C]`.
      labels: Classes, with shape `[n]`.
      class_weights: Weights of the classes, with shape `[C]`; None for ones.

    Returns:
      The sum of weighed losses by the sum of weights, a scalar.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    if class_weights is None:
        return jnp.mean(losses)
    weights = class_weights[labels]
    return jnp.sum(weights * losses) / jnp.sum(weights)
