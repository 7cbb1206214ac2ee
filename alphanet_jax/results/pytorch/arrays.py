"""What a file of the original's has, by the names of our own results.

Notation: S seeds (1), F 'few' classes, C classes, k neighbors, d feature dimensions.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alphanet_jax.results import schema
from alphanet_jax.results.pytorch.lazily import LazyArrays
from alphanet_jax.results.pytorch.record import Record
from alphanet_jax.splits import SPLITS
from alphanet_jax.version import __version__

__all__ = ["LATER", "NO_SEED", "ORIGINAL", "json_array", "open_arrays"]

# In place of a seed: the original has none.
NO_SEED = 0
# Key of the versions of a result that is not ours.
ORIGINAL = "alphanet of PyTorch"
# What the original does not record, and its data has, or what it was tested with.
LATER = (
    *("proper_name", "label_names", "class_means", "test_labels", "test_pred"),
    "neighbor_distances",
    *("val_accuracy", "val_acc_per_split"),
    *("test_accuracy", "test_acc_per_split", "test_acc_per_class"),
    *("baseline_val_accuracy", "baseline_test_pred"),
    *(f"baseline_test_{name}" for name in ("accuracy", "top5", "f1")),
    *("baseline_test_acc_per_split", "baseline_test_acc_per_class"),
)


def open_arrays(record: Record) -> LazyArrays:
    """Names what a file has as `schema.SCHEMA` does.

    Args:
      record: The file's content.

    Returns:
      The arrays. Those that it records are there; `alphas` and `weight_few` are made of
      the network when they are first used. Nothing else is: predictions, for example,
      are missing.
    """
    made = _of_data(record) | _of_training(record)
    made |= {name: array[None] for name, array in record.test.items()}
    made |= {
        "config": json_array(record.settings.as_config()),
        "versions": json_array({ORIGINAL: f"imported by alphanet_jax {__version__}"}),
        "file_hashes": json_array({}),
    }

    def alphas() -> np.ndarray:
        return compute_alphas(record)[None]

    makers: dict[str, Callable[[], np.ndarray]] = {}
    arrays = LazyArrays(made, makers)
    makers["alphas"] = alphas
    makers["weight_few"] = lambda: _combine(arrays["alphas"], record.sources)
    arrays.makers.update(makers)
    return arrays


def compute_alphas(record: Record) -> np.ndarray:
    """Computes the coefficients that the network of a file gives.

    Returns:
      Coefficients of every few class: its own, 1, then its neighbors'; shape
      `[F, k + 1]`.
    """
    num_few, places, _ = record.sources.shape
    if record.settings.dummy_mode:
        return np.eye(1, places, dtype=np.float32).repeat(num_few, axis=0)
    # Imported here: what does not need coefficients need not wait for JAX.
    import jax.numpy as jnp

    from alphanet_jax import model, nn_search
    from alphanet_jax.errors import UserError

    rows = np.arange(num_few, dtype=np.int32)[:, None].repeat(places, axis=1)
    sources = nn_search.Sources(
        tuple(jnp.asarray(record.sources[:, place]) for place in range(places)),
        jnp.asarray(rows),
    )
    params = model.params_from_torch(record.network)
    hact = record.settings.hact
    try:
        alphas = np.asarray(model.apply(params, sources, activation=hact))
    except ValueError as error:
        raise UserError(f"{record.path}: its alphanet.hact: {error}") from None
    if not np.isfinite(alphas).all():
        raise UserError(f"{record.path}: its network gives coefficients that are NaN")
    return alphas


def _combine(alphas: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Computes the new rows of all few classes, with shape `[S, F, d]`."""
    made = np.einsum("sfk,fkd->sfd", alphas.astype(np.float64), sources, optimize=True)
    return np.asarray(made, np.float32)


def _of_data(record: Record) -> dict[str, np.ndarray]:
    distances = _distances(record)
    known = {} if distances is None else {"neighbor_distances": distances}
    return known | {
        "seeds": np.array([NO_SEED], np.int64),
        "dataset": np.asarray(record.dataset),
        "class_counts": record.class_counts,
        **{f"{split}_classes": record.splits[split] for split in SPLITS},
        "neighbors": record.neighbors,
        "original_weight": record.weight,
        "original_bias": record.bias,
    }


def _of_training(record: Record) -> dict[str, np.ndarray]:
    """Names what training came to; each with an axis of one seed."""
    epochs, last = record.epochs, max(record.epochs.count - 1, 0)
    best = last if record.best_epoch is None else record.best_epoch
    found: Mapping[str, np.ndarray | None] = {
        "selected_epoch": np.asarray(best, np.int32),
        "epoch_loss": epochs.loss,
        "epoch_mean_alphas": epochs.mean_alphas,
        "step_loss": epochs.step_loss,
        "epoch_least_alphas": epochs.least_alphas,
        "epoch_most_alphas": epochs.most_alphas,
        "drawn_per_class": epochs.drawn,
        "val_correct_per_class": epochs.val_correct,
        "val_accuracy": epochs.val_overall,
        "val_acc_per_split": epochs.val_per_split,
    }
    if not record.settings.dummy_mode:
        names = {schema.NETWORK + name: a for name, a in record.network.items()}
        found = {**found, **names}
    made = {name: array[None] for name, array in found.items() if array is not None}
    if epochs.val_counts is not None:
        made["val_class_counts"] = epochs.val_counts
    return made


def _distances(record: Record) -> np.ndarray | None:
    """Computes the distances of neighbors, from the recorded means of classes.

    Returns:
      The distances, with shape `[F, k]`; None where neighbors are random, or there are
      no means.
    """
    metric = record.settings.nn_dist
    if record.means is None or metric == "random":
        return None
    means = record.means.astype(np.float64)
    own, others = means[:, :1], means[:, 1:]
    if metric == "euclidean":
        return np.asarray(np.linalg.norm(own - others, axis=2), np.float32)
    norms = np.linalg.norm(means, axis=2)
    norms[norms == 0.0] = 1.0
    products = (own * others).sum(axis=2)
    return np.asarray(1.0 - products / (norms[:, :1] * norms[:, 1:]), np.float32)


def json_array(value: Any) -> np.ndarray:
    """Writes a value as the text that a result holds."""
    return np.asarray(json.dumps(value, sort_keys=True))
