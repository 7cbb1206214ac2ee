"""Where the time of a training step goes, by leaving parts of it out.

Each part runs alone, compiled, in a loop as long as an epoch that carries what the
part changes, at the shapes and with the numbers of the run. What a whole step takes
beyond the sum of its parts is called the rest; parts that overlap in a whole step make
it negative. `imagenetlt.py --profile_step` prints it.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from measuring import in_turns, steps_of

from alphanet_jax import model, scores, train_step
from alphanet_jax.experiment import cohorts, feature_pass, loop
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.lookup import activations, optimizers
from alphanet_jax.sampling import Batches

PARTS = {
    "first_layer": "first layer, forward and gradient products",
    "small_layers": "small layers and the normalization, likewise",
    "head": "few logits, loss and their gradients",
    "look_ups": "look-ups of the batch's scores",
    "optimizer": "optimizer, update and all",
}


def _loop(
    step: Callable[[jax.Array, Any], Any], num_steps: jax.Array, carry: Any
) -> Any:
    return jax.lax.fori_loop(0, num_steps, step, carry)


def _cotangent(shape: tuple[int, ...]) -> jax.Array:
    """A gradient that is as good as any: no zeros, no two equal."""
    return jnp.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)


def _descend(params: Any, grads: Any) -> Any:
    """A plain update, small enough to keep parameters near where they are."""
    return jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)


def profile(problem: Problem, num_seeds: int, *, repeats: int) -> dict[str, Any]:
    """Measures a step and its parts.

    Args:
      problem: The problem.
      num_seeds: Seeds that train together.
      repeats: Turns; all parts are measured in each.

    Returns:
      `seconds`: of a step and of each part, every turn's; the parts are `whole`,
      `whole_plain` (with plain gradient descent for an optimizer), `network` (all
      layers with a fixed gradient of their output, and plain gradient descent),
      `small_layers`, `plain_update` (of the first layer, with a fixed gradient), `head`
      (with its look-ups), `look_ups` and `optimizer` (with a fixed gradient). `parts`:
      the seconds of each of `PARTS`, from medians, and `rest`.
    """
    settings, frozen, data = problem.settings, problem.frozen, problem.dataset
    seeds = range(num_seeds)
    batches = loop.epoch_batches(problem, seeds)[0]
    num_steps = steps_of(np.asarray(batches.valid))
    all_step = cohorts.all_step(batches)
    used = np.unique(np.asarray(batches.rows)[np.asarray(batches.valid)])
    places = np.zeros(len(data.train.labels), np.int32)
    places[used] = np.arange(len(used))
    rows = np.where(batches.valid, places[batches.rows], 0)
    batches = jax.device_put(Batches(rows, batches.valid))
    table = feature_pass.score_table(data.train, used, **problem.score_arguments)
    params = loop.initial_params(problem, seeds)
    adamw = optimizers.make_optimizer(
        settings.optim_cls,
        {k: v for k, v in settings.optim_params.items() if k != "lr"},
    ).transform
    plain = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(),
        lambda updates, state, params=None, **extra: (
            jax.tree.map(lambda u: -extra["learning_rate"] * u, updates),
            state,
        ),
    )
    steps, rate = jnp.int32(num_steps), jnp.float32(1e-6)

    def epoch(transform: Any) -> Callable[[], Any]:
        def one(params: Any, batches: Batches, table: Any, frozen: Any, n: Any) -> Any:
            state = train_step.init_state(params, transform)
            return train_step.train_epoch(
                state,
                batches,
                table,
                frozen,
                rate,
                transform=transform,
                network=functools.partial(
                    model.apply, activation=settings.hact, alone=num_seeds == 1
                ),
                num_steps=n,
                skip_empty=not all_step,  # as `experiment` has it
            )

        compiled = jax.jit(jax.vmap(one, in_axes=(0, 0, None, None, None)))
        arguments = (params, batches, table, frozen, steps)
        return lambda: jax.block_until_ready(compiled(*arguments))

    shape = frozen.source_index.shape

    @jax.jit
    def network(params: Any, frozen: Any, n: jax.Array) -> Any:
        cotangent = _cotangent(shape)

        def one(params: Any) -> jax.Array:
            alphas = model.apply(
                params,
                frozen.sources,
                activation=settings.hact,
                alone=num_seeds == 1,
            )
            return jnp.sum(cotangent * alphas)

        gradient = jax.vmap(jax.grad(one))
        return _loop(lambda _, p: _descend(p, gradient(p)), n, params)

    hidden = jax.random.normal(
        jax.random.key(0), (num_seeds, settings.hdims[0], shape[0])
    )

    @jax.jit
    def small_layers(carry: Any, n: jax.Array) -> Any:
        """Layers after the first, from its output, which gets a gradient as well."""
        cotangent = _cotangent((shape[0], shape[1] - 1))

        def one(layers: Any, x: jax.Array) -> jax.Array:
            for layer in layers:
                x = activations.look_up(settings.hact)(x)
                x = jnp.matmul(layer.weight, x) + layer.bias[:, None]
            return jnp.sum(cotangent * (x / jnp.sum(jnp.abs(x), axis=0)).T)

        gradient = jax.vmap(jax.grad(one, argnums=(0, 1)))
        return _loop(lambda _, c: _descend(c, gradient(*c)), n, carry)

    @jax.jit
    def head(alphas: Any, batches: Batches, table: Any, frozen: Any, n: Any) -> Any:
        """From coefficients to their gradient, with the look-ups."""

        def one(alphas: jax.Array, batches: Batches) -> Any:
            def step(index: jax.Array, alphas: jax.Array) -> Any:
                rows, valid = (array[index] for array in batches)
                batch = scores.take_rows(table, rows)

                def loss(alphas: jax.Array) -> jax.Array:
                    logits = scores.few_logits(
                        alphas,
                        batch.source_scores,
                        frozen.source_index,
                        frozen.few_bias,
                    )
                    return train_step.cross_entropy(logits, batch, valid)

                return _descend(alphas, jax.grad(loss)(alphas))

            return _loop(step, n, alphas)

        return jax.vmap(one)(alphas, batches)

    @jax.jit
    def look_ups(rows: jax.Array, table: Any, n: jax.Array) -> Any:
        # Carried on, the scores have to be there in full after every step.
        def one(rows: jax.Array) -> Any:
            return _loop(
                lambda index, _: scores.take_rows(table, rows[index]),
                n,
                scores.take_rows(table, rows[0]),
            )

        return jax.vmap(one)(rows)

    @jax.jit
    def plain_update(params: Any, grads: Any, n: jax.Array) -> Any:
        return _loop(lambda _, p: _descend(p, grads), n, params)

    @jax.jit
    def optimizer(params: Any, grads: Any, n: jax.Array) -> Any:
        def one(params: Any, grads: Any) -> Any:
            def step(_: jax.Array, carry: Any) -> Any:
                params, state = carry
                updates, state = adamw.update(grads, state, params, learning_rate=rate)
                return optax.apply_updates(params, updates), state

            return _loop(step, n, (params, adamw.init(params)))

        return jax.vmap(one)(params, grads)

    grads = jax.tree.map(lambda array: 0.5 * array, params)
    alphas = jnp.ones((num_seeds, *shape))
    small = (params[1:], hidden)
    calls = {
        "whole": epoch(adamw),
        "whole_plain": epoch(plain),
        "network": lambda: jax.block_until_ready(network(params, frozen, steps)),
        "plain_update": lambda: jax.block_until_ready(
            plain_update(params[:1], grads[:1], steps)
        ),
        "optimizer": lambda: jax.block_until_ready(optimizer(params, grads, steps)),
        "small_layers": lambda: jax.block_until_ready(small_layers(small, steps)),
        "head": lambda: jax.block_until_ready(
            head(alphas, batches, table, frozen, steps)
        ),
        "look_ups": lambda: jax.block_until_ready(look_ups(batches.rows, table, steps)),
    }
    taken = in_turns(calls, repeats=repeats)
    seconds = {name: [t / num_steps for t in times] for name, times in taken.items()}
    middle = {name: float(np.median(times)) for name, times in seconds.items()}
    parts = {
        "first_layer": middle["network"]
        - middle["small_layers"]
        - middle["plain_update"],
        "small_layers": middle["small_layers"],
        "head": middle["head"] - middle["look_ups"],
        "look_ups": middle["look_ups"],
        "optimizer": middle["optimizer"],
    }
    parts["rest"] = middle["whole"] - sum(parts.values())
    return {"steps": num_steps, "seconds": seconds, "parts": parts}
