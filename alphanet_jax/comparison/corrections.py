"""The curve of a correction of the table: chosen on validation data, or over folds."""

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from alphanet_jax import posthoc, stages, streaming
from alphanet_jax.comparison import folds
from alphanet_jax.comparison.announce import Announced
from alphanet_jax.comparison.judging import Best, Chosen, Curve, Samples, measure
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.experiment.progress import Report, sometimes
from alphanet_jax.posthoc import Method, Outcome
from alphanet_jax.posthoc.curves import Predicted
from alphanet_jax.posthoc.method import Family

__all__ = ["Candidates", "Judge", "fold_datasets"]

_REPORT_EVERY = 2.0  # seconds


def _not_at_once(report: Report) -> Report:
    """Leaves out lines of the first seconds, and those too soon after another."""
    begin, say = time.monotonic(), sometimes(report, _REPORT_EVERY)

    def later(line: str) -> None:
        if time.monotonic() - begin >= _REPORT_EVERY:
            say(line)

    return later


def fold_datasets(
    data: Dataset, fold_of: np.ndarray
) -> Iterator[tuple[np.ndarray, Dataset]]:
    """Yields datasets whose test samples are held-out rows of the training samples.

    Args:
      data: The dataset.
      fold_of: The fold of every training row; see `folds.draw_folds`.

    Yields:
      The rows held out, and a dataset without validation samples that trains on the
      others.
    """
    train = data.train
    for fold in range(int(fold_of.max()) + 1):
        held = np.flatnonzero(fold_of == fold)
        rest = np.flatnonzero(fold_of != fold)
        with folds.take_rows(train.features, rest) as features:
            inside = dataclasses.replace(
                train, features=features, labels=train.labels[rest]
            )
            outside = dataclasses.replace(
                train, features=train.features[held], labels=train.labels[held]
            )
            yield (
                held,
                dataclasses.replace(data, train=inside, val=None, test=outside),
            )


def _inputs(
    data: Dataset, *, seed: int, most_per_class: int | None, with_val: bool
) -> dict[str, Any]:
    val = data.val if with_val else None
    return posthoc.make_inputs(
        data.train.features,
        data.train.labels,
        data.weight,
        data.bias,
        few_classes=data.splits["few"],
        val=None if val is None else (val.features, val.labels),
        seed=seed,
        most_per_class=most_per_class,
    )


@dataclasses.dataclass(frozen=True)
class Candidates:
    """A method over its knob, on validation samples alone; see `choosing.Points`.

    Attributes:
      name: Its name.
      knob_name: What its knob is; empty for none.
      knobs: Values of the knob, with shape `[K]`.
      choices: Further options of every point.
      val: Accuracies of few, medium, many and all, with shape `[K, 4]`.
      val_correct: Which samples are right, with shape `[K, n]`.
      families: The function from the knob to outcomes of every point; none where
        samples were held out of training.
    """

    name: str
    knob_name: str
    knobs: np.ndarray
    choices: Sequence[Mapping[str, Any]]
    val: np.ndarray
    val_correct: np.ndarray
    families: Sequence[Family]


