"""The one call: arrays in, a corrected classifier out.

Notation: n samples, d feature dimensions, C classes.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import files, splits
from alphanet_jax.comparison import choosing
from alphanet_jax.comparison import fitting as methods
from alphanet_jax.comparison.fitting import Asked
from alphanet_jax.config.fields import FIELDS, Settings
from alphanet_jax.correction.outcome import ORIGINAL_FILE, Correction
from alphanet_jax.data import checks
from alphanet_jax.data.dataset import Dataset, classifier_of_arrays
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.experiment import devices, keeping, training
from alphanet_jax.experiment.progress import Report
from alphanet_jax.results import corrected, recorded
from alphanet_jax.results.corrected import Head
from alphanet_jax.results.sets import ALPHANET
from alphanet_jax.stages import wrap

__all__ = ["METHODS", "fit"]

# How to correct.
METHODS = (ALPHANET, methods.AUTO, *methods.linear_methods())
# What the call itself decides.
_DECIDED = ("dataset", "registry", "data_root", "labels_by", "few_below", "many_above",
            "classifier_key", "classifier_normalize", "train_datagrp", "val_datagrp",
            "test_datagrp")  # fmt: skip
# Settings that other methods than AlphaNet have a use for.
_OF_ALL = ("n_neighbors", "nn_dist", "seed")
_RHO, _SEEDS = 0.5, 10


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
    method: str = ALPHANET,
    targets: Sequence[str] = (),
    refit_on_val: bool = False,
    most_per_class: int | None = None,
    name: str = "arrays",
    rho: float = _RHO,
    seeds: int = _SEEDS,
    workdir: Path | str | None = None,
    overwrite: bool = False,
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
      method: How to correct, one of `METHODS`; 'auto' compares those that take
        seconds, and chooses.
      targets: What the correction must keep, such as `["overall >= -1"]`: with a sign,
        points against the unchanged classifier; without, percent. Judged on validation
        data, with its uncertainty; see `alphanet_jax.comparison.choosing`.
      refit_on_val: Whether the chosen method is fitted on training and validation
        samples together in the end; then only test data can judge it.
      most_per_class: Most samples of a class that convex heads are fitted to, such as
        alphanet+, each of which then stands for several; None for all.
      name: What to call the data in tables.
      rho: Of AlphaNet, base samples of an epoch for each few sample: the smaller, the
        more the few classes gain and the others lose.
      seeds: Of AlphaNet, how many seeds to train.
      workdir: Where `result.npz` is written, and the classifier as it was, for
        `load_correction`; None for nowhere.
      overwrite: Whether a result of something else there may be replaced.
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
    _check_kinds(method, targets, workdir, report)
    asked = Asked(
        method if method == ALPHANET else methods.method_name(method),
        tuple(choosing.parse_target(each) for each in targets),
        refit_on_val,
        settings.get("seed", 0),
        most_per_class,
    )
    _check_names(asked, settings, rho=rho, seeds=seeds)
    remarks: list[str] = []
    say = _listen(remarks, report)
    chosen = Settings(rho=rho, seeds=seeds, **settings)
    data = _make_dataset(
        _pair(features, labels),
        _given(val),
        _given(test),
        **classifier_of_arrays(as_numpy(weight), as_numpy(bias)),
        given_splits=splits,
        limits=(few_below, many_above),
        label_names=label_names,
        name=name,
        report=say,
    )
    result = _run(data, asked, chosen, workdir=workdir, overwrite=overwrite, report=say)
    original = Head(data.weight, data.bias)
    if workdir is not None:
        _keep_original(Path(workdir), original, say)
    if harm := corrected.remark_on_harm(result):
        say(harm)
    config, has_val = recorded.config_of(str(result["config"])), data.val is not None
    return Correction(original, result, config, has_val, data, tuple(remarks))


def _run(
    data: Dataset,
    asked: Asked,
    settings: Settings,
    *,
    workdir: Path | str | None,
    overwrite: bool,
    report: Report,
) -> Mapping[str, np.ndarray]:
    """Corrects by the method that was asked for; returns the arrays of its result."""
    if asked.method == ALPHANET:
        (trained,) = training.train(
            settings, data, workdir=workdir, overwrite=overwrite, report=report
        )
        return trained.arrays()
    return methods.run(
        data,
        asked,
        settings=settings,
        workdir=workdir,
        overwrite=overwrite,
        report=report,
    ).arrays


def _keep_original(workdir: Path, head: Head, report: Report) -> None:
    """Writes the classifier as it was beside the result, for `load_correction`."""

    def write(path: Path) -> None:
        with files.replacing(path) as temporary:
            files.write_npz(temporary, head._asdict())

    if devices.is_first_process():
        keeping.save_anywhere(workdir / ORIGINAL_FILE, write, report)


def _listen(remarks: list[str], report: Report) -> Report:
    """Returns who takes lines as `report` does, and keeps what a person should know."""

    def say(line: str) -> None:
        if line.startswith(("note: ", "warning: ")):
            remarks.append(line)
        report(line)

    return wrap(report, say)


def _check_names(
    asked: Asked, settings: Mapping[str, Any], *, rho: float, seeds: int
) -> None:
    """Checks names of further settings, and whether the method has a use for them."""
    known = [f.attribute for f in FIELDS if f.attribute not in _DECIDED]
    for given in settings:
        if given not in known:
            raise UserError(f"unknown setting {given!r}; {did_you_mean(given, known)}")
    if asked.method == ALPHANET:
        if asked.targets or asked.refit_on_val or asked.most_per_class is not None:
            raise UserError(
                "targets, refit_on_val and most_per_class are for other methods than "
                "alphanet, such as method='auto'"
            )
        return
    most = asked.most_per_class
    if most is not None and (
        not isinstance(most, int | np.integer) or isinstance(most, bool) or most < 1
    ):
        raise UserError(f"most_per_class must be a whole number from 1, got {most!r}")
    useless = [name for name in settings if name not in _OF_ALL]
    useless += ["rho"] * (rho != _RHO) + ["seeds"] * (seeds != _SEEDS)
    if useless:
        raise UserError(
            f"setting {useless[0]!r} is of AlphaNet's training, and the method is "
            f"{asked.method}"
        )


def _make_dataset(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray] | None,
    test: tuple[np.ndarray, np.ndarray] | None,
    *,
    weight: np.ndarray,
    bias: np.ndarray,
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
        counts = _count(*train, weight)
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


def _count(features: ArrayLike, labels: ArrayLike, weight: np.ndarray) -> np.ndarray:
    """Counts the training samples of every class; checks what that takes."""
    try:
        shape = np.shape(features)
    except ValueError as error:
        raise UserError(f"train: feats must be an array: {error}") from None
    if len(shape) != 2:
        raise UserError(
            "train: feats must have shape (samples, features) and at least one "
            f"sample, got {shape}"
        )
    if shape[1] != weight.shape[1]:
        turned = "; give weight.T" if shape[1] == len(weight) else ""
        raise UserError(
            f"train: feats has {shape[1]} features a sample, but the classifier takes "
            f"{weight.shape[1]}{turned}"
        )
    truth = checks.check_labels(
        "train", labels, num_samples=shape[0], num_classes=len(weight)
    )
    return np.bincount(truth, minlength=len(weight))


def _given(group: Any) -> Any:
    """Gives the arrays of a group as those of NumPy; what is no pair is left alone."""
    if isinstance(group, list | tuple) and len(group) == 2:
        return _pair(*group)
    return group


def _check_kinds(method: Any, targets: Any, workdir: Any, report: Any) -> None:
    """Checks that arguments are of the kinds that they should be."""
    if not isinstance(method, str):
        raise UserError(f"method must be text, got {method!r}")
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise UserError(
            f'targets must be a list, such as ["overall >= -1"], got {targets!r}'
        )
    if not (workdir is None or isinstance(workdir, str | os.PathLike)):
        raise UserError(f"workdir must be a path, got {workdir!r}")
    if not callable(report):
        raise UserError(f"report must be a function of a line, got {report!r}")


def _pair(features: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    return as_numpy(features), as_numpy(labels)
