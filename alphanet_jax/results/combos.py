"""Learned combinations of single classes, and which mistakes they changed.

Notation: R runs, C classes, F 'few' classes, k neighbors, n test samples.
"""

import dataclasses
import difflib
from collections.abc import Sequence

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.results.sets import ALPHANET, ResultFile, ResultSet

__all__ = [
    "SELECT_BY",
    "Combination",
    "Confusion",
    "Term",
    "combination",
    "common_neighbors",
    "find_classes",
    "select_classes",
]

# What classes can be selected by: accuracy, or its change from the baseline.
SELECT_BY = ("acc", "acc_delta")


@dataclasses.dataclass(frozen=True)
class Term:
    """A neighbor's part in a combination.

    Attributes:
      label: The neighbor.
      name: Its name.
      split: Its split.
      alphas: Its coefficient in each of R runs.
    """

    label: int
    name: str
    split: str
    alphas: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean coefficient over runs."""
        return float(np.mean(self.alphas))

    @property
    def std(self) -> float | None:
        """Sample standard deviation (ddof 1); None where there is one run."""
        if len(self.alphas) == 1:
            return None
        return float(np.std(self.alphas, ddof=1))


@dataclasses.dataclass(frozen=True)
class Confusion:
    """How often a class X is taken for another, and the other for it.

    Counts of runs are totals over all of them.

    Attributes:
      label: The other class.
      name: Its name.
      split: Its split.
      baseline: Samples of X that the unchanged classifier takes for it.
      total: Samples of X that the runs take for it.
      reverse_baseline: Samples of it that the unchanged classifier takes for X.
      reverse_total: Samples of it that the runs take for X.
    """

    label: int
    name: str
    split: str
    baseline: int
    total: int
    reverse_baseline: int
    reverse_total: int


@dataclasses.dataclass(frozen=True)
class Combination:
    """What was learned for a 'few' class, and what that did to its test samples.

    Attributes:
      label: The class.
      name: Its name.
      terms: Its k neighbors, nearest first; of alphanet+, the classes that its prior
        borrows from; of other corrections none.
      training_samples: Its number of training samples.
      test_samples: Its number of test samples, at least 1.
      num_runs: Number of runs R.
      baseline_mistakes: Test samples that the unchanged classifier gets wrong.
      mistakes: The same for the runs, total over them.
      baseline_confusions: Mistakes of the unchanged classifier, most frequent first,
        then by class.
      confusions: The same for the runs.
      method: The correction.
      kept: Of alphanet+, what is left of its mean's distance from the centre.
    """

    label: int
    name: str
    terms: tuple[Term, ...]
    training_samples: int
    test_samples: int
    num_runs: int
    baseline_mistakes: int
    mistakes: int
    baseline_confusions: tuple[Confusion, ...]
    confusions: tuple[Confusion, ...]
    method: str = ALPHANET
    kept: float | None = None

    @property
    def num_predictions(self) -> int:
        """Number of predictions of its test samples in all runs."""
        return self.num_runs * self.test_samples

    @property
    def baseline_accuracy(self) -> float:
        """Fraction of test samples that the unchanged classifier gets right."""
        return (self.test_samples - self.baseline_mistakes) / self.test_samples

    @property
    def accuracy(self) -> float:
        """Mean fraction over runs."""
        return (self.num_predictions - self.mistakes) / self.num_predictions


def common_neighbors(runs: ResultSet) -> np.ndarray:
    """Finds the neighbors of all 'few' classes, which must be those of every run.

    Returns:
      Class ids, nearest first, with shape `[F, k]`.

    Raises:
      UserError: If runs differ: their coefficients belong to different classes.
    """
    first = runs.files[0]
    neighbors: np.ndarray = first.per_run("neighbors")[0]
    for file in runs.files:
        own = file.per_run("neighbors")
        if (own != own[0]).any():
            raise UserError(
                f"{file.path}: every seed has neighbors of its own "
                "(training.nn_per_seed), so there are no common combinations to show; "
                "use a result of one seed, or made with nn_per_seed=False"
            )
        if not np.array_equal(own[0], neighbors):
            raise UserError(
                f"{first.path} and {file.path} have different neighbors, so there are "
                "no common combinations to show; choose one with --res_files_pattern"
            )
    return neighbors


def select_classes(
    runs: ResultSet, *, by: str = "acc_delta", largest: bool = True, count: int = 5
) -> list[int]:
    """Selects 'few' classes by their test accuracy; never one without test samples.

    Args:
      runs: The runs.
      by: 'acc' for mean accuracy, 'acc_delta' for its change from the baseline.
      largest: Whether the largest come first, or the smallest.
      count: How many to select, if there are so many.

    Returns:
      Class ids in order; of equal ones, the smaller id comes first.

    Raises:
      ValueError: If `by` is something else.
      UserError: If no 'few' class has test samples.
    """
    if by not in SELECT_BY:
        raise ValueError(f"by must be one of {SELECT_BY}, got {by!r}.")
    labels, predictions = runs.common("test_labels"), runs.runs("test_pred")
    total = np.bincount(labels, minlength=runs.num_classes)
    kept = [c for c in sorted(runs.splits["few"].tolist()) if total[c]]
    if not kept:
        raise UserError(f"no 'few' class of {runs.dataset!r} has test samples")

    score = _count_true(predictions == labels, labels, runs.num_classes)
    if by == "acc_delta":
        right = runs.common("baseline_test_pred") == labels
        score -= len(predictions) * _count_true(right, labels, runs.num_classes)
    # One division of whole numbers: what is equal stays exactly equal.
    values = score[kept] / (len(predictions) * total[kept])
    order = np.argsort(-values if largest else values, kind="stable")
    return [kept[position] for position in order[:count]]


def find_classes(
    runs: ResultSet, words: Sequence[str], *, what: str = "--classes"
) -> list[int]:
    """Finds 'few' classes by their names or numbers; names go before numbers.

    Args:
      runs: The runs.
      words: Names or numbers.
      what: What they are, for error messages.

    Returns:
      Class ids in the order of the words.

    Raises:
      UserError: If a word is no 'few' class with test samples, is several of them, or
        repeats one.
    """
    names = [runs.label_name(label) for label in range(runs.num_classes)]
    few = sorted(runs.splits["few"].tolist())
    tested = set(runs.common("test_labels").tolist())
    found: list[int] = []
    for word in words:
        labels = [label for label, name in enumerate(names) if name == word]
        if not labels and word.isdecimal() and int(word) < runs.num_classes:
            labels = [int(word)]
        if not labels:
            near = difflib.get_close_matches(word, [names[label] for label in few])
            raise UserError(
                f"{what}: no class {word!r} in {runs.dataset!r}; "
                + (
                    f"did you mean {' or '.join(map(repr, near))}?"
                    if near
                    else f"name or number a 'few' class, such as {names[few[0]]!r} or "
                    f"{few[0]}"
                )
            )
        those = [label for label in labels if label in few]
        if not those:
            split = str(runs.split_names[labels[0]])
            raise UserError(
                f"{what}: {word!r} is of split {split!r}; combinations are learned "
                "for 'few' classes only"
            )
        if len(those) > 1:
            raise UserError(
                f"{what}: {word!r} is the name of classes "
                f"{', '.join(map(str, those))}; give its number"
            )
        if those[0] not in tested:
            raise UserError(f"{what}: {word!r} has no test samples")
        if those[0] in found:
            raise UserError(f"{what} has class {those[0]} twice: {word!r}")
        found += those
    return found


def combination(
    runs: ResultSet, label: int, neighbors: np.ndarray, *, by_sample: bool = False
) -> Combination:
    """Gathers what was learned for a class, and what that changed.

    Args:
      runs: The runs.
      label: A 'few' class with test samples.
      neighbors: Neighbors in all runs, of every 'few' class; shape `[F, k]`.
      by_sample: Whether of equally frequent confusions the one comes first that does
        among the test samples, as in the original, and not the smaller class.

    Returns:
      The combination, with all its confusions.

    Raises:
      ValueError: If it is no such class.
    """
    rows = np.flatnonzero(runs.common("few_classes") == label)
    labels = runs.common("test_labels")
    if len(rows) != 1 or label not in labels:
        raise ValueError(f"label must be a 'few' class with test samples, got {label}.")
    splits, size = runs.split_names.tolist(), runs.num_classes
    method = _method(runs)
    base, predictions = runs.common("baseline_test_pred"), runs.runs("test_pred")

    own = labels == label
    taken_for = np.stack(
        [np.bincount(p[..., own].ravel(), minlength=size) for p in (base, predictions)]
    )
    taken_for[:, label] = 0
    taken_from = np.stack(
        [_count_true(p == label, labels, size) for p in (base, predictions)]
    )

    def confusions(counts: np.ndarray, predicted: np.ndarray) -> tuple[Confusion, ...]:
        ties = np.arange(size)
        if by_sample:
            found, places = np.unique(predicted[..., own], return_index=True)
            ties[found] = places - predicted.size  # before those that are not there
        order = np.lexsort((ties, -counts))[: np.count_nonzero(counts)]
        return tuple(
            Confusion(
                label=other,
                name=runs.label_name(other),
                split=splits[other],
                baseline=int(taken_for[0, other]),
                total=int(taken_for[1, other]),
                reverse_baseline=int(taken_from[0, other]),
                reverse_total=int(taken_from[1, other]),
            )
            for other in order.tolist()
        )

    return Combination(
        label=label,
        name=runs.label_name(label),
        terms=tuple(
            Term(
                label=source,
                name=runs.label_name(source),
                split=splits[source],
                alphas=coefficients,
            )
            for source, coefficients in _terms(
                runs, method, label, rows[0], neighbors[rows[0]]
            )
        ),
        training_samples=int(runs.common("class_counts")[label]),
        test_samples=int(np.count_nonzero(own)),
        num_runs=len(predictions),
        baseline_mistakes=int(taken_for[0].sum()),
        mistakes=int(taken_for[1].sum()),
        baseline_confusions=confusions(taken_for[0], base),
        confusions=confusions(taken_for[1], predictions),
        method=method,
        kept=_kept(runs.files[0], label),
    )


def _method(runs: ResultSet) -> str:
    """Returns the correction of all runs.

    Raises:
      UserError: If there are several.
    """
    first = runs.files[0]
    for file in runs.files:
        if file.method != first.method:
            raise UserError(
                f"{first.path} was made by {first.method}, {file.path} by "
                f"{file.method}, so there are no common combinations to show; choose "
                "one with --res_files_pattern"
            )
    return first.method


def _terms(
    runs: ResultSet, method: str, label: int, row: int, neighbors: np.ndarray
) -> list[tuple[int, tuple[float, ...]]]:
    """Lists from which classes one borrows, with the coefficients of every run."""
    if method == ALPHANET:
        # The first coefficient is the class's own, always 1.
        alphas = runs.runs("alphas")[:, row, 1:].astype(np.float64)
        return list(zip(neighbors.tolist(), map(tuple, alphas.T.tolist()), strict=True))
    arrays = runs.files[0].arrays
    if "borrowed_from" not in arrays:
        return []
    shares = arrays["borrowed_shares"][label].astype(np.float64).tolist()
    sources = arrays["borrowed_from"][label].tolist()
    return [(one, (share,)) for one, share in zip(sources, shares, strict=True)]


def _kept(file: ResultFile, label: int) -> float | None:
    return float(file.arrays["kept"][label]) if "kept" in file.arrays else None


def _count_true(which: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts by label, with shape `[C]`, where a mask of shape `[..., n]` is true."""
    samples = np.nonzero(which)[-1]  # the last axis is that of samples
    counts: np.ndarray = np.bincount(labels[samples], minlength=num_classes)
    return counts
