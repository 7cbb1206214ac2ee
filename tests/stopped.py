"""What tests of checkpoints share: states, where they are kept, and what is cut off."""

import dataclasses
import gc
import os
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alphanet_jax.data.dataset import Group
from alphanet_jax.eval import Counts
from alphanet_jax.experiment import checkpoints
from alphanet_jax.experiment.hooks import History
from alphanet_jax.experiment.memory import Plan

EPOCHS = 6

PLAN = Plan(4, True, 8, {"rows": 10}, 100)
CONFIGS = {"": {"rho": 0.1, "training": {"n_neighbors": 5}, "data_root": "here"}}
HASHES = {"a.npy": "11", "b.npy": "22"}


def open_store(directory, *, keep=2, **changes):
    arguments = {"configs": CONFIGS, "file_hashes": HASHES, "plans": [PLAN]} | changes
    return checkpoints.open_store(pathlib.Path(directory), keep=keep, **arguments)


class Part(NamedTuple):
    weights: list
    count: jax.Array
    flags: jax.Array
    nothing: tuple


def make_state(seed: int) -> Any:
    """A state with all that one may hold, on the device and on the host."""
    rng = np.random.default_rng(seed)
    part = Part(
        [jnp.asarray(rng.normal(size=(3, 5)), jnp.float32), {"x": jnp.float32(seed)}],
        jnp.asarray([seed, -1, 7], jnp.int32),
        jnp.asarray([True, False, bool(seed % 2)]),
        (),
    )
    losses = rng.normal(size=(3, 4, 2)).astype(np.float32)
    losses[:, 2:] = np.nan
    counts = [rng.integers(0, 9, (3, 4, 6)).astype(np.int32) for _ in range(3)]
    history = History(
        losses,
        *(rng.normal(size=(3, 4, 6)).astype(np.float32) for _ in range(3)),
        Counts(*counts, top5_correct=np.zeros((3, 4), np.int32)),
    )
    return part, history


def assert_same_state(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert isinstance(one, np.ndarray) == isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def states(directory):
    """Numbers of epochs of the states in a directory, by group."""
    return {
        path.name: sorted(int(p.name) for p in path.iterdir() if p.name.isdigit())
        for path in pathlib.Path(directory).glob("runs_*")
    }


def damage(directory):
    """Cuts off every file with numbers of a state."""
    cut = [path for path in pathlib.Path(directory).rglob("d/*") if path.is_file()]
    assert cut
    for path in cut:
        os.truncate(path, path.stat().st_size // 2)


def snapshot(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes() if path.is_file() else None
        for path in pathlib.Path(root).rglob("*")
    }


# Of the mark and a fixture that ends in `settle`, every test has both that reads what
# is damaged.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class StoppedError(Exception):
    """Stands for whatever ends a process."""


def uneven(data):
    """Takes rows of few classes away: how many a sampler draws differs from then on."""
    first = np.flatnonzero(data.train.labels == data.few_classes[0])[:-1]
    second = np.flatnonzero(data.train.labels == data.few_classes[1])[:1]
    keep = np.setdiff1d(np.arange(len(data.train.labels)), [*first, *second])
    group = Group(data.train.features[keep], data.train.labels[keep])
    return dataclasses.replace(data, train=group)


def settle():
    """Where reading fails, Orbax leaves reads behind: they end here, not in others."""
    time.sleep(0.3)
    gc.collect()
