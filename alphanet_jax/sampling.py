"""Which training rows an epoch uses, and in what batches, from a random key.

Notation: n training samples, m samples of a split, c classes of a split, B rows of a
batch, T batches of an epoch. Rows are indices into the training data.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

__all__ = [
    "SAMPLERS",
    "Batches",
    "Pool",
    "Sampler",
    "draw_batches",
    "draw_rows",
    "make_pool",
    "make_samplers",
    "split_into_batches",
]


class Pool(NamedTuple):
    """The training rows of a split, grouped by class."""

    rows: jax.Array  # shape=(m,), dtype=jnp.int32.
    starts: jax.Array  # shape=(c,): where in `rows` each class begins.
    counts: jax.Array  # shape=(c,): number of rows of each class.


class Batches(NamedTuple):
    """The batches of one epoch; the last one may be padded."""

    rows: jax.Array  # shape=(T, B), dtype=jnp.int32; 0 where not valid.
    valid: jax.Array  # shape=(T, B), dtype=jnp.bool_.


def make_pool(labels: ArrayLike, classes: ArrayLike) -> Pool:
    """Groups training rows by class.

    Args:
      labels: Classes of the training samples, with shape `[n]`.
      classes: Class ids of a split, with shape `[c]`.

    Returns:
      The rows whose label is in `classes`: classes in the order given, and the rows
      of a class in ascending order.

    Raises:
      ValueError: If a class has no rows, as it could not be drawn from.
    """
    labels, classes = np.asarray(labels), np.asarray(classes)
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = labels[by_class]
    first = np.searchsorted(sorted_labels, classes, side="left")
    counts = np.searchsorted(sorted_labels, classes, side="right") - first
    if not counts.all():
        empty = classes[counts == 0].tolist()
        raise ValueError(f"every class needs a training row; {empty} have none.")
    rows = [by_class[f : f + c] for f, c in zip(first, counts, strict=True)]
    return Pool(
        jnp.asarray(np.concatenate(rows), jnp.int32),
        jnp.asarray(np.cumsum(counts) - counts, jnp.int32),
        jnp.asarray(counts, jnp.int32),
    )


def _draw_all(key: jax.Array, pool: Pool, size: int) -> jax.Array:
    """Takes every row of the split once."""
    del key, size
    return pool.rows


def _draw_class_balanced(key: jax.Array, pool: Pool, size: int) -> jax.Array:
    """Draws with replacement: a class uniformly, then one of its rows uniformly."""
    # Scaled uniform numbers, not `randint`: they compile in a fraction of the time,
    # and their grid of 2**23 steps is fine against any number of rows.
    which_class, which_row = jax.random.uniform(key, (2, size))
    drawn = _scale(which_class, pool.starts.shape[0])
    return pool.rows[pool.starts[drawn] + _scale(which_row, pool.counts[drawn])]


def _scale(uniform: jax.Array, count: ArrayLike) -> jax.Array:
    """Maps numbers in [0, 1) to whole numbers in [0, count)."""
    # The product may round up to the count itself.
    return jnp.minimum((uniform * count).astype(jnp.int32), jnp.asarray(count) - 1)


class _Kind(NamedTuple):
    """What a sampler's name stands for."""

    split: str
    draw: Callable[[jax.Array, Pool, int], jax.Array]
    takes_r: bool


