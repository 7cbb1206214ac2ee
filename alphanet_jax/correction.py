"""The one call: arrays in, a corrected classifier out.

Notation: n samples, d feature dimensions, C classes, F 'few' classes, S seeds,
k neighbors.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import files, splits
from alphanet_jax.config.fields import FIELDS, Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, count_of, did_you_mean
from alphanet_jax.experiment import devices, training
from alphanet_jax.experiment.progress import Report
from alphanet_jax.figures import one_file
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.results import (
    accuracy,
    combo_reports,
    combos,
    corrected,
    originals,
    predictions,
    saved_heads,
)
from alphanet_jax.results.accuracy_tables import AccuracyReport
from alphanet_jax.results.corrected import Head, Which
from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = [
    "METHODS",
    "AccuracyReport",
    "Correction",
    "Head",
    "Which",
    "fit",
    "load_correction",
]

# What the call itself decides.
_DECIDED = ("dataset", "registry", "data_root", "labels_by", "few_below", "many_above",
            "classifier_key", "classifier_normalize", "train_datagrp", "val_datagrp",
            "test_datagrp")  # fmt: skip
# What the seeds were corrected from, beside the result.
_ORIGINAL = "original_head.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Correction:
    """What `fit` returns: the corrected classifiers of all seeds, and what was learned.

    Attributes:
      original: The classifier as it was.
      result: Arrays of a result file, which `alphanet_jax.results.schema` lists.
      config: The settings that it was made with, as a config holds them.
      has_validation: Whether epochs and the best seed were chosen by validation data.
      data: What it was made with, where that is in memory.
      remarks: What a person should know of it, a line each.
    """

    original: Head
    result: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    has_validation: bool
    data: Dataset | None = None
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        few, total = len(self.splits["few"]), len(self.original.weight)
        first = (
            f"Correction of {str(self.result['proper_name'])!r}: {few} few of {total} "
            f"classes, {count_of(len(self.result['seeds']), 'seed')}"
        )
        return "\n".join([first, *self.remarks])

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Class ids of 'few', 'medium' and 'many'."""
        return {name: self.result[f"{name}_classes"] for name in splits.SPLITS}

    @property
    def alphas(self) -> np.ndarray:
        """Coefficients of the sources of every few class, shape `[S, F, k + 1]`."""
        return self.result["alphas"]

    @property
    def neighbors(self) -> np.ndarray:
        """Neighbors of every few class, nearest first, with shape `[F, k]`.

        Where each seed has its own, the shape is `[S, F, k]`.
        """
        return self.result["neighbors"]

    @property
    def weight(self) -> np.ndarray:
        """Weights of the best seed's classifier, with shape `[C, d]`."""
        return self.head().weight

    @property
    def bias(self) -> np.ndarray:
        """Biases of the classifier, with shape `[C]`; they are those that it had."""
        return self.head().bias

    def val_accuracy(self) -> np.ndarray:
        """Computes each seed's overall validation accuracy at its selected epoch.

        Returns:
          Fractions, with shape `[S]`; NaN without validation data.
        """
        if not self.has_validation:
            return np.full(len(self.result["seeds"]), np.nan)
        return corrected.val_accuracy(self.result)

    def head(self, seed: Which = "best") -> Head:
        """Builds a corrected classifier.

        Args:
          seed: 'best': the seed with the highest validation accuracy, the first of
            equals, or the mean where there is no validation data; 'mean': the mean of
            all seeds' classifiers; or one of the seeds.

        Returns:
          The classifier; only the weights of few classes differ from the original's.

        Raises:
          ValueError: If there is no such seed.
        """
        return corrected.corrected_head(self.original, self.result, seed)

    def logits(self, features: ArrayLike, *, seed: Which = "best") -> np.ndarray:
        """Computes the logits of features.

        Args:
          features: Features, with shape `[n, d]`.
          seed: As `head` takes it.

        Returns:
          Logits, with shape `[n, C]`, float32.
        """
        return predictions.logits(self.head(seed), features)

    def predict(self, features: ArrayLike, *, seed: Which = "best") -> np.ndarray:
        """Predicts the classes of features, with shape `[n]`."""
        return predictions.predict(self.head(seed), features)

    def report(
        self, features: ArrayLike, labels: ArrayLike, *, seed: Which = "best"
    ) -> AccuracyReport:
        """Computes accuracy before and after on some samples.

        Args:
          features: Features, with shape `[n, d]`.
          labels: Classes of the rows, with shape `[n]`.
          seed: As `head` takes it.

        Returns:
          The accuracies, which print as a table.
        """
        truth = np.asarray(as_numpy(labels)).astype(np.int64).reshape(-1)
        heads = (self.original, self.head(seed))
        predicted = np.stack([predictions.predict(head, features) for head in heads])
        fractions = accuracy.per_split(predicted == truth, truth, self.splits)
        first, second = (
            dict(zip(accuracy.PARTS, row.tolist(), strict=True)) for row in fractions
        )
        return AccuracyReport(first, second, str(self.result["proper_name"]))

    def explain(self, label: int | str, *, mistakes: int | None = 3) -> str:
        """Explains what was learned for a few class, and what that changed.

        Args:
          label: The class's number or name.
          mistakes: How many misclassifications to list; None for all.

        Returns:
          Text: the combination of classifiers, mean and deviation over seeds, and
          mistakes before and after.

        Raises:
          UserError: If there is no such few class.
        """
        runs = self._as_set()
        (found,) = combos.find_classes(runs, [str(label)], what="class")
        shown = combos.combination(runs, found, combos.common_neighbors(runs))
        return combo_reports.format_text([shown], mistake_n=mistakes)

    def plot(
        self, kind: str, file: Path | str | os.PathLike[str], **options: Any
    ) -> list[Path]:
        """Draws a figure, and writes the numbers that it draws as CSV beside it.

        Args:
          kind: A kind of figure of `alphanet plot`, such as 'class_changes'; see
            `alphanet_jax.figures.KINDS`.
          file: Where to write it. Its ending, .png, .svg, .pdf or .pgf, is the format.
          **options: The options that `alphanet plot KIND --help` lists, such as
            `width="full"`; and `style`, one of its styles of that format.

        Returns:
          The files that were written.

        Raises:
          UserError: If there is no such kind or option, or it needs data that are not
            there, or matplotlib; nothing is written then.
        """
        runs = self._as_set()
        sources = Sources([runs], originals.data_finder(runs.files[0], self.data))
        return one_file.draw_file(kind, sources, file, options)

    def _as_set(self) -> ResultSet:
        file = ResultFile(Path("the correction"), self.result, self.config)
        return ResultSet("AlphaNet", (file,))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
    ) -> "Correction":
        """Does what `load_correction` does."""
        return load_correction(path, weight=weight, bias=bias)

    def save(
        self,
        path: Path | str,
        *,
        seed: Which = "best",
        into: Path | str | Sequence[Path | str] | None = None,
        key: str = "",
    ) -> tuple[str, ...]:
        """Writes a corrected classifier, whole or not at all.

        Args:
          path: The file: `weight` and `bias` in `.npz`, `.safetensors` or, where
            PyTorch is installed, `.pth`; or the copy of `into`.
          seed: As `head` takes it.
          into: Checkpoint that the classifier is from, or the files of its experts in
            order, which then `path` is a directory for copies of. In a copy all but
            the changed rows is byte for byte as it was. PyTorch is not needed.
          key: Key of the classifier in it, such as `state_dict.fc`; by default it is
            found.

        Returns:
          Lines about what was written.

        Raises:
          UserError: If it has another ending, cannot be written, or is there already
            and not a `.npz` of a classifier alone; or if the checkpoint has another
            classifier than `original`.
        """
        path, head = Path(path), self.head(seed)
        if into is None:
            # A checkpoint of the user's own may have any of the other endings.
            overwrite = path.suffix == ".npz"
            return tuple(saved_heads.save_alone(head, path, overwrite=overwrite))
        given = [into] if isinstance(into, str | Path) else into
        paths = [Path(one) for one in given]
        checkpoint = saved_heads.open_original(paths, original=self.original, key=key)
        return tuple(
            saved_heads.save_into(checkpoint, head, path, original=self.original)
        )


