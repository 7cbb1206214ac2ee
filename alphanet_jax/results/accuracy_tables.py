"""Tables of accuracy per split, of experiments on one dataset each.

Notation: R runs of a set, S seeds of a file, n test samples, C classes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from alphanet_jax.results import accuracy, tables
from alphanet_jax.results.sets import ResultFile, ResultSet
from alphanet_jax.results.tables import Row, Table

__all__ = ["Hits", "Metric", "accuracy_tables", "hits_of_predictions"]


class Hits(NamedTuple):
    """Which test samples of a result count as correct."""

    runs: np.ndarray  # shape=(S, n), bool
    baseline: np.ndarray  # shape=(n,), bool
    # What counting depends on besides the dataset, such as a number of neighbors. The
    # baseline has a row for each.
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Metric:
    """What counts as correct.

    Attributes:
      hits: Tells it for a result.
      name: Its name, for programs.
      title: What follows the dataset's name in a title.
    """

    hits: Callable[[ResultFile], Hits]
    name: str = "accuracy"
    title: str = ""


def hits_of_predictions(
    file: ResultFile, mask: np.ndarray | None = None, kind: str = ""
) -> Hits:
    """Counts the predictions of a result.

    Args:
      file: The result.
      mask: Where given, neighbors of the true class count too; shape `[C, C]`.
      kind: What the mask depends on.
    """
    labels = file.arrays["test_labels"]
    runs, baseline = (
        accuracy.is_correct(file.arrays[name], labels, mask)
        for name in ("test_pred", "baseline_test_pred")
    )
    return Hits(runs, baseline, kind)


def accuracy_tables(
    sets: Sequence[ResultSet],
    metric: Metric,
    *,
    show_baselines: bool = True,
    heading: str = "Experiment",
) -> list[Table]:
    """Makes a table for every dataset, in the order in which they come.

    Args:
      sets: The experiments; their order is that of the rows.
      metric: What counts as correct.
      show_baselines: Whether rows of the unchanged classifier come first.
      heading: Heading of the experiments' names.

    Returns:
      The tables: mean and sample standard deviation over runs, in percent, of few,
      medium and many, and overall.
    """
    by_dataset: dict[str, list[ResultSet]] = {}
    for each in sets:
        by_dataset.setdefault(each.dataset, []).append(each)
    made = []
    for of_dataset in by_dataset.values():
        baselines: dict[str, np.ndarray] = {}
        rows = [_experiment(each, metric, baselines) for each in of_dataset]
        if show_baselines:
            rows = [*_baselines(of_dataset[0], metric, baselines), *rows]
        made.append(
            Table(
                of_dataset[0].proper_name + metric.title,
                (heading,),
                tables.COLUMNS,
                tuple(rows),
                name=of_dataset[0].dataset,
                full_columns=tables.FULL_COLUMNS,
            )
        )
    return made


def _experiment(
    runs: ResultSet, metric: Metric, baselines: dict[str, np.ndarray]
) -> Row:
    """Makes a row, and adds baselines that were not seen yet."""
    fractions = []
    for file in runs.files:
        hits = metric.hits(file)
        fractions.append(_per_split(hits.runs, runs))
        baselines.setdefault(hits.kind, _per_split(hits.baseline[None], runs))
    return _row(
        runs, metric, runs.name, np.concatenate(fractions), files=len(fractions)
    )


def _baselines(
    runs: ResultSet, metric: Metric, baselines: dict[str, np.ndarray]
) -> list[Row]:
    """Makes a row, or one for each way of counting, with what differs in its name."""
    return [
        _row(
            runs,
            metric,
            "Baseline" if len(baselines) == 1 else f"Baseline ({kind})",
            fractions,
            files=None,
        )
        for kind, fractions in baselines.items()
    ]


def _per_split(hits: np.ndarray, runs: ResultSet) -> np.ndarray:
    return accuracy.per_split(hits, runs.common("test_labels"), runs.splits)


def _row(
    runs: ResultSet,
    metric: Metric,
    name: str,
    fractions: np.ndarray,
    *,
    files: int | None,
) -> Row:
    return Row(
        (name,),
        tuple(tables.mean_and_std(column) for column in fractions.T),
        {
            "dataset": runs.dataset,
            "dataset_name": runs.proper_name,
            "experiment": name,
            "metric": metric.name,
            "files": files,
            "runs": None if files is None else len(fractions),
        },
    )
