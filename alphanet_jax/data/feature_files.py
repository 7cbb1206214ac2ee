"""Feature files: which ones make up a group of samples, and what is in one."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.data import checks, records
from alphanet_jax.data.contents import as_array, describe, load_content
from alphanet_jax.data.paths import array_paths
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = [
    "FeatureFile",
    "GroupFiles",
    "Part",
    "expected_names",
    "find_feature_files",
    "read_feature_file",
]

SUFFIXES = (".pkl", ".pth", ".pt", ".npz", ".npy", ".safetensors")
# What arrays are called in a file, and what files of them are called; the first name
# that is there counts.
FEATURE_NAMES = ("feats", "features", "feat", "embeddings", "x", "X")
LABEL_NAMES = ("labels", "label", "targets", "target", "y")

_FEATURE_WORD = re.compile(
    r"feat(?:ure)?s?|embeddings?|(?<![a-z])x(?![a-z])", re.ASCII | re.IGNORECASE
)
_LABEL_WORD = re.compile(
    r"labels?|targets?|(?<![a-z])y(?![a-z])", re.ASCII | re.IGNORECASE
)
# After the name of a group: `_0`, `feat_all`, `_features` say no other group's name.
_SAME_GROUP = re.compile(
    r"(?:[-_.]|[0-9]+|part|shard|all|feat(?:ure)?s?|embeddings?|x)*",
    re.ASCII | re.IGNORECASE,
)


class Part(NamedTuple):
    """The files of some samples of a group."""

    features: Path
    labels: Path | None  # beside it; None where the same file must hold them


class GroupFiles(NamedTuple):
    """The files of a group, in the order of their rows."""

    parts: tuple[Part, ...]
    left_out: tuple[Path, ...] = ()  # their names are like those of parts

    @property
    def sources(self) -> list[Path]:
        """Lists all the files."""
        return [path for part in self.parts for path in part if path is not None]


def expected_names(group: str) -> str:
    """Says which files a group may have."""
    return (
        f"{group}.pkl (or {', '.join(SUFFIXES[1:])}), numbered parts {group}_0.pkl, "
        f"{group}_1.pkl, ..., or one file that begins with {group}"
    )


def find_feature_files(entry: DatasetEntry, data_root: Path, group: str) -> GroupFiles:
    """Finds the files that make up a group, by the first rule that fits.

    These are what `feature_files` of the registry names; or the file named exactly
    after the group, such as `train.pkl`; or numbered parts of one name, `train_0.pkl`,
    `train_1.pkl`, in the order of their numbers; or the one file that begins with its
    name, such as `trainfeat_all.pkl` or `train_features.pt`. Labels may be in a file
    of their own beside it: `train_labels.pt`, `train_y.npy`.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      group: Name of the group.

    Returns:
      The files; none where the dataset has no such group.

    Raises:
      UserError: If the name is not that of a file, or several files could be meant.
    """
    if not group or Path(group).name != group:
        raise UserError(f"groups of samples must have plain names, got {group!r}")
    directory = data_root / entry.feature_files_dir
    if group in entry.feature_files:
        return _chosen(entry, directory, group)
    found = _Directory(directory, group, entry.datagrps)
    files = _by_rules(found)
    made = found.made_of
    if made is None:
        return files
    paths = array_paths(directory, group)
    if not files.parts:  # converted, and the sources are gone
        return GroupFiles((Part(paths.features, paths.labels),))
    if made != {path.name for path in files.sources}:
        raise _two_forms(entry, group, [paths.features, files.parts[0].features])
    return files


class _Directory:
    """The files of a directory that may belong to a group.

    Attributes:
      directory: The directory.
      group: Name of the group.
      names: Names of files that begin with it, sorted, without what was converted.
      made_of: Names of the files that the converted form was made of, where there is
        one and it has not changed since; None otherwise.
    """

    def __init__(self, directory: Path, group: str, groups: Iterable[str]) -> None:
        self.directory, self.group = directory, group
        # Files of `train_val` are no files of `train`, where both are groups.
        others = tuple(g for g in groups if g != group and g.startswith(group))
        try:
            listed = sorted(os.listdir(directory))
        except OSError:
            listed = []
        self._listed = [name for name in listed if name.endswith(SUFFIXES)]
        self.names = [
            name
            for name in self._listed
            if name.startswith(group)
            and not (others and name.startswith(others))
            and (directory / name).is_file()
        ]
        paths = array_paths(directory, group)
        made = (paths.features.name, paths.labels.name)
        self.made_of = records.recorded_sources(
            paths.record, [paths.features, paths.labels]
        )
        if self.made_of is not None:
            self.names = [name for name in self.names if name not in made]
            self._listed = [name for name in self._listed if name not in made]

    def features(self) -> list[str]:
        """Lists the files that are not named after labels."""
        start = len(self.group)
        return [n for n in self.names if not _LABEL_WORD.search(Path(n).stem, start)]

    def part(self, name: str) -> Part:
        """Finds the file of labels beside one of features, if there is one.

        Raises:
          UserError: If there are several.
        """
        stem = Path(name).stem
        stems = set()
        for word in LABEL_NAMES:
            stems |= {f"{stem}_{word}", f"{stem}.{word}"}
            if stem.startswith(self.group):
                rest = stem.removeprefix(self.group)
                stems.add(f"{self.group}_{word}{rest}")
            for match in _FEATURE_WORD.finditer(stem):
                stems.add(stem[: match.start()] + word + stem[match.end() :])
        found = [n for n in self._listed if Path(n).stem in stems]
        if len(found) > 1:
            raise UserError(
                f"{self.directory}: {' and '.join(found)} may both be the labels of "
                f"{name}; choose with label_files = {{{self.group} = "
                f'"{found[0]}"}} in the registry'
            )
        return Part(self.directory / name, self.directory / found[0] if found else None)


def _by_rules(found: _Directory) -> GroupFiles:
    """Applies the rules to the names of files."""
    group, candidates = found.group, found.features()
    exact = [name for name in candidates if name in {group + s for s in SUFFIXES}]
    alike = [
        name
        for name in candidates
        if name not in exact and _SAME_GROUP.fullmatch(Path(name).stem[len(group) :])
    ]
    if exact:
        other_forms = [n for n in alike if Path(n).suffix != Path(exact[0]).suffix]
        if several := [*exact, *other_forms][1:]:
            raise _several(found, [exact[0], *several])
        left_out = tuple(found.directory / name for name in alike)
        return GroupFiles((found.part(exact[0]),), left_out)
    if parts := _numbered(candidates, start=len(group)):
        return GroupFiles(tuple(map(found.part, parts)))
    if len(candidates) > 1:
        raise _several(found, candidates)
    return GroupFiles(tuple(map(found.part, candidates)))


def _numbered(names: Sequence[str], *, start: int) -> list[str]:
    """Finds the parts of one name that differ in one number alone.

    Args:
      names: Names of files.
      start: Where the name of the group ends.

    Returns:
      The parts in the order of their numbers; none where no or several names fit, or a
      number is there twice.
    """
    series: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        for match in re.compile("[0-9]+", re.ASCII).finditer(name, start):
            key = (name[: match.start()], name[match.end() :])
            series[key].append((int(match[0][-18:]), name))
    several = [parts for parts in series.values() if len(parts) > 1]
    if len(several) != 1:
        return []
    parts = sorted(several[0])
    numbers = {number for number, _ in parts}
    return [name for _, name in parts] if len(numbers) == len(parts) else []


def _several(found: _Directory, names: Sequence[str]) -> UserError:
    """Says that several files could be meant, and how to choose."""
    return UserError(
        f"{found.directory}: group {found.group!r} may be any of {', '.join(names)}; "
        f'choose with feature_files = {{{found.group} = "{names[0]}"}} in the '
        "registry, or remove what is old"
    )


def _two_forms(entry: DatasetEntry, group: str, paths: Sequence[Path]) -> UserError:
    """Says that a converted form is not that of the files beside it."""
    old, new = (path.name for path in paths)
    return UserError(
        f"{paths[0].parent}: group {group!r} is there as {old} and as {new}, and "
        f"{old} was made of other files; remove one of them, or choose with "
        f'feature_files = {{{group} = "{new}"}} in the registry'
    )


def _chosen(entry: DatasetEntry, directory: Path, group: str) -> GroupFiles:
    """Finds the files that the registry names."""
    names = entry.feature_files[group]
    label_names = entry.label_files.get(group, ())
    if label_names and len(label_names) != len(names):
        raise UserError(
            f"dataset {entry.name!r}: label_files has {len(label_names)} files for "
            f"group {group!r}, feature_files {len(names)}"
        )
    found = _Directory(directory, group, ())
    parts = []
    for index, name in enumerate(names):
        beside = _Directory((directory / name).parent, group, ())
        part = (
            Part(directory / name, directory / label_names[index])
            if label_names
            else beside.part(Path(name).name)
        )
        parts.append(part)
    missing = [path for part in parts for path in part if path and not path.is_file()]
    made_of = found.made_of or set()
    if missing and made_of >= {Path(name).name for name in names}:
        return GroupFiles(())  # their converted form alone is there
    if missing:
        raise UserError(
            f"{missing[0]}: no such file; the registry names it for group {group!r}"
        )
    return GroupFiles(tuple(parts))


class FeatureFile(NamedTuple):
    """The samples in one file."""

    path: Path
    features: np.ndarray  # shape=(n, d), floats as they are in the file
    labels: np.ndarray  # shape=(n,), dtype=np.int32, in the order of rows
    idxs: np.ndarray | None  # shape=(n,), a permutation that is not in order
    note: str | None  # what a person should know
    sources: dict[Path, str]  # files read, with dtypes


def read_feature_file(
    part: Part, *, num_classes: int, num_features: int
) -> FeatureFile:
    """Reads the samples of a part, and checks all but whether they are finite.

    Args:
      part: A file of features with their labels, as a dict of both or as two files.
      num_classes: Number of classes C.
      num_features: Number of feature dimensions d.

    Returns:
      The samples.

    Raises:
      UserError: If a file is missing, not of this form or does not fit.
    """
    path, labels_path = part.features, part.labels
    content = load_content(path)
    features, labels, idxs = content, None, None
    if isinstance(content, dict):
        features = _named(content, FEATURE_NAMES)
        labels = _named(content, LABEL_NAMES)
        idxs = content.get("idxs")
    if labels is None and labels_path is not None:
        labels = load_content(labels_path)
        if isinstance(labels, dict):
            labels = _named(labels, LABEL_NAMES)
    if features is None or labels is None:
        raise UserError(_expected(path, content, labels_path))
    features = _checked_features(path, features, num_features=num_features)
    where = str(labels_path or path)
    values = checks.check_labels(
        where, labels, num_samples=len(features), num_classes=num_classes
    )
    order, note = _order(idxs, len(values))
    sources = {path: str(features.dtype)}
    if labels_path is not None:
        sources[labels_path] = str(as_array(labels).dtype)
    return FeatureFile(path, features, values, order, note, sources)


def _named(content: dict[Any, Any], names: Sequence[str]) -> Any:
    """Looks up the first of some names; None where there is none."""
    return next((content[n] for n in names if content.get(n) is not None), None)


def _expected(path: Path, content: Any, labels_path: Path | None) -> str:
    """Says that features or labels are not there, and what else is read."""
    if labels_path is not None:
        return (
            f"{path}: expected features in it and labels in {labels_path.name}, got "
            f"{describe(content)}"
        )
    got = describe(content)
    if isinstance(content, np.ndarray) and content.ndim:
        return (
            f"{path}: expected a dict of 'feats' and 'labels', got {got} alone; labels "
            f"may be beside it, in {path.stem}_labels{path.suffix}"
        )
    return (
        f"{path}: expected a dict of 'feats' and 'labels', got {got} (read are also "
        f"{', '.join(FEATURE_NAMES[1:])} and {', '.join(LABEL_NAMES[1:])})"
    )


def _checked_features(path: Path, features: Any, *, num_features: int) -> np.ndarray:
    """Checks that features are what can be copied row by row."""
    if isinstance(features, list | tuple) and any(
        isinstance(item, np.ndarray) and item.ndim for item in features
    ):
        raise UserError(
            f"{path}: feats is a list of {len(features)} arrays: concatenate them "
            "where they are saved (torch.cat or numpy.concatenate)"
        )
    if not isinstance(features, np.ndarray):
        raise UserError(
            f"{path}: feats must be a tensor or array, got {describe(features)}"
        )
    checks.check_feature_shape(str(path), features, num_features=num_features)
    steps = zip(features.shape, features.strides, strict=True)
    if any(size > 1 and stride == 0 for size, stride in steps):
        # A small file could fill the disk.
        raise UserError(f"{path}: feats must not be an expanded tensor: clone it")
    return features


def _order(idxs: Any, num_rows: int) -> tuple[np.ndarray | None, str | None]:
    """Checks what `idxs` is.

    Returns:
      It, where it is a permutation that is not in order; and a note, where it is none.
    """
    if idxs is None:
        return None, None
    order, in_order = as_array(idxs), np.arange(num_rows)
    if order.dtype.kind in "iu" and order.shape == in_order.shape:
        if np.array_equal(order, in_order):
            return None, None
        if np.array_equal(np.sort(order), in_order):
            return order, None
    return None, (
        f"idxs does not number the {num_rows} rows of this file: labels were taken "
        "row by row"
    )