def fit(
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    val: tuple[ArrayLike, ArrayLike] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    splits: Mapping[str, ArrayLike] | None = None,
    few_below: float = 20,
    many_above: float = 100,
    label_names: Sequence[str] | None = None,
    method: str = "alphanet",
    name: str = "arrays",
    rho: float = 0.5,
    seeds: int = 10,
    workdir: Path | str | None = None,
    report: Report = lambda line: None,
    **settings: Any,
) -> Correction:
    """Corrects the rare classes of a trained linear classifier.

    Features of any float type are used where they are, and only copied from the memory
    of other devices; they must not change afterwards.

    Args:
      features: Training features, with shape `[n, d]`: arrays of NumPy, JAX or
        PyTorch, or mapped from a file.
      labels: Classes of the rows, with shape `[n]`.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Its biases, with shape `[C]`; None for zeros.
      val: Validation features and labels, by which epochs and the best seed are
        chosen; without them the last epoch and the mean of all seeds count.
      test: Test features and labels; by default those of `val`, or else of training.
      splits: Class ids of 'few', 'medium' and 'many'; by default from counts.
      few_below: Classes with fewer training samples are 'few', where `splits` is None.
      many_above: Classes with more training samples are 'many', where `splits` is None.
      label_names: Class names in the order of class ids, or None.
      method: How to correct, one of `METHODS`.
      name: What to call the data in tables.
      rho: Base samples of an epoch for each few sample: the smaller, the more the few
        classes gain and the others lose.
      seeds: How many seeds to train.
      workdir: Where `result.npz` is written, and the classifier as it was, for
        `load_correction`; None for nowhere.
      report: Takes lines of text about progress, such as `print`.
      **settings: Further fields of `alphanet_jax.Settings`, such as `n_neighbors`.

    Returns:
      The corrected classifiers, and what was learned.

    Raises:
      UserError: If anything is not right, naming the argument.

    Examples:
      >>> rng = np.random.default_rng(0)
      >>> centers = rng.normal(size=(6, 8))
      >>> y = np.repeat(np.arange(6), [120, 110, 60, 50, 9, 8])
      >>> x = centers[y] + 0.5 * rng.normal(size=(len(y), 8))
      >>> correction = fit(x, y, centers, n_neighbors=2, seeds=2, train_epochs=3)
      >>> correction.weight.shape, correction.splits["few"].tolist()
      ((6, 8), [4, 5])
      >>> bool((correction.weight[:4] == centers[:4].astype("float32")).all())
      True
    """
    _check_names(method, settings)
    remarks: list[str] = []
    say = _listen(remarks, report)
    chosen = Settings(rho=rho, seeds=seeds, **settings)
    data = _make_dataset(
        _pair(features, labels),
        None if val is None else _pair(*val),
        None if test is None else _pair(*test),
        weight=np.asarray(as_numpy(weight)),
        bias=None if bias is None else np.asarray(as_numpy(bias)),
        given_splits=splits,
        limits=(few_below, many_above),
        label_names=label_names,
        name=name,
        report=say,
    )
    result = METHODS[method](chosen, data, workdir, say)
    original = Head(data.weight, data.bias)
    if workdir is not None and devices.is_first_process():
        with files.replacing(Path(workdir) / _ORIGINAL) as temporary:
            files.write_npz(temporary, original._asdict())
    if harm := corrected.remark_on_harm(result):
        say(harm)
    config, has_val = chosen.as_config(), data.val is not None
    return Correction(original, result, config, has_val, data, tuple(remarks))