# Looked up by the original's names.
SAMPLERS: dict[str, _Kind] = {
    "AllFewSampler": _Kind("few", _draw_all, takes_r=False),
    "ClassBalancedBaseSampler": _Kind("base", _draw_class_balanced, takes_r=True),
}


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A sampler by name, with the number of rows that it draws each epoch."""

    name: str
    size: int

    @property
    def split(self) -> str:
        """The split that it draws from."""
        return SAMPLERS[self.name].split


def make_samplers(
    names: Sequence[str],
    args: Sequence[Mapping[str, float]],
    split_sizes: Mapping[str, int],
    *,
    default_r: float = 1.0,
) -> tuple[Sampler, ...]:
    """Resolves samplers by name.

    Args:
      names: Names in `SAMPLERS`; what they draw is put together.
      args: Arguments for each sampler, or one mapping for all. `r` is the number of
        rows to draw as a multiple of the number of few samples (rounded down).
      split_sizes: Number of training samples of each split, by name: 'few', 'base'.
      default_r: The `r` of samplers that take one and are given none.

    Returns:
      The samplers, with their sizes.

    Raises:
      ValueError: If a name or an argument is unknown, `r` is negative, or the
        number of `args` is neither 1 nor that of `names`.

    Examples:
      >>> names = ["AllFewSampler", "ClassBalancedBaseSampler"]
      >>> samplers = make_samplers(names, [{}, {"r": 0.5}], {"few": 9, "base": 99})
      >>> [sampler.size for sampler in samplers]
      [9, 4]
    """
    if len(args) not in (1, len(names)):
        raise ValueError(
            "sampler_args must hold one entry, or one for each of the "
            f"{len(names)} sampler classes, got {len(args)}."
        )
    if not names:
        raise ValueError("at least one sampler class is needed, got none.")
    samplers = []
    for index, name in enumerate(names):
        if name not in SAMPLERS:
            raise ValueError(f"sampler must be one of {list(SAMPLERS)}, got {name!r}.")
        kind = SAMPLERS[name]
        given = dict(args[index if len(args) > 1 else 0])
        # In one entry for all, r is meant for those that take it.
        own_entry = len(args) == len(names)
        if "r" in given and own_entry and not kind.takes_r:
            raise ValueError(f"{name} takes no argument r, got r={given['r']!r}.")
        r = given.pop("r", default_r)
        if given:
            raise ValueError(f"{name} takes no argument {sorted(given)}.")
        if not isinstance(r, int | float) or not 0 <= r < math.inf:
            raise ValueError(f"{name}: r must be a number from 0 on, got {r!r}.")
        size = int(split_sizes["few"] * r) if kind.takes_r else split_sizes[kind.split]
        samplers.append(Sampler(name, size))
    return tuple(samplers)


def draw_rows(
    key: jax.Array, pools: Mapping[str, Pool], samplers: Sequence[Sampler]
) -> jax.Array:
    """Draws the rows of one epoch.

    Args:
      key: Random key of the epoch.
      pools: The rows of each split that a sampler draws from, by name.
      samplers: The samplers (static).

    Returns:
      Rows, with shape `[sum of sampler sizes]`, one sampler's after the other's.
    """
    drawn = [
        SAMPLERS[sampler.name].draw(
            jax.random.fold_in(key, index), pools[sampler.split], sampler.size
        )
        for index, sampler in enumerate(samplers)
    ]
    return jnp.concatenate(drawn)


def split_into_batches(rows: ArrayLike, *, batch_size: int) -> Batches:
    """Cuts rows into batches; the last partial batch is padded, not dropped.

    Args:
      rows: Rows of one epoch in the order to use, with shape `[size]`.
      batch_size: Rows of a batch B.

    Returns:
      `ceil(size / B)` batches.

    Raises:
      ValueError: If there are no rows or `batch_size` is not positive.
    """
    rows = jnp.asarray(rows, jnp.int32)
    size = rows.shape[0]
    if size < 1 or batch_size < 1:
        raise ValueError(
            f"rows and batch_size must be at least 1, got {size} and {batch_size}."
        )
    steps = -(-size // batch_size)
    padded = jnp.pad(rows, (0, steps * batch_size - size))
    valid = jnp.arange(steps * batch_size) < size
    return Batches(padded.reshape(steps, -1), valid.reshape(steps, -1))


def draw_batches(
    key: jax.Array,
    pools: Mapping[str, Pool],
    samplers: Sequence[Sampler],
    *,
    batch_size: int,
) -> Batches:
    """Draws, shuffles and cuts the rows of one epoch.

    Args:
      key: Random key of the epoch.
      pools: The rows of each split that a sampler draws from, by name.
      samplers: The samplers (static).
      batch_size: Rows of a batch.

    Returns:
      The batches: one shuffle over all rows mixes few and base samples.
    """
    draw_key, shuffle_key = jax.random.split(key)
    rows = draw_rows(draw_key, pools, samplers)
    # Sorting by random bits shuffles; equal ones, of 2**32, keep their order.
    rows = rows[jnp.argsort(jax.random.bits(shuffle_key, rows.shape))]
    return split_into_batches(rows, batch_size=batch_size)
