"""What methods are judged on: validation samples, or training samples in folds.

Notation: n samples, C classes.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from alphanet_jax import posthoc
from alphanet_jax.comparison import folds
from alphanet_jax.comparison.judging import Samples, is_balanced
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.splits import SPLITS
from alphanet_jax.stages import Report, stage

__all__ = ["Setup", "prepare"]


class Setup(NamedTuple):
    """What all methods are judged on."""

    val: Samples  # validation samples, or training samples that are held out in turn
    test: Samples
    fold_of: np.ndarray | None  # fold of every training row; None with validation data
    products: Mapping[str, np.ndarray]  # with the given weights, by group
    notes: list[str]

    @property
    def knobs_by(self) -> str:
        """What knobs are chosen by."""
        return "validation" if self.fold_of is None else "cross-validation"

    def describe(self) -> str:
        """Says what knobs are chosen by."""
        num, num_test = len(self.val.labels), len(self.test.labels)
        if self.fold_of is None:
            return f"{num} validation and {num_test} test samples"
        return (
            f"knobs by cross-validation on {num} training samples in "
            f"{int(self.fold_of.max()) + 1} folds, {num_test} test samples"
        )


def prepare(
    data: Dataset,
    *,
    num_folds: int,
    seed: int,
    tests: bool = True,
    report: Report = lambda line: None,
) -> Setup:
    """Draws folds where there is no validation data, and takes products.

    Args:
      data: The dataset.
      num_folds: Number of folds.
      seed: Of the folds.
      tests: Whether methods are to be tested; otherwise there are no products of test
        features.
      report: Takes lines of text about progress.

    Raises:
      UserError: If there are no few samples to choose a knob by or to test on.
    """
    num_classes = len(data.bias)
    test = Samples(data.test.labels, data.splits, num_classes)
    fold_of = None
    groups = {"test": data.test} if tests else {}
    if data.val is not None:
        groups["val"], labels = data.val, data.val.labels
    else:
        fold_of = folds.draw_folds(data.train.labels, num_folds=num_folds, seed=seed)
        labels = data.train.labels[fold_of >= 0]
    val = Samples(labels, data.splits, num_classes, by_class=not is_balanced(labels))
    if tests:
        _check_few(test, "test data have no samples of few classes")
    _check_few(
        val,
        "validation data have no samples of few classes; without validation data, "
        "--config.training.val_datagrp= (empty), knobs are chosen on training samples"
        if fold_of is None
        else "no few class has two training samples, so that none can be held out to "
        "choose knobs by; validation data are needed",
    )
    count = sum(len(group.labels) for group in groups.values())
    with stage(report, "products with the classifier", total=count, unit="samples"):
        products = {
            name: posthoc.products(group.features, data.weight)
            for name, group in groups.items()
        }
    with stage(report, "looking at the classifier"):
        notes = _notes(data, val, fold_of, products.get("test"))
    return Setup(val, test, fold_of, products, notes)


def _check_few(samples: Samples, problem: str) -> None:
    if not np.isin(samples.labels, samples.splits["few"]).any():
        raise UserError(problem)


def _notes(
    data: Dataset,
    val: Samples,
    fold_of: np.ndarray | None,
    test_products: np.ndarray | None,
) -> list[str]:
    """Says what a reader of the numbers must know."""
    notes = []
    if fold_of is None:
        if val.by_class:
            notes.append(
                "classes have unequal numbers of validation samples: validation "
                "accuracies are means over classes"
            )
    else:
        few = data.splits["few"]
        own = _accuracy_on(*_products_of_few(data), data, few)
        new = ""
        if test_products is not None:
            share = _accuracy_on(test_products, data.test.labels, data, few)
            new = f" and {100 * share:.1f} % of test ones"
        notes.append(
            "there is no validation data: knobs are chosen by cross-validation on "
            "training samples, by means over classes. The classifier itself has seen "
            f"them: it gets {100 * own:.1f} % of its few training samples right{new}, "
            "so methods that keep it seem to need less of a correction than they do, "
            "or none; those that fit a classifier anew do not suffer from that"
        )
    if test_products is None:
        return notes
    missing = [
        name
        for name in SPLITS[1:]
        if not np.isin(data.test.labels, data.splits[name]).any()
    ]
    if missing:
        notes.append(f"test data have no samples of {' or '.join(missing)} classes")
    return notes


def _products_of_few(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(np.isin(data.train.labels, data.splits["few"]))
    features = np.asarray(data.train.features)[rows]
    return posthoc.products(features, data.weight), data.train.labels[rows]


def _accuracy_on(
    products: np.ndarray, labels: np.ndarray, data: Dataset, classes: np.ndarray
) -> float:
    rows = np.isin(labels, classes)
    right = (products[rows] + data.bias).argmax(axis=1) == labels[rows]
    return float(right.mean())
