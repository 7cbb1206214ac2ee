"""The dense formula in JAX, as it stands on paper: what losses are compared with.

It computes in float64, needs no PyTorch, and shares nothing with the package but the
initial parameters and the activation: sources gathered class by class, the whole
classifier for every batch, logits from features, optax's own AdamW.

AdamW makes the rounding of float32 grow from step to step, so the distance of another
float32 program is worth a look beside ours.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from alphanet_jax import model, nn_search
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.lookup import activations
from alphanet_jax.sampling import Batches


def _alphas(layers: Any, sources: jax.Array, activation: str) -> jax.Array:
    x = sources.reshape(len(sources), -1)
    for index, (weight, bias) in enumerate(layers):
        x = activations.look_up(activation)(x) if index else x
        x = jnp.matmul(x, weight.T, precision="highest") + bias[None]
    x = x / jnp.abs(x).sum(axis=1, keepdims=True)
    return jnp.concatenate([jnp.ones_like(x[:, :1]), x], axis=1)


@functools.partial(jax.jit, static_argnames=("activation", "optimizer"))
def _step(
    layers: Any,
    state: Any,
    frozen: dict[str, jax.Array],
    features: jax.Array,
    labels: jax.Array,
    *,
    activation: str,
    optimizer: tuple[tuple[str, Any], ...],
) -> tuple[Any, Any, jax.Array]:
    def loss_fn(layers: Any) -> jax.Array:
        alphas = _alphas(layers, frozen["sources"], activation)
        new = jnp.einsum("fj,fjd->fd", alphas, frozen["sources"], precision="highest")
        weight = frozen["weight"].at[frozen["few_classes"]].set(new)
        logits = jnp.matmul(features, weight.T, precision="highest")
        logits = logits + frozen["bias"][None]
        logits = frozen["pred_scale"] * logits
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        # Padding has the label -1.
        return jnp.sum(jnp.where(labels >= 0, losses, 0)) / jnp.sum(labels >= 0)

    loss, grads = jax.value_and_grad(loss_fn)(layers)
    transform = _transform(optimizer)
    updates, state = transform.update(grads, state, layers)
    return optax.apply_updates(layers, updates), state, loss


def _transform(optimizer: tuple[tuple[str, Any], ...]) -> Any:
    params = dict(optimizer)
    b1, b2 = params.pop("betas", (0.9, 0.999))
    rate = params.pop("lr", 1e-3)
    return optax.adamw(
        rate, b1=b1, b2=b2, eps=1e-8, weight_decay=params.pop("weight_decay", 1e-2)
    )


def _double(array: Any) -> jax.Array:
    return jnp.asarray(np.asarray(array, np.float64))


def epoch_losses(
    problem: Problem, params: model.Params, batches: Batches
) -> np.ndarray:
    """Trains one seed for one epoch.

    Args:
      problem: The problem; its optimizer is AdamW.
      params: Initial parameters of one seed.
      batches: The epoch's batches, of one seed, with shape `[T, B]`.

    Returns:
      The loss of every step, before it.
    """
    with jax.enable_x64(True):
        return _epoch_losses(problem, params, batches)


def _epoch_losses(
    problem: Problem, params: model.Params, batches: Batches
) -> np.ndarray:
    settings, data = problem.settings, problem.dataset
    arrays = list(model.params_to_torch(params).values())
    layers = [
        (_double(w).reshape(len(w), -1), _double(b))
        for w, b in zip(arrays[::2], arrays[1::2], strict=True)
    ]
    sources = nn_search.source_classes(data.few_classes, problem.neighbors)
    frozen = {
        "sources": _double(data.weight[np.asarray(sources)]),
        "weight": _double(data.weight),
        "bias": _double(data.bias),
        "few_classes": jnp.asarray(data.few_classes),
        "pred_scale": _double(settings.pred_scale),
    }
    optimizer = tuple(settings.optim_params.items())
    state = _transform(optimizer).init(layers)
    losses = []
    for rows, valid in zip(batches.rows, batches.valid, strict=True):
        if not np.any(valid):
            continue
        features = _double(data.train.features[rows])
        labels = np.where(valid, data.train.labels[rows], -1)
        layers, state, loss = _step(
            layers,
            state,
            frozen,
            features,
            labels,
            activation=settings.hact,
            optimizer=optimizer,
        )
        losses.append(float(loss))
    return np.asarray(losses)
