"""How people spell features and labels: in names of files, and of what is in them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

__all__ = [
    "FEATURES",
    "LABELS",
    "SUFFIXES",
    "candidates",
    "find_value",
    "has_both",
    "has_labels",
    "is_same_group",
    "key_of",
    "rest_of",
    "stem_of",
]

SUFFIXES: Final = (
    ".pkl",
    ".pickle",
    ".pth",
    ".pt",
    ".pth.tar",
    ".npz",
    ".npy",
    ".safetensors",
)
# What arrays are called in a file; the first name that is there counts.
FEATURES: Final = (
    "feats",
    "features",
    "feat",
    "feature",
    "embeddings",
    "embedding",
    "x",
    "data",
)
LABELS: Final = ("labels", "label", "targets", "target", "y")

_FLAGS: Final = re.ASCII | re.IGNORECASE
_FEATURE = "feat(?:ure)?s?|embeddings?|(?<![a-z])x(?![a-z])"
_LABEL = "labels?|targets?|(?<![a-z])y(?![a-z])"
_FEATURE_WORD = re.compile(_FEATURE, _FLAGS)
_LABEL_WORD = re.compile(_LABEL, _FLAGS)
_WORD = re.compile(f"{_FEATURE}|{_LABEL}", _FLAGS)
_FIRST_WORD = re.compile(f"(?:{_FEATURE}|{_LABEL})[-_.]", _FLAGS)
# A key such as `image_features` or `labels_all`, but not `label_names`.
_LAST: Final[dict[tuple[str, ...], re.Pattern[str]]] = {
    names: re.compile(f"(?:.*[-_. ])?(?:{word})(?:[-_. ]all)?", _FLAGS | re.DOTALL)
    for names, word in ((FEATURES, _FEATURE), (LABELS, _LABEL))
}
# After the name of a group: `_0`, `feat_all`, `_features` say no other group's name.
_SAME_GROUP = re.compile(
    f"(?:[-_.]|[0-9]+|part|shard|all|{_FEATURE}|{_LABEL})*", _FLAGS
)


def stem_of(name: str) -> str:
    """Takes the ending off the name of a file, whichever of `SUFFIXES` it is.

    Examples:
      >>> stem_of("train.pth.tar"), stem_of("train.x.npy"), stem_of("train")
      ('train', 'train.x', 'train')
    """
    return max(
        (name.removesuffix(s) for s in SUFFIXES if name.endswith(s)),
        key=lambda stem: -len(stem),
        default=name,
    )


def rest_of(stem: str, group: str, others: Sequence[str] = ()) -> str | None:
    """Takes the name of a group off that of a file.

    Args:
      stem: Name of the file without its ending.
      group: Name of the group, which it may begin with, or a word for features or
        labels and then the group.
      others: Names of other groups that begin with this one.

    Returns:
      What is left; None for files that are not of the group.

    Examples:
      >>> rest_of("train_feats_0", "train"), rest_of("X_train", "train")
      ('_feats_0', 'X_')
      >>> rest_of("train_val", "train", ["train_val"]), rest_of("x_train_val", "train")
      (None, None)
    """
    first = _FIRST_WORD.match(stem)
    for start in (0, first.end() if first else 0):
        name = stem[start:]
        if not name.startswith(group) or name.startswith(tuple(others)):
            continue
        rest = name.removeprefix(group)
        if not start or is_same_group(rest):
            return stem[:start] + rest
    return None


def is_same_group(rest: str) -> bool:
    """Tells whether what follows the name of a group says nothing of another.

    Examples:
      >>> is_same_group("_feats_0"), is_same_group("_val")
      (True, False)
    """
    return bool(_SAME_GROUP.fullmatch(rest))


def has_labels(rest: str) -> bool:
    """Tells whether there is a word for labels in a name."""
    return bool(_LABEL_WORD.search(rest))


def has_both(rest: str) -> bool:
    """Tells whether there are words for labels and for features in a name."""
    return has_labels(rest) and bool(_FEATURE_WORD.search(rest))


def key_of(rest: str) -> str:
    """Takes all words for features and labels out of a name.

    Files of features and of labels with the same key belong together.

    Examples:
      >>> key_of("_Features_0"), key_of("0_labels"), key_of("X"), key_of("_max")
      ('0', '0', '', 'max')
    """
    parts = re.split("[-_.]+", _WORD.sub("_", rest).lower())
    return "_".join(filter(None, parts))


def candidates(keys: Iterable[Any], names: tuple[str, ...]) -> list[Any]:
    """Lists the keys that may be those of features or labels, the best first.

    Args:
      keys: Names in a file.
      names: `FEATURES` or `LABELS`.

    Returns:
      Those that are one of these names, in capitals or not, in the order of the names,
      and then those that end in such a word.

    Examples:
      >>> candidates(["label_names", "train_labels", "Y"], LABELS)
      ['Y', 'train_labels']
    """
    listed = [key for key in keys if isinstance(key, str)]
    exact = [
        key
        for name in names
        for key in sorted(listed, key=name.__ne__)  # the very name before capitals
        if key.lower() == name
    ]
    alike = [k for k in listed if k not in exact and _LAST[names].fullmatch(k)]
    return exact + alike


def find_value(content: Mapping[Any, Any], names: tuple[str, ...]) -> Any:
    """Looks up features or labels, whatever they are called.

    Args:
      content: What is in a file.
      names: `FEATURES` or `LABELS`.

    Returns:
      The value of the first of these names, or else of the only key that ends in such
      a word; None where there is none.

    Examples:
      >>> find_value({"X": [1.0], "label_names": ["a"]}, FEATURES)
      [1.0]
      >>> find_value({"train_labels": [0], "test_labels": [1]}, LABELS) is None
      True
    """
    there = {key: value for key, value in content.items() if value is not None}
    found = candidates(there, names)
    if found and found[0].lower() in names:
        return there[found[0]]
    alike = [
        there[key] for key in found if isinstance(there[key], np.ndarray | list | tuple)
    ]
    return alike[0] if len(alike) == 1 else None
