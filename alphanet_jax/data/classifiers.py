"""Classifiers from files: linear ones, and several experts made into one."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.data import checks
from alphanet_jax.data.contents import brief, describe, load_content
from alphanet_jax.data.paths import find_path, plain_classifier
from alphanet_jax.data.registry import LINEAR, LOADERS, DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["Classifier", "load_classifier", "read_classifier"]

_MAX_CLASSIFIERS = 256  # files of a combined classifier


class Classifier(NamedTuple):
    """A linear classifier in float32."""

    weight: np.ndarray  # shape=(C, d)
    bias: np.ndarray  # shape=(C,)
    sources: dict[Path, str | None]  # files read, with dtypes; a list of files: None


def read_classifier(entry: DatasetEntry, data_root: Path) -> Classifier:
    """Reads the classifier of a dataset, or what it was converted to.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.

    Returns:
      The classifier.

    Raises:
      UserError: If a file is missing, not of the loader's form or not finite.
    """
    path = find_path(data_root, entry.classifier_file)
    converted = find_path(data_root, str(plain_classifier(entry.classifier_file)))
    if os.path.exists(converted) and not os.path.exists(path):
        return load_classifier(converted, LINEAR)
    return load_classifier(path, entry.classifier_loader)


def load_classifier(path: Path, loader: str) -> Classifier:
    """Reads a classifier; several experts become the one that equals their mean.

    Experts see their own features, side by side, so the mean of their logits is that
    of the weights `[W_1 .. W_m] / m` with the mean bias.

    Args:
      path: File of a dict `weight`, `bias`; or, for the combined loader, of a list
        of dicts `classifier_loader`, `classifier_file` with paths relative to it.
      loader: Name in `registry.LOADERS`.

    Returns:
      The classifier.

    Raises:
      UserError: If a file is missing, not of the loader's form or not finite.
    """
    return _load_classifier(path, loader, (), itertools.count(1))


def _load_classifier(
    path: Path, loader: str, above: tuple[Path, ...], numbers: Iterator[int]
) -> Classifier:
    """Reads a classifier that is part of those `above`; `numbers` counts the files."""
    if loader not in LOADERS:
        raise UserError(
            f"{path}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {brief(loader)}"
        )
    if path.resolve() in above:
        raise UserError(f"{path}: combined classifier lists itself")
    if next(numbers) > _MAX_CLASSIFIERS:
        raise UserError(
            f"{path}: a combined classifier may have {_MAX_CLASSIFIERS} files at most"
        )
    content = load_content(path)
    if loader == LINEAR:
        return _linear_classifier(path, content)
    experts: list[Classifier] = []
    for expert_loader, name in _listed(path, content):
        expert = _load_classifier(
            path.parent / name, expert_loader, (*above, path.resolve()), numbers
        )
        if experts and len(expert.weight) != len(experts[0].weight):
            raise UserError(
                f"{path.parent / name}: {len(expert.weight)} classes, but "
                f"{len(experts[0].weight)} in the first classifier of {path}"
            )
        experts.append(expert)
    weights, biases, sources = zip(*experts, strict=True)
    return Classifier(
        np.concatenate(weights, axis=1) / len(experts),
        np.mean(biases, axis=0),
        {path: None, **{p: dtype for read in sources for p, dtype in read.items()}},
    )


def _linear_classifier(path: Path, content: Any) -> Classifier:
    """Makes a classifier of what is in its file."""
    if not isinstance(content, dict) or not {"weight", "bias"} <= content.keys():
        raise UserError(
            f"{path}: expected a dict of 'weight' and 'bias', got {describe(content)}"
        )
    weight, bias = content["weight"], content["bias"]
    if bias is None:
        bias = np.zeros(np.shape(weight)[:1], np.float32)
    for name, array in (("weight", weight), ("bias", bias)):
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"{path}: {name} must be a tensor or array, got {describe(array)}"
            )
        checks.check_floats(str(path), name, array)
    checks.check_classifier(str(path), weight, bias)
    return Classifier(
        np.asarray(weight, np.float32),
        np.asarray(bias, np.float32),
        {path: str(weight.dtype)},
    )


def _listed(path: Path, content: Any) -> list[tuple[str, str]]:
    """Reads the loaders and file names that a combined classifier lists."""
    if not isinstance(content, list | tuple) or not content:
        raise UserError(
            f"{path}: expected a list of dicts of 'classifier_loader' and "
            f"'classifier_file', got {describe(content)}"
        )
    listed = []
    for index, item in enumerate(content):
        loader, name = (
            (item.get("classifier_loader"), item.get("classifier_file"))
            if isinstance(item, dict)
            else (None, None)
        )
        if not isinstance(loader, str) or not isinstance(name, str):
            raise UserError(
                f"{path}: item {index} must be a dict of 'classifier_loader' and "
                f"'classifier_file', both text, got {describe(item)}"
            )
        if not name.isprintable():
            raise UserError(f"{path}: item {index} has {brief(name)} for a file name")
        listed.append((loader, name))
    return listed
