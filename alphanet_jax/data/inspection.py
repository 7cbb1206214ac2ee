"""What is in a file, to be looked at: tensors, other values, objects not loaded.

Nothing in the file is run, and of its arrays only what is described is read.
"""

import fnmatch
import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.data import spelling
from alphanet_jax.data.contents import as_array
from alphanet_jax.data.heads import Sides, read_head
from alphanet_jax.data.heads.contents import Contents, read_contents
from alphanet_jax.data.heads.finding import candidate_keys
from alphanet_jax.data.heads.keys import shown
from alphanet_jax.errors import UserError, count_of

__all__ = ["Inspection", "Row", "inspect_file"]

# Such tensors look like the head, and the wanted one is named rather than found.
_SURE = "<- classifier"
_MAYBE = "<- may be the classifier"


class Row(NamedTuple):
    """A tensor in a file, as it is shown."""

    key: str
    shape: str
    dtype: str
    size: str  # in bytes
    mark: str


class Inspection(NamedTuple):
    """What is in a file, in text that can be shown.

    Attributes:
      title: The file, its size and how many tensors it has.
      tensors: The tensors, in the order of the file.
      values: Other values by key.
      objects: Names of classes of objects that were not loaded, by key.
      remarks: What is known of its samples or its classifier, a line each.
    """

    title: str
    tensors: list[Row]
    values: dict[str, str]
    objects: dict[str, str]
    remarks: list[str]


def inspect_file(
    path: Path,
    *,
    match: str = "",
    num_features: int | None = None,
    num_classes: int | None = None,
) -> Inspection:
    """Looks at what is in a file of any kind that is read.

    Args:
      path: A checkpoint, a file of features, or any other.
      match: Part of the keys to show, or a pattern with `*`; empty for all.
      num_features: Number of features that the classifier takes, if it is known.
      num_classes: Number of classes, if it is known.

    Returns:
      What is in it.

    Raises:
      UserError: If it cannot be read.
    """
    contents = read_contents(path)
    sides = Sides(num_features, num_classes)
    samples = _describe_samples(contents)
    marked = [] if samples else candidate_keys(contents, sides)
    mark = _SURE if len(marked) == 1 else _MAYBE
    rows = [
        Row(
            shown(tensor.key),
            str(tensor.shape),
            str(tensor.dtype),
            f"{tensor.size * tensor.dtype.itemsize:,}",
            mark if tensor.key in marked else "",
        )
        for tensor in contents.tensors.values()
        if _matches(tensor.key, match)
    ]
    values, objects = (
        {shown(key): shown(text) for key, text in named.items() if _matches(key, match)}
        for named in (contents.others, contents.objects)
    )
    total = count_of(len(contents.tensors), "tensor")
    some = f", {len(rows)} shown" if match else ""
    return Inspection(
        f"{path}: {path.stat().st_size:,} bytes, {total}{some}",
        rows,
        values,
        objects,
        samples or _describe_head(contents, sides, marked),
    )


def _matches(key: str, match: str) -> bool:
    pattern = match if "*" in match or "?" in match else f"*{match}*"
    return fnmatch.fnmatchcase(key.lower(), pattern.lower())


def _describe_samples(contents: Contents) -> list[str]:
    """Describes features and labels, where there are such."""
    root: Any = contents.root
    kinds = (spelling.FEATURES, spelling.LABELS)
    if isinstance(root, np.ndarray):
        name = (spelling.FEATURES if root.ndim == 2 else spelling.LABELS)[0]
        root = {name: root}
    elif not isinstance(root, dict):
        tensors = contents.tensors
        names = (spelling.candidates(tensors, words) for words in kinds)
        root = {name: tensors[name].load() for name in itertools.chain(*names)}
    features, labels = (spelling.find_value(root, words) for words in kinds)
    lines = []
    if isinstance(features, np.ndarray) and features.ndim == 2:
        lines.append(f"features: {len(features):,} samples x {features.shape[1]:,}")
    values = as_array(labels)
    if values.dtype.kind in "iuf" and values.size and np.isfinite(values).all():
        lines.append(
            f"labels: {values.size:,} from {values.min():g} to {values.max():g}, "
            f"{len(np.unique(values)):,} classes"
        )
    return lines


def _describe_head(contents: Contents, sides: Sides, marked: list[str]) -> list[str]:
    """Says how the classifier would be read, where it is clear which one it is."""
    try:
        head = read_head(contents.path, **sides._asdict())
    except UserError:
        if len(marked) > 1:
            return [
                f"{len(marked)} tensors may be the classifier: --num_features and "
                "--num_classes leave fewer, classifier_key=KEY names one"
            ]
        return []
    classes, features = head.weight.shape
    return [f"classifier: {classes:,} classes x {features:,} features", *head.remarks]
