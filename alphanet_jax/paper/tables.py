"""The paper's tables, with our numbers beside those published."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.data.dataset import Dataset
from alphanet_jax.paper import TABLE_FORMATS, published
from alphanet_jax.paper.grid import NUM_NEIGHBORS, PARTS, path_name
from alphanet_jax.paper.measured import Measured, Results
from alphanet_jax.paper.published import PublishedRow
from alphanet_jax.results.accuracy_tables import FULL_COLUMNS
from alphanet_jax.results.tables import Row, Table, Value, render

__all__ = [
    "COLUMNS",
    "Compared",
    "ComparedRow",
    "ComparedTable",
    "accuracy_tables",
    "compare",
    "difference_text",
    "static_tables",
    "to_text",
    "value_text",
]

COLUMNS = FULL_COLUMNS

_METRICS = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "semantic4": "Accuracy up to 4 edges of WordNet",
}
_SEMANTIC = (
    "A prediction counts as correct if WordNet has at most 4 edges between it and the "
    "true class. "
)
_DISTANCES = {"euclidean": "Euclidean", "cosine": "cosine"}
_DISTANCE_OF = {
    group: distance for part in PARTS.values() for group, distance in part.items()
}
_NUMBERS = (
    "Percent of test samples, mean and sample standard deviation over runs; rho is how "
    "many samples of many and medium classes an epoch has for each of a few class."
)
_ONE_NEIGHBOR = (
    "* With one neighbor nothing can be learned: its coefficient, divided by its own "
    "size, is 1 or -1 and has no gradient. Each run is one of two fixed classifiers, "
    "whichever its initial values say; a mean over runs counts coin flips."
)


_SAME_RUNS = (
    f"Our rows with {NUM_NEIGHBORS} neighbors are the runs of the table against rho, "
    "where that has the same rho: the seeds are the same."
)
_NO_PAPER = " The paper has no numbers for this dataset and these features."


class Compared(NamedTuple):
    """One number, ours and the paper's, in percent; None where there is none."""

    ours: Value | None
    paper: Value | None
    difference: float | None = None  # in points
    errors: float | None = None  # the same in standard errors; None without deviations


class ComparedRow(NamedTuple):
    """A row: what it is, and a number for each of `COLUMNS`."""

    labels: tuple[str, ...]
    cells: tuple[Compared, ...]
    facts: Mapping[str, Any]  # what it is, for programs
    group: str = ""  # rows of one group belong together


