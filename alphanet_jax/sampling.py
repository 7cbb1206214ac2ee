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

from alphanet_jax.errors import did_you_mean

__all__ = [
    "SAMPLERS",
    "Batches",
    "Drawn",
    "Pool",
    "Sampler",
    "draw_batches",
    "draw_rows",
    "make_pool",
    "make_samplers",
    "split_into_batches",
]


_MOST_ROWS = 2**31 - 1  # of an epoch: they are counted in int32


class Pool(NamedTuple):
    """The training rows of a split, grouped by class."""

    rows: jax.Array | np.ndarray  # shape=(m,), dtype=jnp.int32.
    starts: jax.Array | np.ndarray  # shape=(c,): where in `rows` each class begins.
    counts: jax.Array | np.ndarray  # shape=(c,): number of rows of each class.


class Batches(NamedTuple):
    """The batches of one epoch; the last of them may be padded, in part or whole."""

    rows: jax.Array | np.ndarray  # shape=(T, B), dtype=jnp.int32; 0 if not valid.
    valid: jax.Array | np.ndarray  # shape=(T, B), dtype=jnp.bool_.


def make_pool(labels: ArrayLike, classes: ArrayLike) -> Pool:
    """Sorts training rows by class; runs on the host.

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
        np.concatenate(rows).astype(np.int32),
        (np.cumsum(counts) - counts).astype(np.int32),
        counts.astype(np.int32),
    )


class Drawn(NamedTuple):
    """Rows that a sampler has drawn, in arrays of a size that never changes."""

    rows: jax.Array  # shape=(capacity,), dtype=jnp.int32.
    valid: jax.Array  # shape=(capacity,), dtype=jnp.bool_: which of them count.


# Every draw takes `(key, pool, few_counts, capacity, amount)`: the rows of its split,
# the numbers of rows of the few classes, the length of its arrays (static), and how
# much to draw. Element i of random numbers of one axis depends on the key and i alone,
# so what is drawn does not depend on the capacity.


def _draw_all(
    key: jax.Array, pool: Pool, few_counts: jax.Array, capacity: int, amount: jax.Array
) -> Drawn:
    """Takes every row of the split once."""
    del key, few_counts, amount
    return Drawn(jnp.asarray(pool.rows), jnp.ones(capacity, jnp.bool_))


def _draw_uniform_image(
    key: jax.Array, pool: Pool, few_counts: jax.Array, capacity: int, amount: jax.Array
) -> Drawn:
    """Draws rows of the split uniformly, with replacement."""
    del few_counts
    place = _scale(jax.random.uniform(key, (capacity,)), pool.rows.shape[0])
    return Drawn(pool.rows[place], jnp.arange(capacity) < amount)


def _draw_class_balanced(
    key: jax.Array, pool: Pool, few_counts: jax.Array, capacity: int, amount: jax.Array
) -> Drawn:
    """Draws with replacement: a class uniformly, then one of its rows uniformly."""
    del few_counts
    # Scaled uniform numbers, not `randint`: they compile in a fraction of the time,
    # and their grid of 2**23 steps is fine against any number of rows.
    class_key, row_key = jax.random.split(key)
    drawn = _scale(jax.random.uniform(class_key, (capacity,)), pool.starts.shape[0])
    place = _scale(jax.random.uniform(row_key, (capacity,)), pool.counts[drawn])
    return Drawn(pool.rows[pool.starts[drawn] + place], jnp.arange(capacity) < amount)


def _draw_uniform_class(
    key: jax.Array, pool: Pool, few_counts: jax.Array, capacity: int, amount: jax.Array
) -> Drawn:
    """Draws distinct classes, and from each as many distinct rows as a few class has.

    That few class is drawn for each class anew. Of classes with fewer rows, all count.
    """
    num_classes = pool.starts.shape[0]
    class_key, few_key, row_key = jax.random.split(key, 3)
    most = capacity // num_classes
    classes = jnp.argsort(jax.random.bits(class_key, (num_classes,)))
    which_few = _scale(jax.random.uniform(few_key, (num_classes,)), few_counts.shape[0])
    wanted = jnp.minimum(few_counts[which_few], pool.counts[classes])
    wanted = jnp.where(jnp.arange(num_classes) < amount, wanted, 0)
    # All rows of the split, those of each class in random order.
    size = pool.rows.shape[0]
    owner = jnp.searchsorted(pool.starts, jnp.arange(size), side="right")
    bits = jax.random.bits(row_key, (size,))
    _, _, shuffled = jax.lax.sort((owner, bits, jnp.asarray(pool.rows)), num_keys=2)
    slot = jnp.arange(most)[None, :]
    place = jnp.minimum(pool.starts[classes][:, None] + slot, size - 1)
    valid = slot < wanted[:, None]
    return Drawn(shuffled[place].reshape(-1), valid.reshape(-1))


def _scale(uniform: jax.Array, count: ArrayLike) -> jax.Array:
    """Maps numbers in [0, 1) to whole numbers in [0, count)."""
    # The product may round up to the count itself.
    return jnp.minimum((uniform * count).astype(jnp.int32), jnp.asarray(count) - 1)


class _Kind(NamedTuple):
    """What a sampler's name stands for."""

    split: str
    draw: Callable[[jax.Array, Pool, jax.Array, int, jax.Array], Drawn]
    per: str  # what r multiplies the few split's number of: 'rows', 'classes' or ''


