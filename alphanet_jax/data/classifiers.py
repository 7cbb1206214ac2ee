"""The classifier of a dataset: linear, or several experts made into one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.data import heads, records
from alphanet_jax.data.contents import brief
from alphanet_jax.data.heads import HeadForm, Sides
from alphanet_jax.data.paths import find_path, plain_classifier
from alphanet_jax.data.registry import LINEAR, LOADERS, DatasetEntry
from alphanet_jax.errors import UserError

__all__ = [
    "Classifier",
    "ClassifierChoice",
    "choose",
    "load_classifier",
    "read_classifier",
]


class Classifier(NamedTuple):
    """A linear classifier in float32."""

    weight: np.ndarray  # shape=(C, d)
    bias: np.ndarray  # shape=(C,)
    sources: dict[Path, str | None]  # files read, with dtypes; a list of files: None
    forms: tuple[HeadForm, ...] = ()  # how it was stored, one for each expert
    remarks: tuple[str, ...] = ()  # what was done to it, a line each


class ClassifierChoice(NamedTuple):
    """What is asked for of a file that may hold more than a classifier."""

    key: str = ""  # of its weight; empty if it is to be found
    normalize: bool = False  # whether the row of every class is normalized

    def options(self) -> dict[str, Any]:
        """Returns what a record keeps of it: what is not the default."""
        named = {"classifier_key": self.key, "classifier_normalize": self.normalize}
        return {name: value for name, value in named.items() if value}


def choose(entry: DatasetEntry, key: str, normalize: bool) -> ClassifierChoice:
    """Chooses as options say, or else as the registry does."""
    return ClassifierChoice(
        key or entry.classifier_key, normalize or entry.classifier_normalize
    )


def _unknown() -> Sides:
    return Sides(None, None)


def read_classifier(
    entry: DatasetEntry,
    data_root: Path,
    choice: ClassifierChoice | None = None,
    *,
    sides: Callable[[], Sides] = _unknown,
) -> Classifier:
    """Reads the classifier of a dataset, or what it was converted to.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      choice: What to read; by default what the registry says.
      sides: Returns the numbers of features and classes, as far as they are known;
        called only where the file does not say which tensor is its classifier.

    Returns:
      The classifier.

    Raises:
      UserError: If a file is missing, holds no such classifier or is not finite.
    """
    choice = choose(entry, "", False) if choice is None else choice
    path = find_path(data_root, entry.classifier_file)
    converted = find_path(data_root, str(plain_classifier(entry.classifier_file)))
    if converted.exists() and (not path.exists() or path == converted):
        record = records.recorded_head(converted.with_suffix(".json"), [converted])
        if record is not None:
            return _converted(converted, record, choice)
        if path != converted:
            return load_classifier(converted, LINEAR, choice, sides=sides)
    return load_classifier(path, entry.classifier_loader, choice, sides=sides)


def _converted(
    path: Path, record: records.RecordedHead, choice: ClassifierChoice
) -> Classifier:
    """Reads what a classifier was converted to; its record says of what."""
    if choice.options() and choice.options() != record.options:
        made = ", ".join(f"{k}={v}" for k, v in record.options.items()) or "neither"
        asked = ", ".join(f"{name}={value}" for name, value in choice.options().items())
        raise UserError(
            f"{path}: was converted with {made}, not with {asked}; convert the "
            "original again"
        )
    known = {field.name for field in dataclasses.fields(HeadForm)}
    forms = tuple(HeadForm(**form) for form in record.forms if form.keys() <= known)
    read = load_classifier(path, LINEAR)
    return read._replace(forms=forms, remarks=tuple(record.notes))


def load_classifier(
    path: Path,
    loader: str,
    choice: ClassifierChoice = ClassifierChoice(),  # noqa: B008 (it is immutable)
    *,
    sides: Callable[[], Sides] = _unknown,
) -> Classifier:
    """Reads a classifier; several experts become the one that equals their mean.

    Experts see their own features, side by side, so the mean of their logits is that
    of the weights `[W_1 .. W_m] / m` with the mean bias.

    Args:
      path: A checkpoint, or any file that `heads.read_head` takes; for the combined
        loader, one of a list of dicts `classifier_loader`, `classifier_file` with
        paths relative to it.
      loader: Name in `registry.LOADERS`.
      choice: What to read of it.
      sides: See `read_classifier`.

    Returns:
      The classifier.

    Raises:
      UserError: If a file is missing, holds no such classifier or is not finite.
    """
    if loader not in LOADERS:
        raise UserError(
            f"{path}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {brief(loader)}"
        )
    head, sources = heads.read_path(
        path,
        key=choice.key,
        sides=sides,
        normalize=choice.normalize,
        loader=loader,
    )
    return Classifier(head.weight, head.bias, sources, head.forms, head.remarks)
