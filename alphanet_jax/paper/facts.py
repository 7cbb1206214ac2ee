"""Tables of facts: datasets, sizes of their classes, networks and settings."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alphanet_jax.data.dataset import Dataset
from alphanet_jax.paper import published
from alphanet_jax.results.tables import Row, Table

__all__ = ["static_tables"]

_SPLITS = ("many", "medium", "few")


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

    configs = {
        row.config: row.dataset
        for table in published.tables().values()
        for row in table.rows
    }
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
