"""The way back: the corrected classifier of a result, as a file, or where it came from.

Notation: S seeds, F 'few' classes, C classes, d feature dimensions, n test samples.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from alphanet_jax import hashing, stages, streaming
from alphanet_jax.data import checkpoint_copies, classifiers
from alphanet_jax.data.checkpoint_copies import Checkpoint
from alphanet_jax.data.heads import FoundHead
from alphanet_jax.errors import UserError, count_of, printable
from alphanet_jax.results import accuracy, corrected, saved_heads
from alphanet_jax.results.corrected import Head, Which
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.pytorch import LazyArrays
from alphanet_jax.results.sets import ALPHANET, ResultFile
from alphanet_jax.splits import SPLITS

__all__ = ["Export", "export_result"]

Report = Callable[[str], None]

# Arrays of the result, beside the rows themselves.
_NEEDED = (
    *("seeds", "label_names", "class_counts", "neighbors", "selected_epoch"),
    *(f"{split}_classes" for split in SPLITS),
    *("val_accuracy", "baseline_val_accuracy", "test_accuracy", "test_acc_per_split"),
    *("test_pred", "baseline_test_pred"),
)

# Scores nearer than this, relative to their size, may change their order with that of
# additions.
_NEAR = 1e-4
_MOST_LISTED = 10


class Export(NamedTuple):
    """What was exported.

    Attributes:
      head: The classifier, as it can be read from what was written.
      seed: The seed; None for the mean of all.
      accuracy: Its accuracy on test samples by 'few', 'medium', 'many', 'overall', in
        fractions; None where there are no test samples at hand.
    """

    head: Head
    seed: int | None
    accuracy: dict[str, float] | None


class _Samples(NamedTuple):
    """Test samples."""

    features: np.ndarray  # shape=(n, d)
    labels: np.ndarray  # shape=(n,)


def export_result(
    file: ResultFile,
    out: Path,
    *,
    seed: Which = "best",
    into: Sequence[Path] = (),
    key: str = "",
    classifier: Path | None = None,
    finder: DataFinder | None = None,
    report: Report = lambda line: None,
) -> Export:
    """Exports a corrected classifier of a result, and says what is in it.

    Args:
      file: The result.
      out: What to write, and must not be there: a file of `weight` and `bias`; with
        `into` a copy of that, or a directory for copies of several files.
      seed: 'best' on validation data, the 'mean' of all seeds, or one of the seeds.
      into: Checkpoint that the classifier is from, or the files of its experts in
        order; in the copy all but the changed rows is byte for byte as it was.
      key: Key or prefix of the classifier in its file; by default it is found.
      classifier: File with the classifier as it was; by default `into`, or what the
        registry has for the dataset of the result.
      finder: Finds that dataset; by default where it was when the result was made.
      report: Takes lines of text: what changes, how it predicts, what was written.

    Returns:
      What was exported.

    Raises:
      UserError: If anything is not right: among others if the classifier is not the
        one that the result was made with, or predicts otherwise than the result says.
        Then nothing is written.
    """
    arrays, index = _load(file, seed)
    if not into:
        saved_heads.check_ending(out)
        checkpoint_copies.check_new(out)
    finder = finder or DataFinder(report=report)
    found = _find_original(file, arrays, finder, into, key, classifier, report)
    report(_describe_choice(arrays, seed, index, file.is_original))
    if harm := corrected.remark_on_harm(arrays):
        report(harm)
    which: Which = "mean" if index is None else int(arrays["seeds"][index])
    head = corrected.corrected_head(found.head, arrays, which)
    for line in _changes(file, arrays, found.head, head):
        report(line)
    near = _NEAR + 4 * saved_heads.rounding(found.checkpoint)
    if found.samples is None:
        report(f"predictions are not verified: {found.reason}")
    else:
        with _checking(finder, found.samples):
            _check_unchanged(file, arrays, found, near)
    measured: dict[str, float] = {}
    made: list[Head] = []

    def check(again: Head) -> list[str]:
        made.append(again)
        if found.samples is None:
            return _recorded(arrays, index)
        with _checking(finder, found.samples):
            lines, numbers = _verify(file, arrays, index, again, found.samples, near)
        measured.update(numbers)
        return lines

    if found.checkpoint is not None and into:
        lines = saved_heads.save_into(
            found.checkpoint, head, out, original=found.head, check=check
        )
    else:
        lines = saved_heads.save_alone(head, out, check=check)
    for line in lines:
        report(line)
    return Export(made[0], None if which == "mean" else int(which), measured or None)


def _checking(finder: DataFinder, samples: _Samples) -> AbstractContextManager[Any]:
    """Makes a stage of predictions of all test samples."""
    return stages.stage(
        finder.report,
        "checking predictions",
        total=len(samples.labels),
        unit="samples",
    )


def _load(file: ResultFile, seed: Which) -> tuple[Mapping[str, np.ndarray], int | None]:
    """Loads the arrays of a result, and chooses a seed; None is the mean."""
    of_method = ("alphas",) if file.method == ALPHANET else ("method",)
    names = (*_NEEDED, *of_method, *corrected.classifier_arrays(file.method))
    if file.is_original:  # some of it needs data, which an export does not
        makers = {name: functools.partial(file.array, name) for name in names}
        return LazyArrays({}, makers), 0
    arrays = {name: file.array(name) for name in names}
    try:
        index = corrected.choose(arrays, seed)
    except ValueError as error:
        raise UserError(f"{file.path}: {error}") from None
    return arrays, index


class _Original(NamedTuple):
    """The classifier as it was, and test samples."""

    head: Head
    name: str  # what it was read from
    checkpoint: Checkpoint | None
    samples: _Samples | None
    reason: str  # why there are none


def _find_original(
    file: ResultFile,
    arrays: Mapping[str, np.ndarray],
    finder: DataFinder,
    into: Sequence[Path],
    key: str,
    classifier: Path | None,
    report: Report,
) -> _Original:
    """Finds the classifier that a result was made with, and its test samples."""
    samples, reason, original = None, "", None
    try:
        data = finder.dataset(file)
        samples = _Samples(data.test.features, data.test.labels)
        original = Head(data.weight, data.bias)
    except UserError as error:
        reason = str(error)
    paths = list(into) or ([classifier] if classifier is not None else [])
    if paths:
        checkpoint = _open(file, arrays, paths, key or _known_key(file, finder, paths))
        if original is None or not _is_of_result(file, paths[0]):  # else it was said
            for remark in checkpoint.head.remarks:
                report(f"{paths[0].name}: {remark}")
        head = Head(checkpoint.head.weight, checkpoint.head.bias)
        return _Original(head, str(paths[0]), checkpoint, samples, reason)
    if original is None and file.is_original:
        names = ("original_weight", "original_bias")
        original = Head(*(file.array(name) for name in names))
    if original is None:
        try:
            read = classifiers.read_classifier(finder.entry(file), finder.root(file))
        except UserError as error:
            raise UserError(
                f"the classifier that {file.path} was made with is needed: {error}; "
                "name its file by --into or --classifier"
            ) from None
        original = Head(read.weight, read.bias)
    if not corrected.fits_classifier(arrays, original.weight):
        raise UserError(_another(file, "the classifier of its dataset"))
    return _Original(original, "the classifier", None, samples, reason)


def _known_key(file: ResultFile, finder: DataFinder, paths: Sequence[Path]) -> str:
    """Returns the key that the classifier was read by, if it was of this file."""
    if not _is_of_result(file, paths[0]):
        return ""
    try:
        asked = str(file.config.get("classifier_key", ""))
        return asked or finder.entry(file).classifier_key
    except UserError:
        return ""


def _is_of_result(file: ResultFile, path: Path) -> bool:
    """Returns whether a file is one of those that a result was made with."""
    try:
        return hashing.file_sha256(path) in file.file_hashes.values()
    except (OSError, UserError):
        return False


def _open(
    file: ResultFile, arrays: Mapping[str, np.ndarray], paths: Sequence[Path], key: str
) -> Checkpoint:
    """Opens the checkpoint with the classifier that a result was made with."""

    def fits(found: FoundHead) -> bool:
        eps = max(float(ml_dtypes.finfo(form.dtype).eps) for form in found.forms)
        return corrected.fits_classifier(arrays, found.weight, eps=eps)

    num_classes, num_features = corrected.classifier_shape(arrays)
    checkpoint = checkpoint_copies.open_checkpoint(
        paths, key=key, num_features=num_features, num_classes=num_classes, fits=fits
    )
    if checkpoint is None:
        raise UserError(_another(file, f"{paths[0]}: its classifier"))
    return checkpoint


def _another(file: ResultFile, what: str) -> str:
    why = (
        "the new rows of that are no combinations of its rows"
        if file.method == ALPHANET
        else "its weights differ"
    )
    return f"{what} is not the one that {file.path} was made with: {why}"


def _describe_choice(
    arrays: Mapping[str, np.ndarray], seed: Which, index: int | None, is_original: bool
) -> str:
    """Says which classifier is exported."""
    if is_original:
        return "the run of the original"
    if "method" in arrays:
        return _describe_method(arrays)
    number = len(arrays["seeds"])
    if index is None:
        why = ", as there is no validation data to choose one by"
        return f"mean of {count_of(number, 'seed')}{why if seed == 'best' else ''}"
    chosen = f"seed {arrays['seeds'][index]}"
    if not corrected.has_validation(arrays):
        return chosen
    accuracies = corrected.val_accuracy(arrays)
    best = f", the best of {count_of(number, 'seed')}" if seed == "best" else ""
    return (
        f"{chosen}{best}: {100 * accuracies[index]:.1f} % on validation data, "
        f"unchanged {100 * float(arrays['baseline_val_accuracy']):.1f} %"
    )


def _describe_method(arrays: Mapping[str, np.ndarray]) -> str:
    """Says which correction is exported, and what it came to on validation data."""
    method = str(arrays["method"])
    if not corrected.has_validation(arrays):
        return method
    after, before = (
        100 * float(np.squeeze(arrays[f"{prefix}val_accuracy"]))
        for prefix in ("", "baseline_")
    )
    return f"{method}: {after:.1f} % on validation data, unchanged {before:.1f} %"


def _changes_of_all(original: Head, head: Head) -> list[str]:
    """Says how rows and biases change where any of them may."""
    total, (before, after) = len(head.weight), (original.weight, head.weight)
    sizes = np.linalg.norm(before.astype(np.float64), axis=1)
    moved = np.linalg.norm(after.astype(np.float64) - before, axis=1)
    shift = head.bias.astype(np.float64) - original.bias
    lines = [
        f"{np.count_nonzero(moved)} of {total} rows and {np.count_nonzero(shift)} of "
        f"{total} biases change"
    ]
    if moved.any():
        lines.append(
            f"  rows move by {moved.mean():.3g} on average, {moved.max():.3g} at most; "
            f"their norms were {sizes.mean():.3g} on average"
        )
    if shift.any():
        lines.append(f"  biases change by {shift.min():+.3g} to {shift.max():+.3g}")
    return lines


def _changes(
    file: ResultFile, arrays: Mapping[str, np.ndarray], original: Head, head: Head
) -> list[str]:
    """Checks and says which rows change, and by how much."""
    if file.method != ALPHANET:
        return _changes_of_all(original, head)
    few = arrays["few_classes"].astype(int)
    moved = np.linalg.norm(head.weight.astype(np.float64) - original.weight, axis=1)
    changed = np.flatnonzero(moved)
    if extra := sorted({*changed.tolist()} - {*few.tolist()}):
        raise UserError(f"{file.path}: rows of base classes change: {extra[:5]}")
    limits = corrected.largest_neighbors(original.weight, arrays)
    if (moved[few] > limits * (1 + 1e-3)).any():
        worst = int(np.argmax(moved[few] / limits))
        raise UserError(
            f"{file.path}: the row of class {few[worst]} moves by "
            f"{moved[few][worst]:.3g}, more than the norm of its largest neighbor, "
            f"{limits[worst]:.3g}: these are no coefficients of AlphaNet"
        )
    names = arrays["label_names"]
    lines = [
        f"{len(changed)} of {len(head.weight)} rows change, all of 'few' classes; bias "
        "and all other rows stay"
    ]
    order = np.argsort(-moved[few], kind="stable")
    for place in order[:_MOST_LISTED]:
        label = few[place]
        name = f" {printable(str(names[label]))}" if len(names) else ""
        lines.append(
            f"  class {label}{name}: moves by {moved[label]:.3g} of at most "
            f"{limits[place]:.3g}, its largest neighbor's norm"
        )
    if len(few) > _MOST_LISTED:
        lines.append(f"  {len(few) - _MOST_LISTED} more classes move less")
    return lines


def _predict(
    head: Head, features: np.ndarray, recorded: np.ndarray | None, near: float
) -> tuple[np.ndarray, int, int]:
    """Predicts classes, and compares them with those that a result has.

    Returns:
      The predictions, with shape `[n]`; how many are others than recorded; and for how
      many of those the scores of both are not nearly equal.
    """
    predicted = np.empty(len(features), np.int64)
    others = wrong = 0
    for start, rows in streaming.row_chunks(features):
        stop = start + len(rows)
        scores = np.asarray(rows, np.float32) @ head.weight.T + head.bias
        predicted[start:stop] = scores.argmax(axis=1)
        if recorded is None:
            stages.done(len(rows), "samples")
            continue
        places = np.flatnonzero(predicted[start:stop] != recorded[start:stop])
        scores = scores[places]
        its = np.take_along_axis(scores, recorded[start:stop][places, None], axis=1)
        gaps = scores.max(axis=1) - its[:, 0]
        others += len(places)
        wrong += int((gaps > near * np.abs(scores).max(axis=1, initial=1)).sum())
        stages.done(len(rows), "samples")
    return predicted, others, wrong


def _check_unchanged(
    file: ResultFile, arrays: Mapping[str, np.ndarray], found: _Original, near: float
) -> None:
    """Checks that the classifier predicts as the result has it before training."""
    assert found.samples is not None
    recorded = arrays["baseline_test_pred"].astype(np.int64)
    *_, wrong = _predict(found.head, found.samples.features, recorded, near)
    if wrong:
        raise UserError(
            f"{found.name} is not the classifier that {file.path} was made with: it "
            f"predicts {wrong} of {len(recorded)} test samples otherwise; has it the "
            "same biases and scales?"
        )


def _verify(
    file: ResultFile,
    arrays: Mapping[str, np.ndarray],
    index: int | None,
    head: Head,
    samples: _Samples,
    near: float,
) -> tuple[list[str], dict[str, float]]:
    """Compares what was written with what the result says; returns its accuracy."""
    recorded = None if index is None else arrays["test_pred"][index].astype(np.int64)
    predicted, others, wrong = _predict(head, samples.features, recorded, near)
    lines = []
    if wrong:
        raise UserError(
            f"{file.path}: the exported classifier predicts {wrong} of "
            f"{len(predicted)} test samples otherwise than the result has it"
        )
    if recorded is not None:
        near_ones = f", but for {others} of nearly equal scores" if others else ""
        lines.append(
            f"its predictions of {len(predicted)} test samples are those in the "
            f"result{near_ones}"
        )
    both = np.stack([predicted, arrays["baseline_test_pred"]]) == samples.labels
    splits = {name: arrays[f"{name}_classes"] for name in SPLITS}
    fractions = accuracy.per_split(both, samples.labels, splits)
    lines += [
        f"accuracy on test data: {_percent(fractions[0])}",
        f"             unchanged: {_percent(fractions[1])}",
    ]
    return lines, dict(zip(accuracy.PARTS, fractions[0].tolist(), strict=True))


def _recorded(arrays: Mapping[str, np.ndarray], index: int | None) -> list[str]:
    """Says the accuracy that a result has for a seed."""
    if index is None:
        return ["the mean of seeds has an accuracy of its own, not known without data"]
    parts = [*arrays["test_acc_per_split"][index], arrays["test_accuracy"][index]]
    return [f"accuracy on test data, by the result: {_percent(np.asarray(parts))}"]


def _percent(fractions: np.ndarray) -> str:
    return ", ".join(
        f"{part} {100 * value:.1f}"
        for part, value in zip(accuracy.PARTS, fractions, strict=True)
    )
