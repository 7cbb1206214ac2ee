"""Top-k accuracy of results, from the features of their dataset, in NumPy.

Equal scores rank by the number of their class, the lower one first, as everywhere in
`alphanet_jax`: the first place is the argmax over all classes.

Notation: n samples, C classes, F 'few' classes, A base classes, k neighbors, S seeds.
"""

import numpy as np

from alphanet_jax import files, streaming
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.results.sets import ALPHANET, ResultFile
from alphanet_jax.stages import Report, stage

__all__ = ["count_ahead", "top_k_hits"]

# Numbers of a table of scores: 64 MiB of float32.
_MOST_SCORES = 2**24


def top_k_hits(
    data: Dataset,
    file: ResultFile,
    *,
    k: int,
    batch_size: int | None = None,
    report: Report = lambda line: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes for which test samples the true class is one of the k best.

    Of classes with equal scores, the lower numbers are better. (The original counts
    the classes that score above the true one, so that equal ones never count against
    it: a classifier of zeros is always right.)

    Scores are float32 products of NumPy's BLAS, taken once for all runs; those of
    training are JAX's. The two may differ in the last digit, so that a sample whose
    k-th score and next one agree to about six digits may fall on the other side than
    `test_top5` counts it.

    Args:
      data: The result's dataset.
      file: The result.
      k: How many of the best classes count.
      batch_size: Test samples at a time; by default as many as fit some memory.
      report: Takes lines of text about progress.

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
    rows = streaming.rows_at_a_time(data.weight.shape[1])
    rows = max(1, min(rows, _MOST_SCORES // data.num_classes))
    rows = rows if batch_size is None else batch_size
    ranking = _Ranking(data, file) if file.method == ALPHANET else _OfHeads(data, file)
    features, labels = np.asarray(data.test.features), np.asarray(data.test.labels)
    hits = np.empty((file.num_runs, len(labels)), bool)
    baseline = np.empty(len(labels), bool)
    with stage(report, "ranking", total=len(labels), unit="samples") as ranked:
        for start in range(0, len(labels), rows):
            part = slice(start, start + rows)
            ranks, base_ranks = ranking.ranks(features[part], labels[part])
            hits[:, part], baseline[part] = ranks < k, base_ranks < k
            end = min(start + rows, len(labels))
            files.release_rows(data.test.features, start, end)
            ranked.advance(end - start)
    return hits, baseline


def count_ahead(
    scores: np.ndarray, classes: np.ndarray, target: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Counts the classes that rank before the true one, for every sample.

    Args:
      scores: Scores of some classes, with shape `[m, n]`.
      classes: Numbers of these classes, with shape `[m]`.
      target: Scores of the true classes, with shape `[n]`.
      labels: Numbers of the true classes, with shape `[n]`; they need not be among
        `classes`.

    Returns:
      Counts, with shape `[n]`.

    Examples:
      Class 2 ties with both others: class 0 ranks before it, class 5 does not.

      >>> scores = np.array([[3.0], [3.0], [3.0]])
      >>> count_ahead(scores, np.array([0, 2, 5]), np.array([3.0]), np.array([2]))
      array([1])
    """
    ahead: np.ndarray = np.count_nonzero(scores > target, axis=0)
    equal = np.count_nonzero(scores >= target, axis=0) - ahead
    # Few samples have ties: the order of classes matters in those alone.
    (tied,) = np.nonzero(equal > np.isin(labels, classes))
    same = scores[:, tied] == target[tied]
    ahead[tied] += np.count_nonzero(same & (classes[:, None] < labels[tied]), axis=0)
    return ahead


class _Ranking:
    """Ranks the true classes of samples by the classifiers of all runs.

    Runs differ in the 'few' classes alone, so that base classes are ranked once for
    the samples of base classes. Scores have samples last: those of a class are then
    one piece of memory.
    """

    def __init__(self, data: Dataset, file: ResultFile) -> None:
        self._few, self._base = data.few_classes, data.base_classes
        order = np.concatenate([self._base, self._few])
        self._place = np.argsort(order)  # of a class among the rows of scores
        self._weight = np.asarray(data.weight, np.float32)[order]
        self._bias = np.asarray(data.bias, np.float32)[order, None]
        self._alphas = np.asarray(file.array("alphas"), np.float32)
        self._neighbors = self._place[file.per_run("neighbors")]  # (S, F, k)

    def ranks(
        self, features: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts the classes before the true one, for every run and before training.

        Args:
          features: Features, with shape `[n, d]`.
          labels: True classes, with shape `[n]`.

        Returns:
          Counts, with shapes `[S, n]` and `[n]`.
        """
        scores = self._weight @ np.asarray(features, np.float32).T
        logits = scores + self._bias
        place, num_base = self._place[labels], len(self._base)
        base, few = logits[:num_base], logits[num_base:]
        target = logits[place, np.arange(len(labels))]
        base_ahead = count_ahead(base, self._base, target, labels)
        before = base_ahead + count_ahead(few, self._few, target, labels)

        (own,) = np.nonzero(place >= num_base)  # samples of 'few' classes
        own_few, own_base, own_labels = place[own] - num_base, base[:, own], labels[own]
        ranks = np.empty((len(self._alphas), len(labels)), np.int64)
        for rank, alphas, neighbors in zip(
            ranks, self._alphas, self._neighbors, strict=True
        ):
            few = self._few_logits(scores, alphas, neighbors)
            target[own] = few[own_few, own]
            rank[:] = base_ahead
            rank[own] = count_ahead(own_base, self._base, target[own], own_labels)
            rank += count_ahead(few, self._few, target, labels)
        return ranks, before

    def _few_logits(
        self, scores: np.ndarray, alphas: np.ndarray, neighbors: np.ndarray
    ) -> np.ndarray:
        """Computes logits of a run, `[F, n]`, adding up in the order of training."""
        num_base = len(self._base)
        logits: np.ndarray = self._bias[num_base:] + alphas[:, :1] * scores[num_base:]
        for place in range(neighbors.shape[1]):
            logits += alphas[:, place + 1, None] * scores[neighbors[:, place]]
        return logits


class _OfHeads:
    """Ranks the true classes of samples by a whole classifier, and the one before."""

    def __init__(self, data: Dataset, file: ResultFile) -> None:
        self._heads = [
            (np.asarray(weight, np.float32), np.asarray(bias, np.float32)[:, None])
            for weight, bias in (
                (file.array("weight"), file.array("bias")),
                (data.weight, data.bias),
            )
        ]

    def ranks(
        self, features: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts the classes before the true one, after and before the correction.

        Args:
          features: Features, with shape `[n, d]`.
          labels: True classes, with shape `[n]`.

        Returns:
          Counts, with shapes `[1, n]` and `[n]`.
        """
        rows = np.asarray(features, np.float32).T
        after, before = (
            count_ahead(
                logits := weight @ rows + bias,
                np.arange(len(weight)),
                logits[labels, np.arange(len(labels))],
                labels,
            )
            for weight, bias in self._heads
        )
        return after[None], before
