"""Corrections that add one number to all logits of a class.

Each takes logits of any number of samples, with shape `[..., C]`. The bias of a
classifier, with shape `[C]`, is as good: what is added to it is added to the logits of
every sample.

Notation: n samples, d feature dimensions, C classes.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from alphanet_jax import streaming
from alphanet_jax.posthoc import checks

__all__ = [
    "drops",
    "few_offset",
    "log_prior",
    "log_prior_from_predictions",
    "logit_adjustment",
    "prior_from_predictions",
]

# Between these the multiplier of the constraint in `drops` is sought, by halving.
_LEAST_MULTIPLIER, _LARGEST_MULTIPLIER, _HALVINGS = 1e-3, 1e4, 40


def log_prior(counts: ArrayLike) -> jax.Array:
    """Computes the logarithm of the share of every class.

    Args:
      counts: Number of training samples of every class, or any other numbers in
        proportion to a prior, with shape `[C]`. A class without samples counts as the
        rarest that has some: its logarithm would be infinite.

    Returns:
      Logarithms, with shape `[C]`.

    Raises:
      ValueError: If counts are not a list.
    """
    # Of NumPy where it can be: JAX compiles a program for every operation.
    host = not isinstance(counts, jax.core.Tracer)
    xnp: Any = np if host else jnp
    numbers = xnp.asarray(counts, np.float64 if host else np.float32)
    if numbers.ndim != 1:
        raise ValueError(f"counts must be (C,), got {numbers.shape}.")
    least = xnp.min(xnp.where(numbers > 0, numbers, np.inf))
    numbers = xnp.where(numbers > 0, numbers, least)
    found = xnp.log(numbers) - xnp.log(xnp.sum(numbers))
    return jnp.asarray(found.astype(np.float32))


def few_offset(
    logits: ArrayLike, few_classes: ArrayLike, *, offset: ArrayLike
) -> jax.Array:
    """Adds one number to the logits of all few classes.

    The plainest control: whatever a method does for rare classes, this number does
    something of it.

    Args:
      logits: Logits, with shape `[..., C]`, or a bias, with shape `[C]`.
      few_classes: Class ids, with shape `[F]`.
      offset: What is added; 0 changes nothing.

    Returns:
      Logits of the same shape.

    Raises:
      ValueError: If there is no such class.

    Examples:
      >>> few_offset([1.0, 2.0, 3.0], [0, 2], offset=0.5).tolist()
      [1.5, 2.0, 3.5]
    """
    logits, classes = jnp.asarray(logits, float), jnp.asarray(few_classes, jnp.int32)
    # JAX would pass over an index out of range; traced ones cannot be looked at.
    if not isinstance(classes, jax.core.Tracer):
        checks.in_range("few_classes", classes, logits.shape[-1])
    return logits.at[..., classes].add(offset)


def logit_adjustment(
    logits: ArrayLike, counts: ArrayLike, *, tau: ArrayLike = 1.0
) -> jax.Array:
    """Takes the logarithm of the training prior from the logits.

    With `tau` 1 this is the prior shift: the posterior of a model trained on the
    long tail becomes the one for classes that are equally frequent. A classifier that
    was trained with balanced classes needs less of it, or none.

    Args:
      logits: Logits, with shape `[..., C]`, or a bias, with shape `[C]`.
      counts: Number of training samples of every class, or a prior such as that of
        `prior_from_predictions`, with shape `[C]`.
      tau: Factor on the logarithm; 0 changes nothing.

    Returns:
      Logits of the same shape.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> bias = logit_adjustment([0.0, 0.0], [3, 1], tau=1.0)
      >>> [round(number, 3) for number in bias.tolist()]  # -log(3/4), -log(1/4)
      [0.288, 1.386]
    """
    logits, prior = jnp.asarray(logits, float), log_prior(counts)
    checks.last_axis("logits", logits, "counts", prior)
    return logits - tau * checks.along_last(prior, logits)


def prior_from_predictions(
    features: ArrayLike, weight: ArrayLike, bias: ArrayLike
) -> jax.Array:
    """Computes the prior that a classifier assumes: its mean prediction.

    Where training has balanced the classes in part, the counts overstate what is left
    of the imbalance, and `logit_adjustment` with this prior in their place does not.

    Args:
      features: Training features, with shape `[n, d]`, perhaps mapped from a file;
        they are read in pieces.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Biases of the classifier, with shape `[C]`.

    Returns:
      The mean over samples of the softmax of the logits, with shape `[C]`.

    Raises:
      ValueError: If shapes do not fit each other.

    Examples:
      >>> prior = prior_from_predictions([[0.0], [9.0]], [[-9.0], [9.0]], [0.0, 0.0])
      >>> prior.tolist()
      [0.25, 0.75]
    """
    return jnp.exp(log_prior_from_predictions(features, weight, bias))


def log_prior_from_predictions(
    features: ArrayLike, weight: ArrayLike, bias: ArrayLike
) -> jax.Array:
    """Computes the logarithm of `prior_from_predictions`.

    It is finite also for a class whose probabilities are too small for float32.
    """
    checks.classifier(features, weight, bias)
    weight, bias = jnp.asarray(weight, float), jnp.asarray(bias, float)
    total = np.full(weight.shape[0], -np.inf)
    for chunk in streaming.float_chunks(features, width=weight.shape[0]):
        added = np.asarray(_log_sum_of_softmax(chunk, weight, bias), np.float64)
        total = np.logaddexp(total, added)
    return jnp.asarray(total - np.log(np.shape(features)[0]), float)


@jax.jit
def _log_sum_of_softmax(
    features: jax.Array, weight: jax.Array, bias: jax.Array
) -> jax.Array:
    logits = jnp.matmul(features, weight.T, precision="highest") + bias[None, :]
    log_shares = jax.nn.log_softmax(logits, axis=1)
    return jax.scipy.special.logsumexp(log_shares, axis=0)


def drops(
    val_logits: ArrayLike,
    val_labels: ArrayLike,
    counts: ArrayLike,
    *,
    delta: float = 0.1,
    step_size: float = 0.1,
    num_steps: int = 100,
) -> jax.Array:
    """Computes the offsets that are robust against other priors at test.

    Of all priors g of the test data that are within a Kullback-Leibler divergence of
    `delta` of the uniform one, the offsets `log(g / pi)` serve the worst for the
    classifier: the one under which its validation loss, so adjusted, is largest. It is
    found by multiplicative weights; the multiplier that keeps the constraint is solved
    for in every step.

    Args:
      val_logits: Logits of validation samples, with shape `[n, C]`.
      val_labels: Their classes, with shape `[n]`. A class without any counts with the
        mean loss of the others.
      counts: Number of training samples of every class, with shape `[C]`.
      delta: Divergence allowed; with 0 the offsets are those of `logit_adjustment`
        with `tau` 1.
      step_size: How much of the way to the worst prior a step goes.
      num_steps: Number of steps.

    Returns:
      What to add to the logits of every class, with shape `[C]`.

    Raises:
      ValueError: If shapes do not fit each other, or options are out of range.
    """
    logits = jnp.asarray(val_logits, float)
    labels, prior = jnp.asarray(val_labels, jnp.int32), log_prior(counts)
    checks.samples("val_logits", logits, "val_labels", labels)
    checks.last_axis("val_logits", logits, "counts", prior)
    if delta < 0 or not 0 < step_size <= 1:
        raise ValueError(
            "delta must not be negative and step_size in (0, 1], got "
            f"{delta} and {step_size}."
        )
    found: jax.Array = _robust_offsets(
        logits, labels, prior, delta, step_size, num_steps
    )
    return found


@functools.partial(jax.jit, static_argnums=5)
def _robust_offsets(
    logits: jax.Array,
    labels: jax.Array,
    prior: jax.Array,
    delta: jax.Array,
    step_size: jax.Array,
    num_steps: int,
) -> jax.Array:
    num_classes = logits.shape[1]
    total = jnp.zeros(num_classes).at[labels].add(1.0)
    uniform = -jnp.log(num_classes)

    def class_losses(log_g: jax.Array) -> jax.Array:
        logs = jax.nn.log_softmax(logits + (log_g - prior)[None, :], axis=1)
        losses = -jnp.take_along_axis(logs, labels[:, None], axis=1)[:, 0]
        means = jnp.zeros(num_classes).at[labels].add(losses) / jnp.maximum(total, 1.0)
        others = jnp.sum(means) / jnp.sum(total > 0)
        return jnp.where(total > 0, means, others)

    def worst(losses: jax.Array) -> jax.Array:
        """Finds the logarithms of the prior that maximizes the loss."""

        def halve(_: int, span: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            low, high = span
            middle = jnp.sqrt(low * high)
            log_g = jax.nn.log_softmax(losses / middle)
            is_far = jnp.sum(jnp.exp(log_g) * (log_g - uniform)) > delta
            return jnp.where(is_far, middle, low), jnp.where(is_far, high, middle)

        span = jnp.asarray(_LEAST_MULTIPLIER), jnp.asarray(_LARGEST_MULTIPLIER)
        _, multiplier = jax.lax.fori_loop(0, _HALVINGS, halve, span)
        return jax.nn.log_softmax(losses / multiplier)

    def step(_: int, log_g: jax.Array) -> jax.Array:
        aim = worst(class_losses(log_g))
        return jax.nn.log_softmax((1 - step_size) * log_g + step_size * aim)

    start = jnp.full(num_classes, uniform)
    log_g: jax.Array = jax.lax.fori_loop(0, num_steps, step, start)
    return log_g - prior