def _listen(remarks: list[str], report: Report) -> Report:
    """Returns who takes lines as `report` does, and keeps what a person should know."""

    def say(line: str) -> None:
        if line.startswith(("note: ", "warning: ")):
            remarks.append(line)
        report(line)

    return say


def _fit_alphanet(
    settings: Settings, data: Dataset, workdir: Path | str | None, report: Report
) -> Mapping[str, np.ndarray]:
    """Trains AlphaNet; returns the arrays of the result."""
    (trained,) = training.train(settings, data, workdir=workdir, report=report)
    return trained.arrays()


# How to correct. Each takes settings, a dataset, where to write the result, and who
# takes lines of text; and returns the arrays of the result.
METHODS: Mapping[
    str,
    Callable[[Settings, Dataset, Path | str | None, Report], Mapping[str, np.ndarray]],
] = MappingProxyType({"alphanet": _fit_alphanet})


def load_correction(
    path: Path | str,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
) -> Correction:
    """Loads a correction from its result.

    Args:
      path: What `workdir` was of `fit`, or of the commands `fit` and `train`; or the
        `result.npz` in it.
      weight: Weights of the classifier as it was, with shape `[C, d]`; by default
        those that `fit` kept beside the result, or those of the dataset that it names.
      bias: Its biases, with shape `[C]`; where `weight` is given, None is for zeros.

    Returns:
      The correction, without its data.

    Raises:
      UserError: If there is no result, or no such classifier, or it is not the one
        that the result was made with.
    """
    file = originals.open_result(Path(path))
    if weight is None and bias is not None:
        raise UserError("bias is given, but no weight; give both, or none of them")
    original = (
        originals.find(file, file.path.with_name(_ORIGINAL))
        if weight is None
        else originals.check(file, as_numpy(weight), as_numpy(bias))
    )
    harm = corrected.remark_on_harm(file.arrays)
    return Correction(
        original=original,
        result=file.arrays,
        config=file.config,
        has_validation=corrected.has_validation(file.arrays),
        remarks=() if harm is None else (harm,),
    )


