"""One training step and one epoch of AlphaNet, for one seed.

Notation: B rows of a batch, T batches of an epoch, F 'few' classes, M source classes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.typing import ArrayLike

from alphanet_jax import model
from alphanet_jax.nn_search import Sources
from alphanet_jax.sampling import Batches
from alphanet_jax.scores import Frozen, ScoreTable, few_logits, take_rows

__all__ = [
    "Network",
    "TrainState",
    "cross_entropy",
    "init_state",
    "loss_fn",
    "train_epoch",
    "train_step",
]


# From parameters and sources to coefficients, with shape `[F, k + 1]`.
Network = Callable[[model.Params, Sources], jax.Array]


@struct.dataclass
class TrainState:
    """What a step of training changes."""

    params: model.Params
    opt_state: optax.OptState


def init_state(
    params: model.Params, transform: optax.GradientTransformationExtraArgs
) -> TrainState:
    """Makes the state before the first step."""
    return TrainState(params, transform.init(params))


def cross_entropy(
    few_logits: ArrayLike,
    batch: ScoreTable,
    valid: ArrayLike,
    *,
    pred_scale: ArrayLike = 1.0,
) -> jax.Array:
    """Mean cross-entropy over all classes, from few logits and base log-sum-exps.

    Args:
      few_logits: Logits of the few classes, not scaled, with shape `[B, F]`.
      batch: Scores of the rows; made with the same `pred_scale`.
      valid: Which rows count, with shape `[B]`.
      pred_scale: Factor on all logits before the softmax.

    Returns:
      The mean over valid rows, a scalar; 0 if there are none.
    """
    # All logits less the largest base one, as base_logsumexp is; samples last, so
    # that reductions over classes run at full width on CPUs.
    best = batch.top_logits[:, 0]
    scaled = pred_scale * (jnp.asarray(few_logits).T - best[None, :])
    normalizer = jnp.logaddexp(batch.base_logsumexp, jax.nn.logsumexp(scaled, axis=0))
    # A product with one-hot columns, not a gather: its gradient is no scatter.
    is_target = jnp.arange(scaled.shape[0])[:, None] == batch.few_target[None, :]
    few_target_logit = jnp.sum(jnp.where(is_target, scaled, 0.0), axis=0)
    target_logit = jnp.where(
        batch.few_target >= 0,
        few_target_logit,
        pred_scale * (batch.base_target_logit - best),
    )
    losses = jnp.where(valid, normalizer - target_logit, 0.0)
    return jnp.sum(losses) / jnp.maximum(jnp.sum(valid), 1)


def loss_fn(
    params: model.Params,
    batch: ScoreTable,
    valid: ArrayLike,
    frozen: Frozen,
    *,
    network: Network = model.apply,
    pred_scale: ArrayLike = 1.0,
) -> jax.Array:
    """Computes the loss of a batch from the parameters of the network.

    Args:
      params: Parameters of the network.
      batch: Scores of the batch's rows.
      valid: Which rows count, with shape `[B]`.
      frozen: What training does not change.
      network: Computes the coefficients from parameters and sources.
      pred_scale: Factor on all logits before the softmax.

    Returns:
      The mean loss, a scalar.
    """
    alphas = network(params, frozen.sources)
    logits = few_logits(
        alphas, batch.source_scores, frozen.source_index, frozen.few_bias
    )
    return cross_entropy(logits, batch, valid, pred_scale=pred_scale)


def train_step(
    state: TrainState,
    batch: ScoreTable,
    valid: ArrayLike,
    frozen: Frozen,
    learning_rate: ArrayLike,
    *,
    transform: optax.GradientTransformationExtraArgs,
    network: Network = model.apply,
    pred_scale: ArrayLike = 1.0,
    momentum: ArrayLike | None = None,
) -> tuple[TrainState, jax.Array]:
    """Takes one optimizer step.

    Args:
      state: State before the step.
      batch: Scores of the batch's rows.
      valid: Which rows count, with shape `[B]`.
      frozen: What training does not change.
      learning_rate: Learning rate of the step, a scalar.
      transform: The optimizer.
      network: Computes the coefficients from parameters and sources.
      pred_scale: Factor on all logits before the softmax.
      momentum: Momentum or first beta of the step, a scalar, where it changes.

    Returns:
      The state after the step, and the loss before it, a scalar.
    """
    loss, grads = jax.value_and_grad(loss_fn)(
        state.params, batch, valid, frozen, network=network, pred_scale=pred_scale
    )
    updates, opt_state = transform.update(
        grads,
        state.opt_state,
        state.params,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    return TrainState(optax.apply_updates(state.params, updates), opt_state), loss


def train_epoch(
    state: TrainState,
    batches: Batches,
    table: ScoreTable,
    frozen: Frozen,
    learning_rate: ArrayLike,
    *,
    transform: optax.GradientTransformationExtraArgs,
    network: Network = model.apply,
    pred_scale: ArrayLike = 1.0,
    momentum: ArrayLike | None = None,
    num_steps: ArrayLike | None = None,
    skip_empty: bool = True,
) -> tuple[TrainState, jax.Array]:
    """Takes one step for each batch, in order, in one compiled loop.

    A batch without a valid row is no step and changes nothing, unless `skip_empty` is
    off, which saves a pass over the state where there is no such batch.

    Args:
      state: State before the epoch.
      batches: The epoch's batches; rows are indices into `table`.
      table: Scores of the training rows.
      frozen: What training does not change.
      learning_rate: Learning rate of the epoch, a scalar.
      transform: The optimizer.
      network: Computes the coefficients from parameters and sources.
      pred_scale: Factor on all logits before the softmax.
      momentum: Momentum or first beta of the epoch, a scalar, where it changes.
      num_steps: Leave out the batches from this one on; a scalar. By default none.
      skip_empty: Whether there may be batches without a valid row before that.

    Returns:
      The state after the epoch, and the loss of each batch before its step, with
      shape `[T]`; NaN for batches that were no step.
    """
    most = batches.valid.shape[0]

    def step(
        index: jax.Array, carry: tuple[TrainState, jax.Array]
    ) -> tuple[TrainState, jax.Array]:
        state, losses = carry
        batch = jax.tree.map(lambda array: array[index], batches)
        stepped, loss = train_step(
            state,
            take_rows(table, batch.rows),
            batch.valid,
            frozen,
            learning_rate,
            transform=transform,
            network=network,
            pred_scale=pred_scale,
            momentum=momentum,
        )
        if not skip_empty:
            return stepped, losses.at[index].set(loss)
        is_step = jnp.any(batch.valid)
        state = jax.tree.map(
            lambda new, old: jnp.where(is_step, new, old), stepped, state
        )
        return state, losses.at[index].set(jnp.where(is_step, loss, jnp.nan))

    # A bound that is no constant: fewer steps need no other program.
    steps = most if num_steps is None else jnp.minimum(num_steps, most)
    # NaN, made from what differs between runs: under `vmap` the loop then knows from
    # the start what has an axis of runs, and need not be traced again to find out.
    nan = jnp.asarray(jnp.nan, jnp.asarray(table.base_logsumexp).dtype)
    losses = jnp.where(batches.valid[:, 0], nan, nan)
    state, losses = jax.lax.fori_loop(0, steps, step, (state, losses))
    return state, losses
