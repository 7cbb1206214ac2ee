"""Result files taken together: all runs of an experiment, from one file or several.

Notation: R runs (the seeds of all files of a set), C classes.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax.config.compare import setting_key
from alphanet_jax.errors import UserError, count_of, printable
from alphanet_jax.results.finding import (
    PATTERN,
    find_results,
    group_by_setting,
    left_aside,
    unreadable,
)
from alphanet_jax.results.one_file import (
    ALPHANET,
    COMMON,
    Recompute,
    ResultFile,
    load_file,
    of_runs,
    with_makers,
)
from alphanet_jax.results.pytorch import recorded_arrays
from alphanet_jax.splits import SPLITS

__all__ = [
    "ALPHANET",
    "PATTERN",
    "Recompute",
    "ResultFile",
    "ResultSet",
    "choose_seeds",
    "find_results",
    "group_by_setting",
    "left_aside",
    "load_file",
    "load_sets",
    "unreadable",
    "with_makers",
]

# What may differ between two copies of one result.
_OF_MACHINE = {"config", "versions", "file_hashes"}


@dataclasses.dataclass(frozen=True)
class ResultSet:
    """All runs of one experiment on one dataset.

    Attributes:
      name: Name of the experiment.
      files: Its files, in the order of their names; their data is the same.
    """

    name: str
    files: tuple[ResultFile, ...]

    @property
    def num_runs(self) -> int:
        """Number of runs R."""
        return sum(file.num_runs for file in self.files)

    @property
    def is_unchanged(self) -> bool:
        """Whether all of it is of the unchanged classifier."""
        return all(file.is_unchanged for file in self.files)

    @property
    def dataset(self) -> str:
        """The dataset's name in the registry."""
        return str(self.files[0].arrays["dataset"])

    @property
    def proper_name(self) -> str:
        """The dataset's display name."""
        return printable(str(self.common("proper_name")))

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Classes of 'few', 'medium' and 'many'."""
        return {name: self.common(f"{name}_classes") for name in SPLITS}

    @property
    def split_names(self) -> np.ndarray:
        """The split of every class, with shape `[C]`."""
        names = np.full(self.num_classes, "", f"<U{max(map(len, SPLITS))}")
        for split, classes in self.splits.items():
            names[classes.astype(int)] = split  # an empty list may be of floats
        return names

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.common("class_counts"))

    def label_name(self, label: int) -> str:
        """Returns the display name of a class: its number where it has no name."""
        names = self.common("label_names")
        return printable(str(names[label])) if len(names) else f"class {label}"

    def common(self, name: str) -> np.ndarray:
        """Returns an array that is the same in all files, such as 'test_labels'."""
        # Where the original's are among them, what need not be made is not.
        known = (file for file in self.files if name in recorded_arrays(file.arrays))
        return next(known, self.files[0]).array(name)

    def runs(self, name: str) -> np.ndarray:
        """Returns an array of every run, with shape `[R, ...]`.

        Raises:
          UserError: If its shape differs between files, as with several numbers of
            neighbors.
        """
        parts = [file.per_run(name) for file in self.files]
        for file, part in zip(self.files, parts, strict=True):
            if part.shape[1:] != parts[0].shape[1:]:
                raise UserError(
                    f"{self.files[0].path} and {file.path} cannot be taken together: "
                    f"{name} is {parts[0].shape} and {part.shape}; choose files with "
                    "--res_files_pattern"
                )
        if name == "test_pred":
            self._check_labels()
        return np.concatenate(parts)

    def _check_labels(self) -> None:
        """Checks the labels that are not recorded, once predictions are wanted."""
        labels = self.common("test_labels")
        for file in self.files:
            if not np.array_equal(file.array("test_labels"), labels):
                raise UserError(
                    f"{file.path} was tested on other samples than {self.name}: "
                    "test_labels differs"
                )

    def settings(self, name: str) -> list[Any]:
        """Lists the different values that a field of the config has in the files."""
        values: list[Any] = []
        for file in self.files:
            value = file.setting(name)
            if value not in values:
                values.append(value)
        return values


def load_sets(
    experiments: Mapping[str, Sequence[Path]],
    *,
    seeds: Collection[int] = (),
    report: Callable[[str], None] = lambda line: None,
    recompute: Recompute | None = None,
) -> list[ResultSet]:
    """Loads experiments; one with results of several datasets makes several sets.

    Args:
      experiments: Result files by the experiment's name, ours or the original's.
      seeds: Seeds of the runs to take; none for all.
      report: Takes lines of text about progress.
      recompute: As `load_file` takes it.

    Returns:
      The sets, in the order of the experiments.

    Raises:
      UserError: If a file is no result, two results of one dataset come from
        different data, or an experiment has no run of one of the seeds.
    """
    firsts: dict[str, ResultFile] = {}
    sets = []
    for number, (name, paths) in enumerate(experiments.items(), 1):
        by_dataset: dict[str, list[ResultFile]] = {}
        for path in paths:
            file = load_file(path, recompute=recompute)
            dataset = str(file.arrays["dataset"])
            _check_same_data(firsts.setdefault(dataset, file), file)
            by_dataset.setdefault(dataset, []).append(file)
        made = [
            ResultSet(name, _without_copies(choose_seeds(name, files, seeds), report))
            for files in by_dataset.values()
        ]
        runs = sum(each.num_runs for each in made)
        report(
            f"read {number} of {len(experiments)}: {name}, "
            f"{count_of(len(paths), 'file')}, {count_of(runs, 'run')}"
        )
        for each in made:
            _report_repeats(each, report)
        sets += made
    return sets


def _without_copies(
    files: Sequence[ResultFile], report: Callable[[str], None]
) -> tuple[ResultFile, ...]:
    """Leaves out files that are copies of others: of one setting, with equal arrays."""
    kept: dict[str, list[ResultFile]] = {}
    copies = []
    for file in files:
        same_setting = kept.setdefault(setting_key(file.config), [])
        first = next((one for one in same_setting if _is_copy(one, file)), None)
        if first is None:
            same_setting.append(file)
        else:
            copies.append((first, file))
    if copies:
        first, file = copies[0]
        rest = count_of(len(copies) - 1, "more such file")
        more = f", and {rest}" if len(copies) > 1 else ""
        report(
            f"note: {file.path} is a copy of {first.path}{more}; what is there twice "
            "counts once"
        )
    left = {id(copy) for _, copy in copies}
    return tuple(file for file in files if id(file) not in left)


def _is_copy(first: ResultFile, second: ResultFile) -> bool:
    """Returns whether two results are of the same runs, with the same outcome."""
    one, other = recorded_arrays(first.arrays), recorded_arrays(second.arrays)
    names = (one.keys() | other.keys()) - _OF_MACHINE
    return all(
        name in one and name in other and _is_equal(one[name], other[name])
        for name in names
    )


def _is_equal(first: np.ndarray, second: np.ndarray) -> bool:
    both = first.dtype.kind == second.dtype.kind == "f"
    return np.array_equal(first, second, equal_nan=both)


def _report_repeats(runs: ResultSet, report: Callable[[str], None]) -> None:
    """Reports runs that are there twice: they count as two."""
    seen: dict[tuple[str, int], Path] = {}
    for file in runs.files:
        if file.is_original:  # which has no seeds
            continue
        for seed in file.arrays["seeds"].tolist():
            other = seen.setdefault((setting_key(file.config), seed), file.path)
            if other != file.path:
                report(
                    f"note: {other} and {file.path} have the same settings and seed "
                    f"{seed}; both count"
                )
                return


def _with_seeds(file: ResultFile, seeds: Collection[int]) -> ResultFile | None:
    """Takes runs with these seeds; None if a result has none of them."""
    if file.is_original:
        raise UserError(
            f"{file.path} is a result of the original, whose runs have no seeds; "
            "leave them out, or choose its file by --res_files_pattern"
        )
    of_file = file.array("seeds").tolist()
    runs = tuple(n for n, seed in enumerate(of_file) if seed in seeds)
    if not runs:
        return None
    arrays = {name: of_runs(name, array, runs) for name, array in file.arrays.items()}
    return dataclasses.replace(file, arrays=arrays, runs=runs)


def choose_seeds(
    name: str, files: Sequence[ResultFile], seeds: Collection[int]
) -> list[ResultFile]:
    """Chooses runs of an experiment by their seeds.

    Args:
      name: What to call the experiment.
      files: Its results.
      seeds: The seeds; none for all.

    Returns:
      The results that have runs of these seeds, with these runs alone, each in the
      order of its file.

    Raises:
      UserError: If there is no run of one of the seeds, or a result is one of the
        original's, whose runs have none.
    """
    if not seeds:
        return list(files)
    found = [one for file in files if (one := _with_seeds(file, seeds)) is not None]
    there = {seed for one in found for seed in one.array("seeds").tolist()}
    if missing := sorted(set(seeds) - there):
        known = sorted({s for file in files for s in file.array("seeds").tolist()})
        shown = ", ".join(map(str, known[:20])) + (", ..." if known[20:] else "")
        raise UserError(f"{name} has no run of seed {missing[0]}; it has {shown}")
    return found


def _check_same_data(first: ResultFile, file: ResultFile) -> None:
    one, other = recorded_arrays(first.arrays), recorded_arrays(file.arrays)
    for name in COMMON:
        if name not in one or name not in other:
            continue
        if not np.array_equal(one[name], other[name]):
            raise UserError(
                f"{first.path} and {file.path} are of the same dataset "
                f"{str(file.arrays['dataset'])!r}, but of other data: {name} differs"
            )
