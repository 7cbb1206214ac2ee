"""Which tables of accuracy there are: the paper's, and the same of other datasets."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from alphanet_jax.paper import published
from alphanet_jax.paper.compared import (
    COLUMNS,
    Compared,
    ComparedRow,
    ComparedTable,
    compare,
)
from alphanet_jax.paper.grid import NUM_NEIGHBORS, PARTS, path_name
from alphanet_jax.paper.measured import Measured, Results
from alphanet_jax.paper.published import PublishedRow
from alphanet_jax.results.tables import Value

__all__ = ["accuracy_tables"]

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
    folder: distance for part in PARTS.values() for folder, distance in part.items()
}
_NUMBERS = (
    "Percent of test samples, mean and sample standard deviation over runs; rho is how "
    "many samples of many and medium classes an epoch has for each of a few class."
)
_ONE_NEIGHBOR = (
    "* With one neighbor nothing can be learned: its coefficient, divided by its own "
    "size, is 1 or -1 and has no gradient. Each run is one of two fixed classifiers, "
    "by its initial values; a mean over runs counts coin flips."
)
_SAME_RUNS = (
    f"Our rows with {NUM_NEIGHBORS} neighbors are the runs of the table against rho, "
    "where that has the same rho: the seeds are the same."
)
_NO_PAPER = " The paper has no numbers for this dataset and these features."


_CONTROLS = (
    "Controls are not the paper's: corrections of one number, without training, that "
    "anything trained has to beat. The number is chosen on validation data; without "
    "those, tau is 1."
)


class _Key(NamedTuple):
    """A row before numbers are looked up."""

    labels: tuple[str, ...]
    block: str
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
      names: Display names of datasets that are not the paper's.

    Returns:
      The tables: the paper's in its order, then those of each other dataset.
    """
    made = [
        _paper_table(table, results, reasons) for table in published.tables().values()
    ]
    for name, proper_name in published.names().items():
        if results.sets(name, "randomnns"):
            made.append(_control_table(name, proper_name, results))
    for name, proper_name in names.items():
        made += _own_tables(name, proper_name, results)
    return made


def _paper_table(
    table: published.PublishedTable, results: Results, reasons: Mapping[str, str]
) -> ComparedTable:
    configs = list(dict.fromkeys(row.config for row in table.rows if row.config))
    datasets = list(dict.fromkeys(row.dataset for row in table.rows))
    metric = _METRICS[table.metric]
    by_k = table.name.startswith("rhos_")
    folder = f"nnsweep_{table.distance}" if by_k else "main"
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
        keys = _keys_by_k(configs[0], table.rows, results, folder)
    else:
        label_columns = ("Classifier", "rho")
        title = f"{metric} on {datasets[0]} against rho"
        keys = _keys_by_rho(configs, table.rows, results)
    rows = [_compared(key, table.metric, folder, results) for key in keys]
    notes = _notes_by_k(table.distance, keys) if by_k else []
    beside = []
    if table.metric == "top1" and not by_k:
        for config in configs:
            several = len(label_columns) > 2
            first = next(row.dataset for row in table.rows if row.config == config)
            beside += _controls(results, config, (first,) if several else ())
    notes += [_CONTROLS] if beside else []
    there = {
        key.config
        for key, row in zip(keys, rows, strict=True)
        if key.rho is not None and row.has_ours
    }
    absent = [config for config in configs if config not in there]
    if absent:
        notes.append(_missing_note(absent, table.metric, folder, results, reasons))
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
        (*rows, *beside),
        tuple(notes),
    )


