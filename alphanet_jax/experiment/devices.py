"""Where arrays live: one device, many, or many processes with some devices each.

With one device nothing here does anything. With several, arrays whose first axis is
that of runs (or, in passes over features, of samples) are cut along it; all others are
copied to every device. The compiled programs do not know: XLA follows the arrays.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alphanet_jax.errors import UserError

__all__ = [
    "check_devices",
    "fetch",
    "is_first_process",
    "least_bytes",
    "make_mesh",
    "one_by_one",
    "own_copy",
    "place",
    "replicate",
    "resplit",
    "split",
]

_AXIS = "devices"


def check_devices() -> None:
    """Checks that JAX has a device to work on.

    Raises:
      UserError: If there is none of the kind that was asked for.
    """
    try:
        jax.devices()
    # Where no platform that was named is there, JAX asserts that one is.
    except (RuntimeError, AssertionError) as error:
        asked = getattr(jax.config, "jax_platforms", None)
        reason = " ".join(str(error).split())
        raise UserError(
            f"JAX has no device to work on, JAX_PLATFORMS is {asked!r}: set it to cpu, "
            "unset it, or install JAX for these devices"
            + (f" ({reason})" if reason else "")
        ) from None


def make_mesh() -> Mesh | None:
    """Takes all devices of all processes; None if there is just one."""
    found = jax.devices()
    return Mesh(np.asarray(found), (_AXIS,)) if len(found) > 1 else None


def is_first_process() -> bool:
    """Tells whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """Lets the first process through a block, and then the others.

    What the first one writes there, such as converted files, the others find done.
    """
    if jax.process_count() == 1:
        yield
        return
    from jax.experimental import multihost_utils

    if not is_first_process():
        multihost_utils.sync_global_devices("one_by_one")
    yield
    if is_first_process():
        multihost_utils.sync_global_devices("one_by_one")


def least_bytes(number: int) -> int:
    """Takes the least of what the processes give; all then plan by the same number.

    Args:
      number: Bytes, as this process finds them.

    Returns:
      The least of all, in whole MiB; of one process its own.
    """
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    # Arrays of JAX have 32 bits.
    found = multihost_utils.process_allgather(np.asarray([number >> 20], np.int32))
    return int(np.min(found)) << 20


def _put(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(mesh, spec)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    # Every process has the whole array and gives its devices their part of it.
    def make(leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(
            array.shape, sharding, lambda index: array[index]
        )

    return jax.tree.map(make, tree)


def split(tree: Any, mesh: Mesh | None) -> Any:
    """Cuts arrays along their first axis, each device getting an equal part.

    Args:
      tree: Arrays, on the host or one device, whose first axis is a multiple of the
        number of devices.
      mesh: The devices; None leaves everything as it is.

    Returns:
      The same arrays on the devices.
    """
    return tree if mesh is None else _put(tree, mesh, PartitionSpec(_AXIS))


def resplit(tree: Any, mesh: Mesh | None) -> Any:
    """Cuts what a program has made along first axes; None leaves it as it is."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    return jax.jit(lambda same: same, out_shardings=sharding)(tree)


def replicate(tree: Any, mesh: Mesh | None) -> Any:
    """Copies arrays to every device; None leaves everything as it is."""
    return tree if mesh is None else _put(tree, mesh, PartitionSpec())


def place(tree: Any, mesh: Mesh | None) -> Any:
    """Puts arrays of the host on every device, where they stay for many calls."""
    return jax.device_put(tree) if mesh is None else replicate(tree, mesh)


def own_copy(array: jax.Array) -> np.ndarray:
    """Looks at what one device of this process has, of arrays that all have whole."""
    return np.asarray(array.addressable_data(0))


def fetch(tree: Any) -> Any:
    """Brings whole arrays to the host, in every process."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        return jax.tree.map(
            lambda leaf: (
                np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
                if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
                else jax.device_get(leaf)
            ),
            tree,
        )
    return jax.device_get(tree)
