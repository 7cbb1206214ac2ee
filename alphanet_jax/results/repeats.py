"""Results that are there twice: copies are left out, runs that count twice reported."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from alphanet_jax.config.compare import setting_key
from alphanet_jax.errors import count_of
from alphanet_jax.results.pytorch import recorded_arrays

if TYPE_CHECKING:
    from alphanet_jax.results.sets import ResultFile, ResultSet

__all__ = ["report_repeats", "without_copies"]

# What may differ between two copies of one result.
_OF_MACHINE = {"config", "versions", "file_hashes"}


def without_copies(
    files: "Sequence[ResultFile]", report: Callable[[str], None]
) -> "tuple[ResultFile, ...]":
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


def _is_copy(first: "ResultFile", second: "ResultFile") -> bool:
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


def report_repeats(runs: "ResultSet", report: Callable[[str], None]) -> None:
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
