"""The result of an experiment: one `.npz` file, readable with NumPy alone.

`schema.SCHEMA` lists its arrays. The new weight of class `few_classes[i]` is
`weight_few[seed, i]`; all else of the classifier stays. A result of another correction
than AlphaNet names it as `method`, has one seed, and `weight` and `bias` of all
classes.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files
from alphanet_jax.config.compare import config_differences
from alphanet_jax.errors import UserError
from alphanet_jax.results import recorded, schema
from alphanet_jax.version import __version__

__all__ = [
    "FILE_NAME",
    "differences",
    "is_done",
    "is_npz",
    "load_result",
    "loaders_of_others",
    "save_result",
]

FILE_NAME = "result.npz"
_HEAD_OF_ZIP = 1024
# What the result of another correction than AlphaNet has in place of alphas.
_OF_METHOD = {"weight", "bias", "original_weight", "original_bias"}


def save_result(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a result file, whole or not at all; equal arrays give equal bytes."""
    with files.replacing(path) as temporary:
        files.write_npz(temporary, arrays)


def differences(
    path: Path, *, config: Mapping[str, Any], file_hashes: Mapping[str, str]
) -> list[str] | None:
    """Compares a result file with the settings and the data of a run.

    Args:
      path: The result file.
      config: The full configuration of the run.
      file_hashes: SHA-256 of its input files.

    Returns:
      Each difference in a few words; an empty list where the run is done already,
      and None where there is no result.
    """
    if not path.exists():
        return None
    try:
        arrays = files.open_npz(path, ("config", "file_hashes", "versions"))
        listed = config_differences(recorded.config_of(str(arrays["config"])), config)
        made_with = recorded.versions_of(str(arrays["versions"]))["alphanet_jax"]
        old_hashes = sorted(recorded.hashes_of(str(arrays["file_hashes"])).values())
    except (UserError, ValueError, KeyError):
        return ["the file cannot be read"]
    if old_hashes != sorted(file_hashes.values()):
        listed.append("other input files")
    if made_with != __version__:
        listed.append(f"alphanet_jax {made_with}, now {__version__}")
    return listed


def is_done(
    path: Path,
    *,
    config: Mapping[str, Any],
    file_hashes: Mapping[str, str],
    overwrite: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> bool:
    """Returns whether a result is there already, made with the same settings and data.

    Args:
      path: The result file.
      config: The full configuration of the run.
      file_hashes: SHA-256 of its input files.
      overwrite: Whether a result of something else may be replaced.
      report: Takes a line about a result that is going to be replaced.

    Raises:
      UserError: If there is a result of something else, which may not be replaced; the
        differences are named.
    """
    found = differences(path, config=config, file_hashes=file_hashes)
    if found:
        told = "; ".join(found)
        if not overwrite:
            raise UserError(
                f"{path} is of another run: {told}; choose another --workdir, or give "
                "--overwrite to replace it"
            )
        report(f"{path} is of another run and will be replaced: {told}")
    return found == []


def is_npz(path: Path) -> bool:
    """Returns whether a file is to be read as `.npz`, by its name or its content.

    One that cannot be opened is, so that what is said of it is what is always said.

    Raises:
      UserError: If it is a pipe, a device or a socket.
    """
    if path.suffix == ".npz":
        return True
    files.check_regular(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_OF_ZIP)
    except OSError:
        return True
    # The name of the first member is in its header, at a fixed place.
    length = int.from_bytes(head[26:28], "little")
    return head[:4] == b"PK\x03\x04" and head[30 : 30 + length].endswith(b".npy")


def load_result(
    path: Path, names: Sequence[str] | None = None, *, without: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Loads a result file, or some of its arrays.

    Args:
      path: The file.
      names: Names of the arrays to load; by default all.
      without: Names of arrays not to load; one that ends in a dot stands for all that
        begin with it.

    Returns:
      The arrays by name, as `schema.SCHEMA` lists them.

    Raises:
      UserError: If the file is missing, damaged or not a result, or one of the loaded
        arrays does not fit the others.
    """
    arrays = files.open_npz(path, names, without=without)
    needed = set(names or ("alphas", "test_acc_per_split", "config"))
    if names is None and "method" in arrays:
        # Arrays that are left out are those of its classifier.
        needed -= {"alphas"}
        needed |= _OF_METHOD - set(without)
    if missing := needed - arrays.keys():
        raise UserError(f"{path}: not a result: {sorted(missing)} missing")
    if wrong := schema.find_misfit(arrays) or recorded.find_wrong(arrays):
        raise UserError(f"{path}: {wrong}")
    return arrays


def loaders_of_others(
    path: Path, known: Collection[str]
) -> dict[str, Callable[[], np.ndarray]]:
    """Returns what loads each of the arrays of a result file that are not known yet."""

    def load(name: str) -> np.ndarray:
        return load_result(path, [name])[name]

    names = files.list_npz(path).keys() - set(known)
    return {name: functools.partial(load, name) for name in sorted(names)}
