"""What results of the original do not record, made again with their data.

It saved neither predictions nor labels nor the accuracy of the unchanged classifier,
which is in a file of its own (`baseline_eval_file`): its own reports computed these
anew as well. What is recorded is never replaced, and what is computed is compared with
it.

Notation: S seeds, n test samples, C classes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from alphanet_jax.data import class_files
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError, printable
from alphanet_jax.results import accuracy, corrected, predictions, sets
from alphanet_jax.results.corrected import Head
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.pytorch import recorded_arrays
from alphanet_jax.results.sets import ResultFile
from alphanet_jax.splits import SPLITS

__all__ = ["BASELINE_FLAG", "NEEDS_DATA", "Recomputation"]

BASELINE_FLAG: Final = "baseline_file"
# What the features and labels themselves are needed for.
NEEDS_DATA: Final = ("test_labels", "test_pred", "baseline_test_pred", "class_means")
_OF_BASELINE: Final = "baseline_"
# Endings of a baseline_eval_file: the original's, and ours.
_ENDINGS: Final = (".pkl", ".pth", ".npz")
# Samples that may be predicted otherwise on another machine, of those of near scores.
_FEW_SAMPLES, _FEW_OF_ALL = 3, 0.002


class Recomputation:
    """Makes arrays that a result of the original's lacks.

    Args:
      finder: Finds the data of results.
      baseline: File with the result of the unchanged classifier; by default the
        registry's `baseline_eval_file`, where it is there.
      report: Takes lines of text about progress.
    """

    def __init__(
        self,
        finder: DataFinder | None = None,
        *,
        baseline: Path | None = None,
        report: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._finder = finder or DataFinder(report=report)
        self._baseline, self._report = baseline, report
        self._baselines: dict[Path, ResultFile] = {}
        self._before: dict[int, np.ndarray] = {}
        self._no_data: dict[Path, str] = {}

    def __call__(self, file: ResultFile, name: str) -> np.ndarray:
        """Makes one array.

        Args:
          file: The result.
          name: Name of the array in `schema.SCHEMA`.

        Raises:
          UserError: If it cannot be made: the original did not record it, and what it
            follows from is not at hand.
        """
        if name == "proper_name":
            return np.asarray(self._proper_name(file))
        if name == "label_names":
            return self._label_names(file)
        if name.startswith(f"{_OF_BASELINE}val_"):
            return np.asarray(np.nan)
        if name in ("val_accuracy", "val_acc_per_split"):
            shape = (file.num_runs, 0) + (3,) * (name != "val_accuracy")
            return np.zeros(shape)
        if name == "neighbor_distances":
            return np.full(file.arrays["neighbors"].shape, np.nan, np.float32)
        if name in NEEDS_DATA:
            return self._of_data(file, name)
        if name.startswith(_OF_BASELINE):
            of_file = self._of_baseline_file(file, name.removeprefix(_OF_BASELINE))
            if of_file is not None:
                return of_file
        return self._accuracy(file, name)

    def _proper_name(self, file: ResultFile) -> str:
        try:
            return self._finder.entry(file).proper_name
        except UserError:
            return str(file.arrays["dataset"])

    def _label_names(self, file: ResultFile) -> np.ndarray:
        """Reads the names of classes, which need none of the other data."""
        none = np.zeros(0, np.str_)
        try:
            entry, root = self._finder.entry(file), self._finder.root(file)
        except UserError:
            return none
        count = len(file.arrays["class_counts"])
        try:
            names = class_files.read_label_names(entry, root, num_classes=count)
        except UserError as error:
            self._report(f"note: classes go by their numbers: {error}")
            return none
        return np.asarray(names or (), np.str_)

    def _of_data(self, file: ResultFile, name: str) -> np.ndarray:
        if file.path not in self._no_data:
            try:
                data = self._finder.dataset(file)
            except UserError as error:
                self._no_data[file.path] = str(error)
        if file.path in self._no_data:
            reason = self._no_data[file.path]
            reason = reason.removeprefix(f"the data of {file.path} is needed: ")
            raise UserError(
                f"{file.path} is a result of the original, which does not record "
                f"{name}: {reason}"
            )
        if name == "class_means":
            return np.asarray(self._finder.class_means(data), np.float32)
        if name == "test_labels":
            return np.asarray(data.test.labels)
        if name == "baseline_test_pred":
            return self._predict_before(data)
        self._report(f"predicting the test samples of {file.path}")
        predicted = self._predict(file, data)
        _check_predictions(file, data, predicted)
        return predicted

    def _predict_before(self, data: Dataset) -> np.ndarray:
        """Predicts with the unchanged classifier, once for each dataset."""
        if id(data) not in self._before:
            head = Head(data.weight, data.bias)
            self._before[id(data)] = predictions.predict(head, data.test.features)
        return self._before[id(data)]

    def _predict(self, file: ResultFile, data: Dataset) -> np.ndarray:
        """Predicts with every corrected classifier; shape `[S, n]`."""
        original = Head(data.weight, data.bias)
        seeds = file.arrays["seeds"].tolist()
        arrays: Mapping[str, np.ndarray] = {
            name: file.array(name) for name in ("seeds", "few_classes", "weight_few")
        }
        return np.stack(
            [
                predictions.predict(
                    corrected.corrected_head(original, arrays, seed), data.test.features
                )
                for seed in seeds
            ]
        )

    def _of_baseline_file(self, file: ResultFile, name: str) -> np.ndarray | None:
        """Takes an array of the baseline's own file; None where there is no file."""
        baseline = self._find_baseline(file)
        if baseline is None:
            return None
        arrays = recorded_arrays(baseline.arrays)
        for own in (f"{_OF_BASELINE}{name}", name):
            if own in arrays:
                array = np.asarray(arrays[own])
                return array if own.startswith(_OF_BASELINE) else array[0]
        return None

    def _find_baseline(self, file: ResultFile) -> ResultFile | None:
        path = self._baseline or self._registered(file)
        if path is None:
            return None
        if path not in self._baselines:
            self._baselines[path] = self._load_baseline(path)
        found = self._baselines[path]
        for name in ("few_classes", "medium_classes", "many_classes", "class_counts"):
            if not np.array_equal(found.arrays[name], file.arrays[name]):
                raise UserError(
                    f"{path} is not the baseline of {file.path}: {name} differs; name "
                    f"another with --{BASELINE_FLAG}"
                )
        return found

    def _registered(self, file: ResultFile) -> Path | None:
        """Finds the registry's file, whatever program wrote it."""
        try:
            entry, root = self._finder.entry(file), self._finder.root(file)
        except UserError:
            return None
        if entry.baseline_eval_file is None:
            return None
        path = root / entry.baseline_eval_file
        candidates = [path, *(path.with_suffix(ending) for ending in _ENDINGS)]
        return next((each for each in candidates if each.is_file()), None)

    def _load_baseline(self, path: Path) -> ResultFile:
        found = sets.load_file(path)
        is_ours = f"{_OF_BASELINE}test_accuracy" in recorded_arrays(found.arrays)
        if not is_ours and not found.config.get("alphanet", {}).get("dummy_mode"):
            raise UserError(
                f"{path} is no baseline: it was trained (its alphanet.dummy_mode is "
                f"False); name another with --{BASELINE_FLAG}"
            )
        self._report(f"the unchanged classifier: {path}")
        return found

    def _accuracy(self, file: ResultFile, name: str) -> np.ndarray:
        """Computes an accuracy from predictions, where it is not recorded."""
        before = name.startswith(_OF_BASELINE)
        kind = name.removeprefix(_OF_BASELINE).removeprefix("test_")
        if kind not in ("accuracy", "acc_per_split", "acc_per_class"):
            raise UserError(
                f"{file.path} is a result of the original, which does not record {name}"
            )
        pred = self._baseline_pred(file) if before else file.array("test_pred")
        labels = file.array("test_labels")
        right = accuracy.is_correct(pred, labels)
        if kind == "acc_per_class":
            count = len(file.arrays["class_counts"])
            return accuracy.per_class(right, labels, num_classes=count)
        splits = {split: file.arrays[f"{split}_classes"] for split in SPLITS}
        parts = accuracy.per_split(right, labels, splits)
        return np.asarray(parts[..., -1] if kind == "accuracy" else parts[..., :-1])

    def _baseline_pred(self, file: ResultFile) -> np.ndarray:
        try:
            return file.array("baseline_test_pred")
        except UserError as error:
            raise UserError(
                f"{error}; or name the unchanged classifier's result with "
                f"--{BASELINE_FLAG}; a table without it has --noshow_baselines"
            ) from None