class Judge:
    """Judges methods of the table on one dataset, with products taken once.

    Args:
      data: The dataset.
      val: Validation samples, or the training samples that are held out in turn, in
        the order of `rows`.
      test: Test samples.
      fold_of: The fold of every training row; None where there is validation data.
      products: Of test features, and of validation features by name 'val', with the
        given weights.
      seed: Of methods that are random.
      oracle: Whether a point is also chosen on test data.
      report: Takes lines of text about progress.
      most_per_class: Most samples of a class that heads are fitted to; None for all.
    """

    def __init__(
        self,
        data: Dataset,
        *,
        val: Samples,
        test: Samples,
        fold_of: np.ndarray | None,
        products: Mapping[str, np.ndarray],
        seed: int,
        oracle: bool,
        report: Report,
        most_per_class: int | None = None,
    ) -> None:
        self._most_per_class, self._kept = most_per_class, dict[Any, Any]()
        self._data, self._val, self._test = data, val, test
        self._fold_of, self._products = fold_of, products
        self._seed, self._oracle, self._report = seed, oracle, report

    def curve(self, method: Method) -> Curve:
        """Judges a method at every value of its knob.

        Raises:
          ValueError: If it cannot be applied.
        """
        held = None if self._fold_of is None else self._cross_validate(method)
        groups: dict[str, Any] = {"test": self._data.test.features}
        if held is None:
            assert self._data.val is not None
            groups["val"] = self._data.val.features
        best = Best(oracle=self._oracle)
        inputs = self._inputs()
        knobs, choices, correct, of_test = [], [], [], []
        of_val, val_correct = [], []
        for index, found in enumerate(self._predict(method, inputs, groups)):
            right = found.classes["test"] == self._test.labels
            test_row = self._test.accuracies(right[None])[0]
            if held is None:
                hits = found.classes["val"] == self._val.labels
            else:
                hits = held[index]
            val_row = self._val.accuracies(hits[None])[0]
            best.add(index, val_row, test_row, found)
            knobs.append(found.point.knob)
            choices.append(dict(found.point.choice))
            correct.append(right)
            of_val.append(val_row)
            val_correct.append(hits)
            of_test.append(test_row)
        measured = {
            index: self._measure(method, inputs, index, found)
            for index, found in best.by_index().items()
        }
        return Curve(
            name=method.name,
            linear=method.linear,
            source=method.source,
            knob_name=method.knob or "",
            knobs=np.array(knobs),
            choices=choices,
            val=np.array(of_val),
            test=np.array(of_test),
            correct=np.array(correct),
            val_correct=np.array(val_correct),
            chosen={name: measured[index] for name, index in best.index.items()},
        )

    def on_validation(self, method: Method) -> Candidates:
        """Judges a method at every value of its knob, on validation samples alone.

        Raises:
          ValueError: If it cannot be applied.
        """
        knobs, choices, hits, families = [], [], [], []
        if self._fold_of is None:
            assert self._data.val is not None
            inputs = self._inputs()
            groups = {"val": self._data.val.features}
            for found in self._predict(method, inputs, groups):
                knobs.append(found.point.knob)
                choices.append(found.point.choice)
                hits.append(found.classes["val"] == self._val.labels)
                families.append(found.point.family)
            correct = np.array(hits)
        else:
            correct = self._cross_validate(method)
            for choice in method.choices:
                for knob in method.grid or (method.neutral,):
                    knobs.append(knob)
                    choices.append(choice)
        return Candidates(
            name=method.name,
            knob_name=method.knob or "",
            knobs=np.array(knobs),
            choices=choices,
            val=self._val.accuracies(correct),
            val_correct=correct,
            families=families,
        )

    def _inputs(self) -> dict[str, Any]:
        """Gathers what methods need; all of them keep what others can use."""
        found = _inputs(
            self._data,
            seed=self._seed,
            most_per_class=self._most_per_class,
            with_val=True,
        )
        return found | {"kept": self._kept}

    def _predict(
        self,
        method: Method,
        inputs: Mapping[str, Any],
        groups: Mapping[str, Any],
        *,
        shared: bool = True,
        announced: Announced | None = None,
        where: str = "",
    ) -> Iterator[Predicted]:
        """Yields predictions, and says how far it is."""
        say = _not_at_once(self._report)
        total = len(method.choices) * max(1, len(method.grid))
        if announced is None:
            announced = Announced(method, self._report)
            announced.begin(inputs)
        given = {"shared": self._products} if shared and method.rescales else {}
        inputs = {**inputs, "on_step": announced.on_step}
        points = posthoc.curve(method, inputs, groups, **given)
        for done, found in enumerate(points, start=1):
            say(f"{method.name}{where}: point {done} of {total}")
            stages.done(1, "points")
            yield found

    def _cross_validate(self, method: Method) -> np.ndarray:
        """Computes which rows that it did not see a method gets right, `[K, n]`."""
        assert self._fold_of is not None
        data, held_rows = self._data, np.flatnonzero(self._fold_of >= 0)
        place = np.zeros(len(self._fold_of), np.int64)
        place[held_rows] = np.arange(len(held_rows))
        hits: list[np.ndarray] = []
        num_folds = int(self._fold_of.max()) + 1
        announced = Announced(method, self._report, rounds=num_folds)
        for number, (rows, inside) in enumerate(fold_datasets(data, self._fold_of)):
            inputs = _inputs(
                inside,
                seed=self._seed,
                most_per_class=self._most_per_class,
                with_val=False,
            )
            if number == 0:
                announced.begin(inputs)
            groups = {"held": inside.test.features}
            where = f", fold {number + 1}"
            points = self._predict(
                method,
                inputs,
                groups,
                shared=False,
                announced=announced,
                where=where,
            )
            for index, found in enumerate(points):
                if index == len(hits):
                    hits.append(np.zeros(len(held_rows), bool))
                hits[index][place[rows]] = found.classes["held"] == inside.test.labels
        return np.array(hits)

    def _measure(
        self,
        method: Method,
        inputs: Mapping[str, Any],
        index: int,
        found: Predicted,
    ) -> Chosen:
        predictions = found.classes["test"]
        logits = self._test_logits(method, inputs, found.point.outcome)
        metrics = measure(logits, predictions, self._test)
        return Chosen(index, metrics, predictions == self._test.labels)

    def _test_logits(
        self, method: Method, inputs: Mapping[str, Any], outcome: Outcome
    ) -> Iterator[np.ndarray]:
        """Yields logits of test samples in order, some at a time."""
        if method.rescales:
            assert isinstance(outcome, posthoc.Linear)
            products = self._products["test"]
            shared = posthoc.SharedProducts(products, inputs["weight"])
            yield from shared.logits(outcome)
            return
        features = self._data.test.features
        for chunk in streaming.float_chunks(features, width=self._test.num_classes):
            yield np.asarray(posthoc.logits(outcome, chunk))
