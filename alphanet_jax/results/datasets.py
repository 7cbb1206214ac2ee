"""What reports need beyond a result file: its dataset, and what follows from that.

Notation: n test samples, C classes, F 'few' classes, k neighbors, S seeds.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from alphanet_jax import files, nn_search, streaming
from alphanet_jax.data import dataset as dataset_lib
from alphanet_jax.data import registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.results.sets import ResultFile

__all__ = ["DataFinder", "nearest_classes", "top_k_hits"]


class DataFinder:
    """Loads the datasets that results were made with, each once.

    Args:
      registry_file: Registry to look datasets up in; by default that of the result.
      data_root: What its paths are relative to; by default as for the result.
      report: Takes lines of text about progress.
    """

    def __init__(
        self,
        registry_file: Path | None = None,
        data_root: Path | None = None,
        *,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._registry = registry_file
        self._data_root = data_root
        self._report = report
        self._loaded: dict[tuple[str, ...], Dataset] = {}
        self._means: dict[int, np.ndarray] = {}
        self._nearest: dict[tuple[int, int, str], np.ndarray] = {}

    def entry(self, file: ResultFile) -> registry.DatasetEntry:
        """Looks the dataset of a result up."""
        path = self._registry or Path(file.setting("registry"))
        return registry.get_entry(path, str(file.arrays["dataset"]))

    def root(self, file: ResultFile) -> Path:
        """Tells what the paths of the dataset of a result are relative to."""
        return self._data_root or Path(file.setting("data_root"))

    def dataset(self, file: ResultFile) -> Dataset:
        """Loads the dataset that a result was made with.

        Raises:
          UserError: If it is not there any more, or has changed since.
        """
        groups = [
            file.setting(f"training.{g}_datagrp") for g in ("train", "val", "test")
        ]
        name = str(file.arrays["dataset"])
        registry_file = str(self._registry or file.setting("registry"))
        key = (registry_file, name, str(self.root(file)), *groups)
        if key not in self._loaded:
            self._report(f"loading the data of {name}")
            try:
                self._loaded[key] = dataset_lib.load_dataset(
                    self.entry(file),
                    self.root(file),
                    train_group=groups[0],
                    val_group=groups[1],
                    test_group=groups[2],
                    report=self._report,
                )
            except UserError as error:
                raise UserError(
                    f"the data of {file.path} is needed: {error}; where it is can be "
                    "said with --data_root and --registry"
                ) from None
        data = self._loaded[key]
        if sorted(data.file_hashes.values()) != sorted(file.file_hashes.values()):
            raise UserError(
                f"the data of {str(file.arrays['dataset'])!r} is not what {file.path} "
                "was made with: its files have changed since"
            )
        return data

    def class_means(self, data: Dataset) -> np.ndarray:
        """Gives the mean training feature of every class, with shape `[C, d]`."""
        if id(data) not in self._means:
            self._report(f"averaging the training features of {data.name}")
            self._means[id(data)] = data.class_means()
        return self._means[id(data)]

    def nearest(self, data: Dataset, *, num_neighbors: int, metric: str) -> np.ndarray:
        """Does what `nearest_classes` does, once for each dataset and setting."""
        key = (id(data), num_neighbors, metric)
        if key not in self._nearest:
            self._nearest[key] = nearest_classes(
                self.class_means(data), num_neighbors=num_neighbors, metric=metric
            )
        return self._nearest[key]


def nearest_classes(
    means: np.ndarray, *, num_neighbors: int, metric: str
) -> np.ndarray:
    """Finds the nearest other classes of every class, of all splits.

    Args:
      means: Mean training feature of every class, with shape `[C, d]`.
      num_neighbors: Number of neighbors k, less than C - 1.
      metric: 'euclidean' or 'cosine'.

    Returns:
      Class ids, nearest first, with shape `[C, k]`.

    Raises:
      ValueError: If the metric is another, or there are too few classes.

    Examples:
      >>> means = np.array([[0.0], [1.0], [5.0], [8.0]])
      >>> nearest_classes(means, num_neighbors=1, metric="euclidean").tolist()
      [[1], [0], [3], [2]]
    """
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"metric must be 'euclidean' or 'cosine', got {metric!r}.")
    classes = np.arange(len(means))
    found = np.asarray(
        nn_search.find_neighbors(
            means, classes, classes, num_neighbors=num_neighbors + 1, metric=metric
        ).classes
    )
    # A class is its own nearest, but others with the same mean may come before it, or
    # even push it off the list.
    others = found != classes[:, None]
    others[others.all(axis=1), -1] = False
    return np.reshape(found[others], (len(means), num_neighbors))


def top_k_hits(
    data: Dataset, file: ResultFile, *, k: int, batch_size: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Tells for which test samples fewer than k classes score above the true one.

    Classes that score the same as the true one do not count against it.

    Args:
      data: The result's dataset.
      file: The result.
      k: How many of the best classes count.
      batch_size: Test samples at a time; by default as many as fit some memory.

    Returns:
      Bool arrays for the runs, with shape `[S, n]`, and for the unchanged classifier,
      with shape `[n]`.

    Raises:
      UserError: If k is not from 1 to the number of classes.
    """
    if not 1 <= k <= data.num_classes:
        raise UserError(
            f"--acc_k must be from 1 to the number of classes, {data.num_classes}, "
            f"got {k}"
        )
    few = jnp.asarray(data.few_classes)
    alphas = jnp.asarray(file.arrays["alphas"])
    sources = np.concatenate(
        [
            np.broadcast_to(
                data.few_classes[:, None], (*file.per_run("neighbors").shape[:2], 1)
            ),
            file.per_run("neighbors"),
        ],
        axis=-1,
    )
    rows = streaming.rows_at_a_time(data.weight.shape[1])
    rows = max(1, min(rows, 2**26 // max(1, len(alphas) * data.num_classes)))
    rows = min(len(data.test.labels), rows if batch_size is None else batch_size)
    weight, bias = jnp.asarray(data.weight), jnp.asarray(data.bias)
    features = np.asarray(data.test.features)
    hits, baseline = [], []
    for start in range(0, len(features), rows):
        part = np.asarray(features[start : start + rows])
        labels = data.test.labels[start : start + rows]
        missing = rows - len(labels)  # one shape takes one compilation
        part = np.pad(part, ((0, missing), (0, 0)))
        ranks, base_ranks = _ranks(
            part, np.pad(labels, (0, missing)), weight, bias, few, alphas, sources
        )
        hits.append(np.asarray(ranks)[:, : len(labels)] < k)
        baseline.append(np.asarray(base_ranks)[: len(labels)] < k)
        files.release_rows(data.test.features, start, start + len(labels))
    return np.concatenate(hits, axis=1), np.concatenate(baseline)


@jax.jit
def _ranks(
    features: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    bias: jax.Array,
    few_classes: jax.Array,
    alphas: jax.Array,
    sources: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Counts the classes that score above the true one, for every run and before."""
    scores = jnp.matmul(
        features.astype(jnp.float32), weight.T, precision=jax.lax.Precision.HIGHEST
    )

    def rank(logits: jax.Array) -> jax.Array:
        target = jnp.take_along_axis(logits, labels[:, None], axis=1)
        return jnp.sum(logits > target, axis=1)

    def rank_run(run: tuple[jax.Array, jax.Array]) -> jax.Array:
        coefficients, classes = run
        # One place at a time: (n, F, k + 1) scores would be far more memory.
        few = sum(
            scores[:, classes[:, place]] * coefficients[:, place]
            for place in range(classes.shape[1])
        )
        return rank(scores.at[:, few_classes].set(few) + bias)

    return jax.lax.map(rank_run, (alphas, sources)), rank(scores + bias)
