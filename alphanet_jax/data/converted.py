"""Finds the converted form of a dataset's groups, or makes it on first use."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alphanet_jax import files, hashing, staging
from alphanet_jax.data import records
from alphanet_jax.data.classifiers import ClassifierChoice
from alphanet_jax.data.convert import MissingGroup, Report, convert_dataset
from alphanet_jax.data.group_files import (
    expected_names,
    find_feature_files,
    found_instead,
)
from alphanet_jax.data.paths import ArrayPaths, array_paths, cache_roots, inside
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["ensure_converted", "find_groups", "read_ahead"]


def find_groups(
    entry: DatasetEntry,
    data_root: Path,
    kinds: Mapping[str, str],
    *,
    labels_by: str,
    choice: ClassifierChoice | None = None,
    report: Report,
) -> dict[str, ArrayPaths]:
    """Finds the converted files of groups, or converts them.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      kinds: Names of the groups to train on, to validate and to test, by kind.
      labels_by: How labels and `idxs` belong together.
      choice: See `convert_dataset`.
      report: Takes lines of text.

    Returns:
      The files by name of a group.

    Raises:
      UserError: If a group is missing; names the option that chooses another.
    """
    for kind in ("train", "test"):
        if not kinds[kind]:
            raise UserError(f"{kind}_datagrp must name a group of samples, got ''")
    names = list(dict.fromkeys(filter(None, kinds.values())))
    needed = {kinds["train"], kinds["test"]}
    while True:
        try:
            return ensure_converted(
                entry,
                data_root,
                names,
                labels_by=labels_by,
                choice=choice,
                train_group=kinds["train"],
                report=report,
            )
        except MissingGroup as error:
            missing, groups = error.group, entry.datagrps
            if missing in needed or not needed >= set(groups):
                option = _option_of(missing, kinds)
                raise UserError(f"{error}; {option}") from None
            names.remove(missing)
            report(
                f"note: no validation samples, as datagrps of {entry.name!r} in the "
                f"registry are {', '.join(groups)}: the last epoch is tested"
            )


def _option_of(group: str, kinds: Mapping[str, str]) -> str:
    """Names the option that chooses another group than one that is missing."""
    kind = next(kind for kind, name in kinds.items() if name == group)
    option = f"--config.training.{kind}_datagrp="
    if kind == "val":
        return f"{option} (empty) trains without validation samples"
    return f"another group may be named: {option}NAME"


def ensure_converted(
    entry: DatasetEntry,
    data_root: Path,
    groups: Sequence[str],
    *,
    labels_by: str = "",
    choice: ClassifierChoice | None = None,
    train_group: str = "train",
    report: Report = lambda line: None,
) -> dict[str, ArrayPaths]:
    """Finds the converted form of groups, or makes it in a cache.

    The cache is `CACHE_NAME` in `data_root`, or a place in the user's cache if that
    cannot be written to.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to; the original's files, converted
        ones, or both.
      groups: Groups that are needed.
      labels_by: See `convert_dataset`.
      choice: See `convert_dataset`.
      train_group: See `convert_dataset`.
      report: Takes a line of text for each file that is converted.

    Returns:
      The files of each group.

    Raises:
      UserError: If files are missing, damaged or not right.
    """
    features_dir = inside(entry.feature_files_dir)
    caches = _trusted(cache_roots(data_root), features_dir, report)
    for root in (data_root, *caches):
        staging.recover(root)
    found: dict[str, ArrayPaths] = {}
    missing = []
    for group in groups:
        if paths := _find_converted(entry, data_root, group, caches, labels_by):
            found[group] = paths
        else:
            missing.append(group)
    if missing:
        cache = next(filter(files.is_writable, caches), caches[-1])
        report(f"converting on first use, into {cache}")
        convert_dataset(
            entry,
            data_root,
            cache,
            # The training group comes along: what it tells holds for the others.
            groups=[g for g in groups if g in missing or g == train_group],
            labels_by=labels_by,
            choice=choice,
            train_group=train_group,
            warn=False,  # loading does
            report=report,
        )
        files.keep_others_out(cache)
        found |= {group: array_paths(cache / features_dir, group) for group in missing}
    return found


def read_ahead(
    entry: DatasetEntry, data_root: Path, groups: Sequence[str], *, labels_by: str
) -> None:
    """Begins to hash the converted files of groups, where they are there, in threads.

    Reading and hashing are most of what loading takes. Nothing is written, nor said:
    loading does that.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      groups: The groups.
      labels_by: How labels and `idxs` belong together.
    """
    caches = [root for root in cache_roots(data_root) if root.is_dir()]

    def find(group: str) -> Sequence[Path]:
        found = _find_converted(entry, data_root, group, caches, labels_by)
        return found[:2] if found else ()

    for group in groups:
        hashing.begin(functools.partial(find, group))


def _trusted(caches: Sequence[Path], inner: Path, report: Report) -> list[Path]:
    """Leaves out caches that others may write to, and says so.

    Raises:
      UserError: If none is left.
    """
    left = []
    for cache in caches:
        within = [cache, *(cache / part for part in reversed([inner, *inner.parents]))]
        open_to_all = [d for d in within if d.is_dir() and files.others_may_write(d)]
        if not open_to_all:
            left.append(cache)
            continue
        advice = f"chmod -R go-w {cache} makes it yours alone, where it is yours"
        report(f"not using {cache}: others may write to {open_to_all[0]}; {advice}")
    if not left:
        raise UserError(
            f"{caches[-1]}: others may write to all places for converted files; "
            f"{advice}"
        )
    return left


def _find_converted(
    entry: DatasetEntry,
    data_root: Path,
    group: str,
    caches: Sequence[Path],
    labels_by: str,
) -> ArrayPaths | None:
    """Finds the converted form of a group; None where it has to be made."""
    found = find_feature_files(entry, data_root, group)
    sources = found.sources
    features_dir = inside(entry.feature_files_dir)
    here = [data_root / entry.feature_files_dir, data_root / features_dir]
    if not sources:  # a converted dataset on its own
        for directory in here:
            paths = array_paths(directory, group)
            if os.path.exists(paths.features):
                return paths
        raise MissingGroup(
            f"{here[0]}: no features of group {group!r}; expected "
            f"{expected_names(group)}; {found_instead(here[0])}",
            group=group,
        )
    plain = array_paths(here[0], group)
    if sources in ([plain.features, plain.labels], [plain.features]):
        return plain
    labels_by = labels_by or entry.labels_by
    for directory in (*here, *(cache / features_dir for cache in caches)):
        paths = array_paths(directory, group)
        by_choice = directory in here
        if records.is_fresh(
            paths.record, [paths.features, paths.labels], sources
        ) and records.reading_fits(paths.record, labels_by, by_choice=by_choice):
            return paths
    return None
