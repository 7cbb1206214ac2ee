"""Where the files of a dataset are, and where what is made of them goes."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CACHE_NAME",
    "ArrayPaths",
    "array_paths",
    "cache_roots",
    "find_path",
    "inside",
    "plain_classifier",
]

CACHE_NAME = "alphanet_jax_cache"


class ArrayPaths(NamedTuple):
    """The converted files of one group."""

    features: Path
    labels: Path
    record: Path


def inside(name: str) -> Path:
    """Makes a path of the registry one that stays below any root.

    Examples:
      >>> inside("../other/train").as_posix()
      'other/train'
    """
    path = Path(name)
    return Path(*(part for part in path.parts if part not in ("..", path.anchor)))


def find_path(root: Path, name: str) -> Path:
    """Follows a path of the registry: as it is, or to where it was converted to."""
    path, converted = root / name, root / inside(name)
    return converted if os.path.exists(converted) and not os.path.exists(path) else path


def array_paths(directory: Path, group: str) -> ArrayPaths:
    """Names the converted files of a group in a directory."""
    return ArrayPaths(
        directory / f"{group}.npy",
        directory / f"{group}_labels.npy",
        directory / f"{group}.json",
    )


def plain_classifier(name: str) -> Path:
    """Names the file that a classifier is converted to.

    Examples:
      >>> plain_classifier("a/resnet.pth").as_posix()
      'a/resnet.npz'
      >>> plain_classifier("model.safetensors.index.json").as_posix()
      'model.npz'
    """
    path = Path(name)
    # The record beside it must not take the place of an index.
    stem = Path(path.name.removesuffix(".index.json")).stem
    return path.parent / f"{stem}.npz"


def cache_roots(data_root: Path) -> list[Path]:
    """Names the places for converted data: beside it, or else the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(str(data_root.resolve()).encode()).hexdigest()[:16]
    return [data_root / CACHE_NAME, Path(home, "alphanet_jax", "converted", digest)]
