"""One result file, ours or the original's: its arrays, its config, what they say.

Notation: S seeds of the file, as in `schema`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.results import pytorch, recorded, schema
from alphanet_jax.results.file import is_npz, load_result, loaders_of_others
from alphanet_jax.results.pytorch import LazyArrays, recorded_arrays

__all__ = [
    "ALPHANET",
    "COMMON",
    "Recompute",
    "ResultFile",
    "load_file",
    "of_runs",
    "with_makers",
]

ALPHANET = "alphanet"

# What must be the same for results to be of one dataset and one classifier.
COMMON = (
    "few_classes",
    "medium_classes",
    "many_classes",
    "class_counts",
    "label_names",
    "test_labels",
    "baseline_test_pred",
)
_NEEDED = ("seeds", "dataset", "test_pred")
# By far the largest arrays, which few reports need, and the record of every epoch.
_LATER = (
    *("weight_few", "weight", "original_weight"),
    *("step_loss", "drawn_per_class", "val_correct_per_class"),
)
# What only AlphaNet learns.
_OF_ALPHANET = {spec.name for spec in schema.SCHEMA if spec.of == "alphanet"}
# What no report needs, but who applies a network to further classes.
_FOR_NEW_CLASSES = ("class_means", schema.NETWORK)


@dataclasses.dataclass(frozen=True)
class ResultFile:
    """One result file.

    Attributes:
      path: Where it is; what to call it, where it is in memory alone.
      arrays: Its arrays, as `schema.SCHEMA` lists them; those of a file without
        the weights of classifiers, which are loaded when they are needed, and without
        the network. Of a result of the original's, some are made when they are needed.
      config: The configuration that it was made with.
      runs: Numbers of the file's runs that were chosen; None for all.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    runs: tuple[int, ...] | None = None

    @property
    def num_runs(self) -> int:
        """Number of seeds S."""
        return len(self.arrays["seeds"])

    @property
    def is_original(self) -> bool:
        """Whether it is a result of the original's, imported or not."""
        return "versions" in self.arrays and pytorch.ORIGINAL in self.versions

    @property
    def method(self) -> str:
        """Name of the correction that it is of."""
        return str(self.arrays["method"]) if "method" in self.arrays else ALPHANET

    @property
    def is_unchanged(self) -> bool:
        """Whether it is of the unchanged classifier, as `baseline` makes it.

        All its coefficients are (1, 0, ..., 0), which no network gives.
        """
        if self.method != ALPHANET:
            return False
        known = recorded_arrays(self.arrays)
        if "alphas" in known:
            alphas = known["alphas"]
            return bool(alphas.size) and not alphas[..., 1:].any()
        # The original's, which says how it was made, but has no coefficients.
        section = self.config.get("alphanet")
        return isinstance(section, Mapping) and bool(section.get("dummy_mode"))

    def array(self, name: str) -> np.ndarray:
        """Returns one of the arrays.

        Raises:
          UserError: If the file has none of that name.
        """
        if name in self.arrays:
            return self.arrays[name]
        if name in _LATER and is_npz(self.path):
            return of_runs(name, load_result(self.path, [name])[name], self.runs)
        if self.method != ALPHANET and name in _OF_ALPHANET:
            raise UserError(
                f"{self.path} was made by {self.method}, which learns no coefficients "
                f"as AlphaNet does: it has no {name!r}"
            )
        raise UserError(f"{self.path}: not a whole result: {name!r} is missing")

    def per_run(self, name: str) -> np.ndarray:
        """Returns an array with a leading axis of seeds, also where all share it."""
        if name == "weight_few" and self.method != ALPHANET:
            few = self.array("few_classes").astype(int)
            return np.asarray(self.array("weight")[few][None])
        array = self.array(name)
        if name in ("neighbors", "neighbor_distances"):
            return np.broadcast_to(array, (self.num_runs, *array.shape[-2:]))
        return array

    @property
    def file_hashes(self) -> dict[str, str]:
        """SHA-256, by path, of the files that the result depends on."""
        return recorded.hashes_of(str(self.array("file_hashes")))

    @property
    def versions(self) -> dict[str, str]:
        """Versions, by name, of the software that made it."""
        return recorded.versions_of(str(self.array("versions")))

    @property
    def rho(self) -> float:
        """How many base samples an epoch had for each few sample.

        As in the original, this is `r` of the second sampler's arguments, if given.
        """
        if (rho := recorded.rho_of(self.config)) is None:
            raise UserError(f"{self.path}: its config has no field 'rho'")
        return rho

    def setting(self, name: str) -> Any:
        """Looks up a field of the config by its dotted name, such as 'rho'.

        Raises:
          UserError: If there is none.
        """
        node: Any = self.config
        for part in name.split("."):
            if not isinstance(node, Mapping) or part not in node:
                raise UserError(f"{self.path}: its config has no field {name!r}")
            node = node[part]
        return node


# Makes an array that a result of the original's does not record.
Recompute = Callable[[ResultFile, str], np.ndarray]


def load_file(path: Path, *, recompute: Recompute | None = None) -> ResultFile:
    """Loads one result file, ours or the original's.

    Args:
      path: The file; what it is is told by its content.
      recompute: Makes what the original does not record: a `Recomputation`.

    Raises:
      UserError: If it is missing, damaged or no result.
    """
    if is_npz(path):
        arrays: Mapping[str, np.ndarray] = load_result(
            path, without=[*_LATER, *_FOR_NEW_CLASSES]
        )
        file = _with_config(path, arrays)
        if not file.is_original:
            if missing := {*_NEEDED, *COMMON} - arrays.keys():
                raise UserError(f"{path}: not a result: {sorted(missing)} missing")
            return file
        lazy = LazyArrays(arrays, loaders_of_others(path, arrays))
        return with_makers(path, lazy, recompute)
    return with_makers(path, pytorch.open_arrays(pytorch.load_record(path)), recompute)


def with_makers(
    path: Path, arrays: LazyArrays, recompute: Recompute | None
) -> ResultFile:
    """Makes a result of the original's of what is recorded, and of what makes the rest.

    Args:
      path: Its file.
      arrays: What is recorded.
      recompute: As `load_file` takes it.
    """
    file = _with_config(path, arrays)
    for name in pytorch.LATER:
        arrays.makers.setdefault(name, functools.partial(_make, file, name, recompute))
    return file


def of_runs(name: str, array: np.ndarray, runs: tuple[int, ...] | None) -> np.ndarray:
    """Returns what an array has of some runs: all, where it has no axis of seeds."""
    if runs is None or not schema.has_axis_of_seeds(name, array):
        return array
    return array[list(runs)]


def _with_config(path: Path, arrays: Mapping[str, np.ndarray]) -> ResultFile:
    if "config" not in arrays:
        raise UserError(f"{path}: not a result: its config is missing")
    return ResultFile(path, arrays, recorded.config_of(str(arrays["config"])))


def _make(file: ResultFile, name: str, recompute: Recompute | None) -> np.ndarray:
    """Makes an array that a result of the original's does not record."""
    if recompute is None:
        raise UserError(
            f"{file.path} is a result of the original, which does not record {name}; "
            "load it with recompute=Recomputation(), which needs its data"
        )
    return recompute(file, name)
