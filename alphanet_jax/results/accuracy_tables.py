"""Tables of accuracy per split: of experiments, and of what was just trained.

Notation: R runs of a set, S seeds of a file, n test samples, C classes.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from alphanet_jax.errors import printable
from alphanet_jax.results import accuracy, corrected, rendering, tables
from alphanet_jax.results.pytorch import recorded_arrays
from alphanet_jax.results.sets import ResultFile, ResultSet
from alphanet_jax.results.tables import Row, Table, Value
from alphanet_jax.splits import SPLITS

__all__ = [
    "COLUMNS",
    "FULL_COLUMNS",
    "VALIDATION",
    "AccuracyReport",
    "Control",
    "Fractions",
    "Hits",
    "Metric",
    "hits_of_predictions",
    "hits_or_fractions",
    "make_accuracy_tables",
    "training_table",
]

# Headings of `accuracy.PARTS`, at length and as short as the original's.
FULL_COLUMNS = tuple(part.capitalize() for part in accuracy.PARTS)
# Arrays of a result that tell how it does on validation data.
VALIDATION = ("selected_epoch", "val_accuracy", "baseline_val_accuracy")
COLUMNS = tuple("Med." if name == "Medium" else name for name in FULL_COLUMNS)


class Hits(NamedTuple):
    """Which test samples of a result count as correct."""

    runs: np.ndarray  # shape=(S, n), bool
    baseline: np.ndarray  # shape=(n,), bool
    # What counting depends on besides the dataset, such as a number of neighbors. The
    # baseline has a row for each.
    kind: str = ""


class Fractions(NamedTuple):
    """Accuracies that a result records, where it has no predictions."""

    file: ResultFile
    kind: str = ""

    def of(self, prefix: str) -> np.ndarray:
        """Returns those of 'test' or 'baseline_test', with shape `[S or 1, 4]`."""
        splits = np.atleast_2d(self.file.array(f"{prefix}_acc_per_split"))
        overall = np.atleast_1d(self.file.array(f"{prefix}_accuracy"))
        return np.column_stack([splits, overall])


@dataclasses.dataclass(frozen=True)
class Metric:
    """What counts as correct.

    Attributes:
      hits: Computes it for a result.
      name: Its name, for programs.
      title: What follows the dataset's name in a title.
    """

    hits: Callable[[ResultFile], Hits | Fractions]
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


def hits_or_fractions(file: ResultFile) -> Hits | Fractions:
    """Counts what is predicted right, or takes what is recorded of it.

    A result of the original's records no predictions, but their accuracy.
    """
    if "test_pred" not in recorded_arrays(file.arrays):
        return Fractions(file)
    return hits_of_predictions(file)


def make_accuracy_tables(
    sets: Sequence[ResultSet],
    metric: Metric | None = None,
    *,
    show_baselines: bool = True,
    heading: str = "Experiment",
) -> list[Table]:
    """Makes a table for every dataset, in the order in which they come.

    Args:
      sets: The experiments; their order is that of the rows.
      metric: What counts as correct; by default what is predicted right.
      show_baselines: Whether rows of the unchanged classifier come first.
      heading: Heading of the experiments' names.

    Returns:
      The tables: mean and sample standard deviation over runs, in percent, of few,
      medium and many, and overall.
    """
    metric = Metric(hits_or_fractions) if metric is None else metric
    by_dataset: dict[str, list[ResultSet]] = {}
    for each in sets:
        by_dataset.setdefault(each.dataset, []).append(each)
    made = []
    for of_dataset in by_dataset.values():
        baselines: dict[str, np.ndarray] = {}
        shown = baselines if show_baselines else None
        rows = [_experiment(each, metric, shown) for each in of_dataset]
        if show_baselines:
            rows = [*_baselines(of_dataset[0], metric, baselines), *rows]
        made.append(
            _table(
                of_dataset[0].proper_name + metric.title,
                rows,
                heading=heading,
                name=of_dataset[0].dataset,
            )
        )
    return made


class Control(NamedTuple):
    """A correction without training, beside which others are to be seen."""

    title: str
    fractions: np.ndarray  # shape=(4,): accuracy of few, medium, many and all.


def _note_on(controls: Sequence[Control]) -> str:
    """Says what controls are, and where there are more."""
    if len(controls) > 1:
        return (
            "The offset and logit adjustment need no training: one number, by val; see "
            "also `compare`."
        )
    return (
        "Logit adjustment needs no training; without val samples of few classes tau is "
        "1, and no offset is chosen."
    )


def training_table(
    rows: Mapping[str, Mapping[str, np.ndarray]],
    *,
    baseline: Mapping[str, np.ndarray] | None = None,
    controls: Sequence[Control] = (),
    explain_rho: bool = False,
) -> str:
    """Makes the table that training prints, from the accuracies that it measured.

    Args:
      rows: Arrays of result files of one dataset, by the names of their rows.
      baseline: Arrays of the one whose baseline is shown; by default the first.
      controls: Corrections to show below the others.
      explain_rho: Whether to say what rows of AlphaNet change, and what rho does.

    Returns:
      The table as text, baseline first: mean and sample standard deviation over
      seeds, in percent. Below it is a line about rows that are worse on validation
      data than the baseline, where their arrays tell, or else on test data.

    Raises:
      ValueError: If there are neither rows nor a baseline.
    """
    if baseline is None:
        if not rows:
            raise ValueError("rows must not be empty where baseline is None.")
        baseline = next(iter(rows.values()))

    def row(name: str, arrays: Mapping[str, np.ndarray], prefix: str) -> Row:
        splits = np.atleast_2d(arrays[f"{prefix}_acc_per_split"])
        overall = np.atleast_1d(arrays[f"{prefix}_accuracy"])
        return _row(name, np.column_stack([splits, overall]))

    made = [row(name, arrays, "test") for name, arrays in rows.items()]
    made += [_row(each.title, each.fractions[None]) for each in controls]
    title = printable(str(baseline["proper_name"]))
    first = row("Baseline", baseline, "baseline_test")
    table = _table(title, [first, *made])
    told = {
        name: arrays for name, arrays in rows.items() if arrays.keys() >= {*VALIDATION}
    }
    harm = corrected.remark_on_harms(told) or _note_on_test(rows, baseline)
    effect = _note_on_rho(first, made[: len(rows)]) if explain_rho and rows else None
    note = _note_on(controls) if controls else None
    shown = [rendering.render(table, "plain"), effect, note, harm]
    return "\n".join(filter(None, shown))


def _note_on_rho(baseline: Row, rows: Sequence[Row]) -> str:
    """Says what a row changes, where there is one, and what rho does about that."""
    rule = (
        "larger rho (--config.rho) takes less from medium and many, and gives few less"
    )
    if len(rows) > 1:
        return f"A {rule}."
    (row,) = rows
    changes = [
        f"{part} {tables.shown_change(before.mean, after.mean)}"
        for part, before, after in zip(
            accuracy.PARTS, baseline.cells, row.cells, strict=True
        )
        if isinstance(before, Value) and isinstance(after, Value)
        if np.isfinite(after.mean - before.mean)
    ]
    return f"{row.labels[0]}: {', '.join(changes)}; a {rule}."


def _note_on_test(
    rows: Mapping[str, Mapping[str, np.ndarray]], baseline: Mapping[str, np.ndarray]
) -> str | None:
    """Returns a line where the mean of rows is worse than the baseline on test data."""
    before = 100 * float(np.mean(baseline["baseline_test_accuracy"]))
    means = {
        name: 100 * float(np.mean(of["test_accuracy"])) for name, of in rows.items()
    }
    worse = [f"{name}, {mean:.2f}" for name, mean in means.items() if mean < before]
    if not worse:
        return None
    return (
        f"note: on test data the unchanged classifier gets {before:.2f} overall, more "
        f"than {'; '.join(worse)}; `compare` shows other corrections"
    )


class AccuracyReport(NamedTuple):
    """Accuracy before and after, by split and overall; prints as a table."""

    before: Mapping[str, float]  # fractions by 'few', 'medium', 'many', 'overall'
    after: Mapping[str, float]
    title: str
    name: str = "AlphaNet"  # of the correction

    def __str__(self) -> str:
        def arrays(row: Mapping[str, float], prefix: str) -> dict[str, np.ndarray]:
            parts = np.array([[row[name] for name in SPLITS]])
            return {
                f"{prefix}_acc_per_split": parts,
                f"{prefix}_accuracy": np.array([row["overall"]]),
            }

        baseline = arrays(self.before, "baseline_test")
        return training_table(
            {self.name: arrays(self.after, "test")},
            baseline=baseline | {"proper_name": np.asarray(self.title)},
        )


def _table(
    title: str, rows: Sequence[Row], *, heading: str = "Experiment", name: str = ""
) -> Table:
    return Table(
        title, (heading,), COLUMNS, tuple(rows), name=name, full_columns=FULL_COLUMNS
    )


def _row(
    name: str,
    fractions: np.ndarray,
    facts: Mapping[str, str | int | None] = MappingProxyType({}),
) -> Row:
    """Makes a row from fractions of every run, with shape `[R, 4]`."""
    return Row((name,), tuple(map(tables.mean_and_std, fractions.T)), facts)


def _experiment(
    runs: ResultSet, metric: Metric, baselines: dict[str, np.ndarray] | None
) -> Row:
    """Makes a row, and adds baselines that were not seen yet, where these are shown."""
    parts = []
    for file in runs.files:
        hits = metric.hits(file)
        if isinstance(hits, Fractions):
            parts.append(hits.of("test"))
            if baselines is not None and hits.kind not in baselines:
                baselines[hits.kind] = hits.of("baseline_test")
            continue
        parts.append(_per_split(hits.runs, runs))
        if baselines is not None:
            baselines.setdefault(hits.kind, _per_split(hits.baseline[None], runs))
    fractions = np.concatenate(parts)
    counts = {"files": len(parts), "runs": len(fractions)}
    return _row(runs.name, fractions, _facts(runs, metric, runs.name) | counts)


def _baselines(
    runs: ResultSet, metric: Metric, baselines: Mapping[str, np.ndarray]
) -> list[Row]:
    """Makes a row, or one for each way of counting, with what differs in its name."""
    rows = []
    for kind, fractions in baselines.items():
        name = "Baseline" if len(baselines) == 1 else f"Baseline ({kind})"
        facts = _facts(runs, metric, name) | {"files": None, "runs": None}
        rows.append(_row(name, fractions, facts))
    return rows


def _per_split(hits: np.ndarray, runs: ResultSet) -> np.ndarray:
    return accuracy.per_split(hits, runs.common("test_labels"), runs.splits)


def _facts(runs: ResultSet, metric: Metric, name: str) -> dict[str, str | int | None]:
    """Lists what a row is, for programs."""
    return {
        "dataset": runs.dataset,
        "dataset_name": runs.proper_name,
        "experiment": name,
        "metric": metric.name,
    }