def _check_predictions(file: ResultFile, data: Dataset, predicted: np.ndarray) -> None:
    """Checks that predictions give the accuracy that is recorded.

    Raises:
      UserError: If they do not, by more than samples of nearly equal scores: the test
        samples are others.
    """
    labels, arrays = np.asarray(data.test.labels), recorded_arrays(file.arrays)
    allowed = max(_FEW_SAMPLES, round(_FEW_OF_ALL * len(labels)))
    where = printable(str(data.name))
    if "test_acc_per_class" in arrays:
        counts = np.bincount(labels, minlength=data.num_classes)
        found = accuracy.per_class(
            predicted == labels, labels, num_classes=data.num_classes
        )
        differ = np.abs(found - arrays["test_acc_per_class"])[:, counts > 0]
        others = np.nan_to_num(differ, nan=1.0) * counts[counts > 0]
        if others.sum(axis=1).max() > allowed + 0.5:
            worst = np.flatnonzero(counts)[int(others.max(axis=0).argmax())]
            recorded = float(arrays["test_acc_per_class"][0, worst])
            raise UserError(
                f"the test samples of {where} are not those that {file.path} was "
                f"tested on: of class {worst}, {100 * found[0, worst]:.1f} % are "
                f"right, and by the result {100 * recorded:.1f} %"
            )
    elif "test_accuracy" in arrays:
        found = (predicted == labels).mean(axis=1)
        if (
            np.abs(found - arrays["test_accuracy"]) * len(labels)
        ).max() > allowed + 0.5:
            raise UserError(
                f"the test samples of {where} are not those that {file.path} was "
                f"tested on: {100 * found[0]:.1f} % are right, and by the result "
                f"{100 * float(arrays['test_accuracy'][0]):.1f} %"
            )
