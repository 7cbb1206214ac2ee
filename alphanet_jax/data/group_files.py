"""Which files make up a group of samples, by their names alone."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alphanet_jax.data import records, spelling
from alphanet_jax.data.paths import array_paths
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = [
    "GroupFiles",
    "Part",
    "expected_names",
    "find_feature_files",
    "found_instead",
]


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
        f"{group}.pkl (or {', '.join(spelling.SUFFIXES[1:])}), numbered parts "
        f"{group}_0.pkl, {group}_1.pkl, ..., or one file that begins with {group}"
    )


def find_feature_files(entry: DatasetEntry, data_root: Path, group: str) -> GroupFiles:
    """Finds the files that make up a group, by the first rule that fits.

    These are what `feature_files` of the registry names; or the file named exactly
    after the group, such as `train.pkl`; or numbered parts of one name, `train_0.pkl`,
    `train_1.pkl`, in the order of their numbers; or the one file that begins with its
    name, such as `trainfeat_all.pkl` or `train_features.pt`; or where there are none of
    these, files like `X_train.npy`. Labels may be in a file of their own beside it:
    `train_labels.pt`, `train_y.npy`.

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
    if group in entry.label_files and group not in entry.feature_files:
        raise UserError(
            f"dataset {entry.name!r}: label_files names files for group {group!r}, and "
            "feature_files does not; name both"
        )
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
      rests: What is left of the names of its files without the group's, sorted by name,
        without what was converted.
      made_of: Names of the files that the converted form was made of, where there is
        one and it has not changed since; None otherwise.
    """

    def __init__(self, directory: Path, group: str, groups: Iterable[str]) -> None:
        self.directory, self.group = directory, group
        # Files of `train_val` are no files of `train`, where both are groups.
        others = [g for g in groups if g != group and g.startswith(group)]
        try:
            listed = sorted(os.listdir(directory))
        except OSError:
            listed = []
        paths = array_paths(directory, group)
        made = [paths.features, paths.labels]
        self.made_of = records.recorded_sources(paths.record, made)
        without = set() if self.made_of is None else {path.name for path in made}
        self._listed = [
            name
            for name in listed
            if name.endswith(spelling.SUFFIXES)
            and name not in without
            and (directory / name).is_file()
        ]
        rests = {
            name: spelling.rest_of(spelling.stem_of(name), group, others)
            for name in self._listed
        }
        self.rests = {name: rest for name, rest in rests.items() if rest is not None}
        self._labels = _labels_by_key(self.rests)

    def features(self) -> list[str]:
        """Lists the files that are not named after labels.

        Those that begin with the name of the group come before others. One that is
        named after both holds both.
        """
        first = [name for name in self.rests if name.startswith(self.group)]
        for names in (first, list(self.rests)):
            if found := [n for n in names if not spelling.has_labels(self.rests[n])]:
                return found
        return [n for n in self.rests if spelling.has_both(self.rests[n])]

    def part(self, name: str) -> Part:
        """Finds the file of labels beside one of features, if there is one.

        Raises:
          UserError: If there are several.
        """
        if name in self.rests:
            key, labels = spelling.key_of(self.rests[name]), self._labels
        else:  # somebody chose it
            key = spelling.key_of(spelling.stem_of(name))
            stems = {other: spelling.stem_of(other) for other in self._listed}
            labels = _labels_by_key(stems)
        found = [other for other in labels[key] if other != name]
        if len(found) > 1:
            raise UserError(
                f"{self.directory}: {' and '.join(found)} may both be the labels of "
                f"{name}; choose with label_files = {{{self.group} = "
                f'"{found[0]}"}} in the registry'
            )
        return Part(self.directory / name, self.directory / found[0] if found else None)


def _labels_by_key(names: Mapping[str, str]) -> dict[str, list[str]]:
    """Lists files of labels by what is left of their names without such words."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, rest in names.items():
        if spelling.has_labels(rest):
            found[spelling.key_of(rest)].append(name)
    return found


def _by_rules(found: _Directory) -> GroupFiles:
    """Applies the rules to the names of files."""
    group, candidates = found.group, found.features()
    exact = [n for n in candidates if n in {group + s for s in spelling.SUFFIXES}]
    alike = [
        name
        for name in candidates
        if name not in exact and spelling.is_same_group(found.rests[name])
    ]
    if exact:
        ending = exact[0].removeprefix(group)
        other_forms = [name for name in alike if not name.endswith(ending)]
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
        f"choose with {_choice(found.group, names[0])}, or remove what is old"
    )


def _choice(group: str, name: str) -> str:
    """Writes how a file of a group is chosen."""
    return (
        f'feature_files = {{{group} = "{name}"}} in the registry (of fit: '
        f"--feature_files={group}={name})"
    )


def found_instead(directory: Path) -> str:
    """Says which files there are where others were expected."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.is_file())
    except OSError:
        return "there is no such directory"
    if not names:
        return "there are no files"
    more = ", ..." if names[8:] else ""
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in names[:8])
    return f"there are {shown}{more}" if names[1:] else f"there is {shown}"


def _two_forms(entry: DatasetEntry, group: str, paths: Sequence[Path]) -> UserError:
    """Says that a converted form is not that of the files beside it."""
    old, new = (path.name for path in paths)
    return UserError(
        f"{paths[0].parent}: group {group!r} is there as {old} and as {new}, and "
        f"{old} was made of other files; remove one of them, or choose with "
        f"{_choice(group, new)}"
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