def _kinds() -> dict[str, _Kind]:
    """All samplers by the original's names."""
    kinds = {}
    for split in ("many", "medium", "few", "base"):
        name = split.capitalize()
        kinds[f"All{name}Sampler"] = _Kind(split, _draw_all, "")
        if split != "few":
            kinds |= {
                f"Uniform{name}ClassSampler": _Kind(
                    split, _draw_uniform_class, "classes"
                ),
                f"Uniform{name}ImageSampler": _Kind(split, _draw_uniform_image, "rows"),
                f"ClassBalanced{name}Sampler": _Kind(
                    split, _draw_class_balanced, "rows"
                ),
            }
    return kinds


SAMPLERS = _kinds()


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A sampler by name.

    Attributes:
      name: Name in `SAMPLERS`.
      amount: Rows to draw each epoch, or classes for those that draw classes.
      capacity: The most rows that an epoch can have.
    """

    name: str
    amount: int
    capacity: int

    @property
    def split(self) -> str:
        """The split that it draws from."""
        return SAMPLERS[self.name].split


def make_samplers(
    names: Sequence[str],
    args: Sequence[Mapping[str, float]],
    counts: Mapping[str, ArrayLike],
    *,
    default_r: float = 1.0,
) -> tuple[Sampler, ...]:
    """Resolves samplers by name.

    Args:
      names: Names in `SAMPLERS`; what they draw is put together.
      args: Arguments for each sampler, or one mapping for all. `r` is the number of
        rows to draw as a multiple of the number of few samples, or of classes as a
        multiple of the number of few classes (rounded down).
      counts: Number of training rows of every class of each split, by name: 'few',
        and those that samplers draw from.
      default_r: The `r` of samplers that take one and are given none.

    Returns:
      The samplers, with their sizes.

    Raises:
      ValueError: If a name or an argument is unknown, `r` is negative or asks for
        more classes than there are, or the number of `args` is neither 1 nor that of
        `names`.

    Examples:
      >>> names = ["AllFewSampler", "ClassBalancedBaseSampler"]
      >>> counts = {"few": [4, 5], "base": [50, 30, 20]}
      >>> samplers = make_samplers(names, [{}, {"r": 0.5}], counts)
      >>> [sampler.amount for sampler in samplers]
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
    few_counts = np.asarray(counts["few"])
    for index, name in enumerate(names):
        if name not in SAMPLERS:
            hint = did_you_mean(name, SAMPLERS, most_listed=len(SAMPLERS))
            raise ValueError(f"unknown sampler {name!r}; {hint}.")
        kind = SAMPLERS[name]
        given = dict(args[index if len(args) > 1 else 0])
        # In one entry for all, r is meant for those that take it.
        own_entry = len(args) == len(names)
        if "r" in given and own_entry and not kind.per:
            raise ValueError(f"{name} takes no argument r, got r={given['r']!r}.")
        r = given.pop("r", default_r)
        if given:
            raise ValueError(f"{name} takes no argument {sorted(given)}.")
        number = isinstance(r, int | float) and not isinstance(r, bool)
        if not number or not 0 <= r < math.inf:
            raise ValueError(f"{name}: r must be a number from 0 on, got {r!r}.")
        own = np.asarray(counts[kind.split])
        wanted = float(few_counts.sum()) * float(r)
        if kind.per == "rows" and wanted >= _MOST_ROWS:
            raise ValueError(
                f"{name}: r={r!r} asks for {wanted:.3g} rows, more than {_MOST_ROWS}."
            )
        if kind.per == "rows":
            amount = capacity = int(few_counts.sum() * r)
        elif kind.per == "classes":
            amount = int(len(few_counts) * r)
            if amount > len(own):
                raise ValueError(
                    f"{name}: r={r!r} asks for {amount} classes of '{kind.split}', "
                    f"which has {len(own)}."
                )
            capacity = len(own) * int(min(few_counts.max(), own.max()))
        else:
            amount = capacity = int(own.sum())
        samplers.append(Sampler(name, amount, capacity))
    return tuple(samplers)