@dataclasses.dataclass(frozen=True)
class ComparedTable:
    """A table of accuracy.

    Attributes:
      name: Name of its files.
      title: Heading.
      caption: What a reader has to know.
      label_columns: Headings of the first columns.
      rows: The rows.
      notes: Remarks, such as what is missing.
      has_paper: Whether there are numbers of the paper in it.
    """

    name: str
    title: str
    caption: str
    label_columns: tuple[str, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()
    has_paper: bool = True


def compare(
    ours: Value | None, num_ours: int, paper: Value | None, num_paper: int
) -> Compared:
    """Puts two means beside each other.

    Args:
      ours: Our mean and standard deviation over runs.
      num_ours: Number of our runs.
      paper: Those of the paper.
      num_paper: Number of its runs.

    Returns:
      Both with their difference; in standard errors, too, where there is a deviation.
      That of a single evaluation is taken as zero.

    Examples:
      >>> compare(Value(40.0, 3.0), 10, Value(39.0, 1.0), 10)[2:]
      (1.0, 1.0)
      >>> compare(Value(27.5), 1, Value(27.0), 1)[2:]
      (0.5, None)
    """
    if ours is None or paper is None or math.isnan(ours.mean):
        return Compared(ours, paper)
    difference = ours.mean - paper.mean
    error = math.sqrt(
        (ours.std or 0.0) ** 2 / num_ours + (paper.std or 0.0) ** 2 / num_paper
    )
    return Compared(ours, paper, difference, difference / error if error else None)


# --- What is in which table -----------------------------------------------------------


class _Key(NamedTuple):
    """A row before numbers are looked up."""

    labels: tuple[str, ...]
    group: str
    config: str | None
    model: str
    rho: float | None
    k: int | None
    row: PublishedRow | None


def accuracy_tables(
    results: Results, reasons: Mapping[str, str], names: Mapping[str, str]
) -> list[ComparedTable]:
    """Makes the sixteen tables of the paper, and the same of other datasets.

    Args:
      results: Our results.
      reasons: Why a dataset has none, by its name.
      names: Datasets that are not the paper's, and their names for people.

    Returns:
      The tables: the paper's in its order, then those of each other dataset.
    """
    made = [_paper_table(table, results, reasons) for table in _published()]
    for name, proper_name in published.names().items():
        if results.group(name, "randomnns"):
            made.append(_control_table(name, proper_name, results))
    for name, proper_name in names.items():
        made += _own_tables(name, proper_name, results)
    return made


def _published() -> list[published.PublishedTable]:
    return list(published.tables().values())


def _paper_table(
    table: published.PublishedTable, results: Results, reasons: Mapping[str, str]
) -> ComparedTable:
    configs = list(dict.fromkeys(row.config for row in table.rows if row.config))
    datasets = list(dict.fromkeys(row.dataset for row in table.rows))
    metric = _METRICS[table.metric]
    by_k = table.name.startswith("rhos_")
    group = f"nnsweep_{table.distance}" if by_k else "main"
    if table.name.startswith("datasets_"):
        label_columns: tuple[str, ...] = ("Dataset", "Classifier", "rho")
        title = f"{metric} on {' and '.join(datasets)}"
        if table.name.endswith(("_ride", "_ltr")):
            title += f" with {table.rows[0].model}"
        keys = [
            _Key(
                (row.dataset, _model(row.model, row.rho), _rho(row.rho)),
                f"{row.dataset} {row.model}",
                *(row.config, row.model, row.rho, row.k, row),
            )
            for row in table.rows
        ]
    elif by_k:
        label_columns = ("rho", "k")
        title = (
            f"{metric} on {datasets[0]} with cRT against the number of neighbors, "
            f"{_DISTANCES[table.distance]} distance"
        )
        keys = _keys_by_k(configs[0], table.rows, results, group)
    else:
        label_columns = ("Classifier", "rho")
        title = f"{metric} on {datasets[0]} against rho"
        keys = _keys_by_rho(configs, table.rows, results)
    rows = [_compared(key, table.metric, group, results) for key in keys]
    notes = _notes_by_k(table.distance, keys) if by_k else []
    there = {
        key.config
        for key, row in zip(keys, rows, strict=True)
        if key.rho is not None and _has(row)
    }
    absent = [config for config in configs if config not in there]
    if absent:
        notes.append(_missing_note(absent, table.metric, group, results, reasons))
    others = dict.fromkeys(row.model for row in table.rows if row.config is None)
    if others:
        notes.append(
            f"{' and '.join(others)}: not computed here; the numbers are those that "
            "the paper quotes."
        )
    return ComparedTable(
        table.name,
        title,
        (_SEMANTIC if table.metric == "semantic4" else "") + _NUMBERS,
        label_columns,
        tuple(rows),
        tuple(notes),
    )


def _notes_by_k(distance: str, keys: Sequence[_Key]) -> list[str]:
    """Lists what to know of rows against the number of neighbors."""
    notes = [_ONE_NEIGHBOR] if any(key.k == 1 for key in keys) else []
    if distance == "euclidean" and any(key.k == NUM_NEIGHBORS for key in keys):
        notes.append(_SAME_RUNS)
    return notes


def _own_tables(name: str, proper_name: str, results: Results) -> list[ComparedTable]:
    """Makes the tables of a dataset that is not the paper's."""
    made: list[tuple[str, ComparedTable]] = []  # with the metric
    for metric, title in _METRICS.items():
        if metric == "semantic4" and not results.has_synsets(name):
            continue
        keys = _keys_by_rho([name], (), results)
        if any(key.rho is not None for key in keys):
            table = ComparedTable(
                f"models_split_{metric}_accs_vs_rho_{path_name(name)}",
                f"{title} on {proper_name} against rho",
                (_SEMANTIC if metric == "semantic4" else "") + _NUMBERS + _NO_PAPER,
                ("Classifier", "rho"),
                tuple(_compared(key, metric, "main", results) for key in keys),
                has_paper=False,
            )
            made.append((metric, table))
    for metric in ("top1", "top5"):
        for distance, called in _DISTANCES.items():
            group = f"nnsweep_{distance}"
            keys = _keys_by_k(name, (), results, group)
            if any(key.rho is not None for key in keys):
                table = ComparedTable(
                    f"rhos_split_{metric}_accs_vs_k_{path_name(name)}_{distance}",
                    f"{_METRICS[metric]} on {proper_name} against the number of "
                    f"neighbors, {called} distance",
                    _NUMBERS + _NO_PAPER,
                    ("rho", "k"),
                    tuple(_compared(key, metric, group, results) for key in keys),
                    tuple(_notes_by_k(distance, keys)),
                    has_paper=False,
                )
                made.append((metric, table))
    if results.group(name, "randomnns"):
        made.append(("top1", _control_table(name, proper_name, results)))
    finished = []
    for metric, table in made:
        problem = results.problems.get((name, metric))
        notes = (*table.notes, *([f"Not computed: {problem}."] if problem else []))
        # A dataset may be called as the paper's tables call theirs.
        own = f"own_{table.name}" if table.name in published.tables() else table.name
        finished.append(dataclasses.replace(table, name=own, notes=notes))
    return finished


def _control_table(name: str, proper_name: str, results: Results) -> ComparedTable:
    """Makes the table of nearest against random neighbors."""
    rows = []
    for rho, k in results.settings(name, "randomnns"):
        for kind, group in (("nearest", "main"), ("random", "randomnns")):
            key = _Key((_rho(rho), kind), f"{rho:g}", name, kind, rho, k, None)
            rows.append(_compared(key, "top1", group, results))
    return ComparedTable(
        f"neighbors_split_top1_accs_vs_rho_{path_name(name)}",
        f"Top-1 accuracy on {proper_name} with nearest and with random neighbors",
        _NUMBERS + " All runs share the random neighbors, as in the paper, which shows "
        "this comparison as a figure.",
        ("rho", "Neighbors"),
        tuple(rows),
        has_paper=False,
    )


def _keys_by_rho(
    configs: Sequence[str], rows: Sequence[PublishedRow], results: Results
) -> list[_Key]:
    """Lists rows of a table against rho: the paper's, and what we have beyond them."""
    keys = []
    for config in configs:
        known = {row.rho: row for row in rows if row.config == config}
        model = next((row.model for row in known.values()), "")
        ours = {rho for rho, k in results.settings(config, "main")}
        for rho in sorted({*known, None, *ours}, key=lambda rho: rho or 0.0):
            labels = (_model(model, rho), _rho(rho))
            keys.append(
                _Key(labels, config, config, model, rho, NUM_NEIGHBORS, known.get(rho))
            )
    return keys


def _keys_by_k(
    config: str, rows: Sequence[PublishedRow], results: Results, group: str
) -> list[_Key]:
    """Lists rows of a table against k: the paper's, and what we have beyond them."""
    known = {(row.rho, row.k): row for row in rows if row.rho is not None}
    before = next((row for row in rows if row.rho is None), None)
    model = "" if before is None else before.model
    keys = [_Key((_model(model, None), ""), "", config, model, None, None, before)]
    for rho, k in sorted({*known, *results.settings(config, group)}):
        labels = (_rho(rho), f"{k} *" if k == 1 else str(k))
        keys.append(
            _Key(labels, f"{rho:g}", config, model, rho, k, known.get((rho, k)))
        )
    return keys


def _compared(key: _Key, metric: str, group: str, results: Results) -> ComparedRow:
    """Looks numbers up."""
    ours: Measured | None = None
    if key.config is not None:
        ours = results.measure(key.config, metric, group=group, rho=key.rho, k=key.k)
    paper = key.row
    cells = []
    for place in range(len(COLUMNS)):
        mine = None if ours is None else ours.values[place]
        other = None
        if paper is not None:
            std = None if paper.stds is None else paper.stds[place]
            other = Value(paper.means[place], std)
        cell = compare(
            mine,
            1 if ours is None else ours.num_runs,
            other,
            1 if paper is None else paper.num_runs,
        )
        if key.k == 1 and key.rho is not None:  # coin flips are not to be compared
            cell = Compared(mine, other)
        cells.append(cell)
    facts = {
        "dataset": key.config or (paper.dataset if paper else None),
        "classifier": key.model or None,
        "metric": metric,
        "rho": key.rho,
        "k": key.k if key.rho is not None else None,
        "neighbors": None if key.rho is None else _DISTANCE_OF[group],
        "runs": None if ours is None else ours.num_runs,
        "paper_runs": None if paper is None else paper.num_runs,
    }
    return ComparedRow(key.labels, tuple(cells), facts, key.group)


def _has(row: ComparedRow) -> bool:
    return any(cell.ours is not None for cell in row.cells)


def _missing_note(
    configs: Sequence[str],
    metric: str,
    group: str,
    results: Results,
    reasons: Mapping[str, str],
) -> str:
    """Says why there are no numbers of ours, and how to make them."""
    part = "nnsweep" if group.startswith("nnsweep_") else "main"
    told = []
    for config in configs:
        problem = results.problems.get((config, metric))
        reason = problem or reasons.get(config) or "no results are there yet"
        told.append(f"{config} ({reason})")
    return (
        f"No numbers of ours for {'; '.join(told)}. With the data where "
        "configs/datasets.toml says, they are made by: python main.py paper "
        f"--datasets {' '.join(configs)} --parts {part}"
    )


def _model(model: str, rho: float | None) -> str:
    if rho is None:
        return model or "Unchanged classifier"
    return f"\N{GREEK SMALL LETTER ALPHA}-{model}" if model else "AlphaNet"


def _rho(rho: float | None) -> str:
    return "" if rho is None else f"{rho:g}"


# --- Tables of facts ------------------------------------------------------------------


def static_tables(datasets: Mapping[str, Dataset]) -> list[Table]:
    """Makes the tables of the datasets and settings.

    Args:
      datasets: Our datasets, by name; those of one set of samples count once.

    Returns:
      Statistics of datasets, sizes of their classes, architectures, and settings.
    """
    stats, sizes = [], []
    seen: set[tuple[str, tuple[str, ...]]] = set()

    def add(labels: tuple[str, str], facts: Mapping[str, Any]) -> None:
        cells = _stats_cells(facts)
        if (labels[0], cells) in seen:
            return
        seen.add((labels[0], cells))
        stats.append(Row(labels, cells))
        sizes.append(Row(labels, _size_cells(facts)))

    configs = {row.config: row.dataset for table in _published() for row in table.rows}
    for facts in published.content()["datasets"]:
        add((facts["dataset"], "paper"), facts)
        for name, data in datasets.items():
            if configs.get(name) == facts["dataset"]:
                add((facts["dataset"], "here"), _facts_of(data))
    for name, data in datasets.items():
        if name not in configs:
            add((data.proper_name, "here"), _facts_of(data))
    return [
        Table(
            "Datasets",
            ("Dataset", "Of"),
            (
                *("Training", "Validation", "Test"),
                *("Classes", "Many", "Medium", "Few"),
                *("Samples of many", "of medium", "of few"),
            ),
            tuple(stats),
            "Samples of each group; classes of each split; training samples of each "
            "split.",
            "dataset_stats",
        ),
        Table(
            "Sizes of classes",
            ("Dataset", "Of"),
            ("Many", "Medium", "Few"),
            tuple(sizes),
            "Fewest and most training samples of a class.",
            "dataset_splits",
        ),
        Table(
            "Architectures",
            ("Dataset", "Backbone", "Classifiers"),
            (),
            tuple(
                Row((dataset, backbone, ", ".join(models)), ())
                for dataset, backbone, models in published.content()["architectures"]
            ),
            "The networks that the paper's features come from.",
            "baseline_archs",
        ),
        Table(
            "Settings",
            ("Setting", "Value"),
            (),
            tuple(
                Row((name, value), ())
                for name, value in published.content()["settings"].items()
            ),
            "Settings of the paper, which are the defaults here.",
            "hyperparams",
        ),
    ]


_SPLITS = ("many", "medium", "few")


def _facts_of(data: Dataset) -> dict[str, Any]:
    counts = data.class_counts
    return {
        "samples": {
            "train": len(data.train.labels),
            "val": None if data.val is None else len(data.val.labels),
            "test": len(data.test.labels),
        },
        "classes": {name: len(data.splits[name]) for name in _SPLITS},
        "train_samples": {
            name: int(counts[data.splits[name]].sum()) for name in _SPLITS
        },
        "class_sizes": {
            name: (
                int(np.min(counts[data.splits[name]])),
                int(np.max(counts[data.splits[name]])),
            )
            for name in _SPLITS
        },
    }


def _stats_cells(facts: Mapping[str, Any]) -> tuple[str, ...]:
    samples, classes = facts["samples"], facts["classes"]
    numbers = [samples[group] for group in ("train", "val", "test")]
    numbers += [sum(classes.values()), *(classes[name] for name in _SPLITS)]
    numbers += [facts["train_samples"][name] for name in _SPLITS]
    return tuple("-" if number is None else f"{number:,}" for number in numbers)


def _size_cells(facts: Mapping[str, Any]) -> tuple[str, ...]:
    pairs = [facts["class_sizes"][name] for name in _SPLITS]
    return tuple(f"{low:,} to {high:,}" for low, high in pairs)


# --- As text --------------------------------------------------------------------------


def value_text(value: Value | None) -> str:
    """Writes a mean with its deviation."""
    if value is None or math.isnan(value.mean):
        return "-"
    std = "" if value.std is None else f" ± {value.std:.2f}"
    return f"{value.mean:z.1f}{std}"


def difference_text(cell: Compared) -> str:
    """Writes a difference in points, and in standard errors where there are some."""
    if cell.difference is None:
        return "-"
    errors = "" if cell.errors is None else f" ({cell.errors:+z.1f} se)"
    return f"{cell.difference:+z.1f}{errors}"


def to_text(table: ComparedTable | Table, ending: str) -> str:
    """Writes a table as a file holds it.

    Args:
      table: The table.
      ending: One of `TABLE_FORMATS`.

    Returns:
      The text, with a newline at its end.
    """
    if isinstance(table, Table) or ending in ("md", "tex"):
        plain = table if isinstance(table, Table) else _plain_table(table)
        return render(plain, TABLE_FORMATS[ending]) + "\n"
    records = [_record(row) for row in table.rows]
    if ending == "json":
        return json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _plain_table(table: ComparedTable) -> Table:
    """Makes a table with a column for each number, or three with the paper's."""
    columns, rows = [], []
    for name in COLUMNS:
        columns += [name, "paper", "difference"] if table.has_paper else [name]
    for row in table.rows:
        cells: list[Value | str | None] = []
        for cell in row.cells:
            cells.append("-" if cell.ours is None else cell.ours)
            if table.has_paper:
                cells.append("-" if cell.paper is None else cell.paper)
                cells.append(difference_text(cell))
        rows.append(Row(row.labels, tuple(cells)))
    caption = [table.caption]
    if table.has_paper:
        caption.append(
            "Differences are ours less the paper's, in points and, in brackets, in "
            "standard errors of both means."
        )
    return Table(
        table.title,
        table.label_columns,
        tuple(columns),
        tuple(rows),
        " ".join([*caption, *table.notes]),
        table.name,
    )


def _record(row: ComparedRow) -> dict[str, Any]:
    """Gives a row with every digit, for programs."""

    def number(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        return round(value, 8)  # without what float arithmetic adds at the end

    record = dict(row.facts)
    for name, cell in zip(published.COLUMNS, row.cells, strict=True):
        for whose, value in (("", cell.ours), ("_paper", cell.paper)):
            record[f"{name}{whose}"] = number(None if value is None else value.mean)
            record[f"{name}{whose}_std"] = number(None if value is None else value.std)
        record[f"{name}_difference"] = number(cell.difference)
        record[f"{name}_standard_errors"] = number(cell.errors)
    return record