def _controls(
    results: Results, config: str, before: tuple[str, ...] = ()
) -> list[ComparedRow]:
    """Makes rows of the controls of a dataset."""
    return [
        ComparedRow(
            (*before, f"Control: {each.title}", ""),
            tuple(Compared(Value(100 * part, None), None) for part in each.fractions),
            {"dataset": config, "classifier": each.title, "metric": "top1"}
            | dict.fromkeys(("rho", "k", "neighbors", "runs", "paper_runs")),
            "controls",
        )
        for each in results.controls.get(config, ())
    ]


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
            beside = _controls(results, name) if metric == "top1" else []
            table = ComparedTable(
                f"models_split_{metric}_accs_vs_rho_{path_name(name)}",
                f"{title} on {proper_name} against rho",
                (_SEMANTIC if metric == "semantic4" else "") + _NUMBERS + _NO_PAPER,
                ("Classifier", "rho"),
                tuple(_compared(key, metric, "main", results) for key in keys)
                + tuple(beside),
                (_CONTROLS,) if beside else (),
                has_paper=False,
            )
            made.append((metric, table))
    for metric in ("top1", "top5"):
        for distance, called in _DISTANCES.items():
            folder = f"nnsweep_{distance}"
            keys = _keys_by_k(name, (), results, folder)
            if any(key.rho is not None for key in keys):
                table = ComparedTable(
                    f"rhos_split_{metric}_accs_vs_k_{path_name(name)}_{distance}",
                    f"{_METRICS[metric]} on {proper_name} against the number of "
                    f"neighbors, {called} distance",
                    _NUMBERS + _NO_PAPER,
                    ("rho", "k"),
                    tuple(_compared(key, metric, folder, results) for key in keys),
                    tuple(_notes_by_k(distance, keys)),
                    has_paper=False,
                )
                made.append((metric, table))
    if results.sets(name, "randomnns"):
        made.append(("top1", _control_table(name, proper_name, results)))
    finished = []
    for metric, table in made:
        problem = results.not_computed.get((name, metric))
        notes = (*table.notes, *([f"Not computed: {problem}."] if problem else []))
        # A dataset may be called as the paper's tables call theirs.
        own = f"own_{table.name}" if table.name in published.tables() else table.name
        finished.append(dataclasses.replace(table, name=own, notes=notes))
    return finished


def _control_table(name: str, proper_name: str, results: Results) -> ComparedTable:
    """Makes the table of nearest against random neighbors."""
    rows = []
    for rho, k in results.rho_and_k(name, "randomnns"):
        for kind, folder in (("nearest", "main"), ("random", "randomnns")):
            key = _Key((_rho(rho), kind), f"{rho:g}", name, kind, rho, k, None)
            rows.append(_compared(key, "top1", folder, results))
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
        ours = {rho for rho, k in results.rho_and_k(config, "main")}
        for rho in sorted({*known, None, *ours}, key=lambda rho: rho or 0.0):
            labels = (_model(model, rho), _rho(rho))
            keys.append(
                _Key(labels, config, config, model, rho, NUM_NEIGHBORS, known.get(rho))
            )
    return keys


def _keys_by_k(
    config: str, rows: Sequence[PublishedRow], results: Results, folder: str
) -> list[_Key]:
    """Lists rows of a table against k: the paper's, and what we have beyond them."""
    known = {(row.rho, row.k): row for row in rows if row.rho is not None}
    before = next((row for row in rows if row.rho is None), None)
    model = "" if before is None else before.model
    keys = [_Key((_model(model, None), ""), "", config, model, None, None, before)]
    for rho, k in sorted({*known, *results.rho_and_k(config, folder)}):
        labels = (_rho(rho), f"{k} *" if k == 1 else str(k))
        keys.append(
            _Key(labels, f"{rho:g}", config, model, rho, k, known.get((rho, k)))
        )
    return keys


def _compared(key: _Key, metric: str, folder: str, results: Results) -> ComparedRow:
    """Looks numbers up."""
    ours: Measured | None = None
    if key.config is not None:
        ours = results.measure(key.config, metric, folder=folder, rho=key.rho, k=key.k)
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
        "neighbors": None if key.rho is None else _DISTANCE_OF[folder],
        "runs": None if ours is None else ours.num_runs,
        "paper_runs": None if paper is None else paper.num_runs,
    }
    return ComparedRow(key.labels, tuple(cells), facts, key.block)


def _missing_note(
    configs: Sequence[str],
    metric: str,
    folder: str,
    results: Results,
    reasons: Mapping[str, str],
) -> str:
    """Explains why there are no numbers of ours, and how to make them."""
    part = "nnsweep" if folder.startswith("nnsweep_") else "main"
    missing = []
    for config in configs:
        problem = results.not_computed.get((config, metric))
        reason = problem or reasons.get(config) or "no results are there yet"
        missing.append(f"{config} ({reason})")
    return (
        f"No numbers of ours for {'; '.join(missing)}. With the data where "
        "configs/datasets.toml has it, they are made by: alphanet paper "
        f"--datasets {' '.join(configs)} --parts {part}"
    )


def _model(model: str, rho: float | None) -> str:
    if rho is None:
        return model or "Unchanged classifier"
    return f"\N{GREEK SMALL LETTER ALPHA}-{model}" if model else "AlphaNet"


def _rho(rho: float | None) -> str:
    return "" if rho is None else f"{rho:g}"