def draw_rows(
    key: jax.Array,
    pools: Mapping[str, Pool],
    samplers: Sequence[Sampler],
    *,
    amounts: ArrayLike | None = None,
) -> list[Drawn]:
    """Draws the rows of one epoch.

    Args:
      key: Random key of the epoch.
      pools: The rows of each split that a sampler draws from, by name, and of 'few'.
      samplers: The samplers (static).
      amounts: How much each of them draws, with shape `[len(samplers)]`, instead of
        its own `amount`: a number that may differ between calls of one program.

    Returns:
      What each sampler has drawn.
    """
    pools = {name: Pool(*map(jnp.asarray, pool)) for name, pool in pools.items()}
    few_counts = jnp.asarray(pools["few"].counts)
    own = [sampler.amount for sampler in samplers]
    how_much = jnp.asarray(own if amounts is None else amounts, jnp.int32)
    return [
        SAMPLERS[sampler.name].draw(
            jax.random.fold_in(key, index),
            pools[sampler.split],
            few_counts,
            sampler.capacity,
            how_much[index],
        )
        for index, sampler in enumerate(samplers)
    ]


def split_into_batches(
    rows: ArrayLike, valid: ArrayLike | None = None, *, batch_size: int
) -> Batches:
    """Cuts rows into batches; the last partial batch is padded, not dropped.

    Args:
      rows: Rows of one epoch in the order to use, with shape `[size]`.
      valid: Which of them count, with shape `[size]`: the first ones. By default all.
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
    if valid is None:
        valid = jnp.ones(size, jnp.bool_)
    steps = -(-size // batch_size)
    padding = (0, steps * batch_size - size)
    rows, valid = (
        jnp.pad(array, padding).reshape(steps, batch_size)
        for array in (jnp.where(valid, rows, 0), jnp.asarray(valid))
    )
    return Batches(rows, valid)


def draw_batches(
    key: jax.Array,
    pools: Mapping[str, Pool],
    samplers: Sequence[Sampler],
    *,
    batch_size: int,
    amounts: ArrayLike | None = None,
) -> Batches:
    """Draws, shuffles and cuts the rows of one epoch.

    Args:
      key: Random key of the epoch.
      pools: The rows of each split that a sampler draws from, by name, and of 'few'.
      samplers: The samplers (static).
      batch_size: Rows of a batch.
      amounts: How much each sampler draws; see `draw_rows`.

    Returns:
      The batches: one shuffle over all rows mixes few and base samples. There are as
      many as the most rows take; those past the rows that were drawn have none.
    """
    draw_key, shuffle_key = jax.random.split(key)
    drawn = draw_rows(draw_key, pools, samplers, amounts=amounts)
    # Sorting by random bits shuffles; equal ones, of 2**32, keep their order. Each
    # sampler's come from a key of their own: they depend on no other one's capacity.
    bits = [
        jax.random.bits(jax.random.fold_in(shuffle_key, index), part.rows.shape)
        for index, part in enumerate(drawn)
    ]
    rows, valid = (jnp.concatenate(parts) for parts in zip(*drawn, strict=True))
    _, _, rows, valid = jax.lax.sort(
        (~valid, jnp.concatenate(bits), rows, valid), num_keys=2
    )
    return split_into_batches(rows, valid, batch_size=batch_size)