def _check_names(method: str, settings: Mapping[str, Any]) -> None:
    """Checks the names of a method and of further settings."""
    if method not in METHODS:
        raise UserError(f"unknown method {method!r}; {did_you_mean(method, METHODS)}")
    known = [f.attribute for f in FIELDS if f.attribute not in _DECIDED]
    for given in settings:
        if given not in known:
            raise UserError(f"unknown setting {given!r}; {did_you_mean(given, known)}")


def _make_dataset(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray] | None,
    *,
    weight: np.ndarray,
    bias: np.ndarray | None,
    given_splits: Mapping[str, ArrayLike] | None,
    limits: tuple[float, float],
    label_names: Sequence[str] | None,
    name: str,
    report: Report,
) -> Dataset:
    if test is None:
        test = train if val is None else val
        which = "training" if val is None else "validation"
        report(f"note: there is no test data; accuracies are those of {which} data")
    if given_splits is None:
        few_below, many_above = limits
        truth = np.asarray(train[1]).reshape(-1)
        whole = truth[(truth >= 0) & (truth < len(weight))].astype(np.int64)
        counts = np.bincount(whole, minlength=len(weight))
        given_splits = splits.splits_from_counts(
            counts, few_below=few_below, many_above=many_above
        )
        sizes = ", ".join(f"{len(given_splits[s])} {s}" for s in splits.SPLITS)
        report(
            f"splits by count: {sizes} classes (few below {few_below:g}, many above "
            f"{many_above:g} training samples; there are {counts.min()} to "
            f"{counts.max()})"
        )
    return Dataset.from_arrays(
        train=train,
        val=val,
        test=test,
        weight=weight,
        bias=bias,
        splits=given_splits,
        label_names=label_names,
        name=name,
    )


def _pair(features: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return as_numpy(features), as_numpy(labels)
