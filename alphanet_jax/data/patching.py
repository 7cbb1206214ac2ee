"""Copies of files in which some arrays have other values; all else is byte for byte.

Nothing of a file is run and nothing is written anew: the values are put where the old
ones lie, and the checksums of a zip archive that they are part of are renewed.
"""

import contextlib
import io
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alphanet_jax.data import places, zip_members
from alphanet_jax.data.heads.contents import Contents, is_index, read_contents
from alphanet_jax.data.heads.keys import shown
from alphanet_jax.data.untrusted import Refused
from alphanet_jax.errors import UserError

__all__ = ["patch"]

_ZIP = b"PK\x03\x04"


def patch(
    source: Path,
    values: Mapping[str, np.ndarray],
    place: Callable[[Path], Path],
    *,
    out: Path,
) -> list[str]:
    """Copies a file, and gives some of its arrays other values.

    Args:
      source: The file: of `torch.save`, a pickle, `.npz`, `.npy` or safetensors; or
        the index of several.
      values: New arrays by key, of the shapes and dtypes of those that are there.
      place: Returns where to write a file for now, as `staging.staged` yields it.
      out: The copy. Files that an index lists go beside it, if something in them
        changes.

    Returns:
      Lines about what else is changed by that.

    Raises:
      UserError: If an array cannot be changed where it lies.
    """
    tensors = read_contents(source).tensors
    for key, new in values.items():
        old = tensors[key]
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise ValueError(
                f"{key} must have shape {old.shape} and dtype {old.dtype}, "
                f"got {new.shape} and {new.dtype}"
            )
    lines: list[str] = []
    for part in sorted({tensors[key].source for key in values}):
        inner = {k: array for k, array in values.items() if tensors[k].source == part}
        target = out if part == source else out.with_name(part.name)
        lines += _patch_one(part, inner, place(target))
    if is_index(source):
        shutil.copyfile(source, place(out))
    return lines


def _patch_one(
    source: Path, values: Mapping[str, np.ndarray], target: Path
) -> list[str]:
    """Copies one file with other values; returns lines about it."""
    contents = read_contents(source)
    arrays = {key: contents.tensors[key].load() for key in values}
    if _is_npz(source, values):
        shutil.copyfile(source, target)
        for key, new in values.items():
            _patch_member(source, key, new, target)
        _check(source, target, values)
        return []
    lines = _shared(contents, arrays, values)
    where = {}
    for key in values:
        with _blame(source, key):
            where[key] = places.find_place(arrays[key], source)
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        for key, place in where.items():
            place.write(file, values[key])
        file.seek(0)
        if file.read(len(_ZIP)) == _ZIP:
            with _blame(source):
                members = zip_members.find_members(source)
            _renew(file, members, [place.offset for place in where.values()])
    searched = any(place.searched for place in where.values())
    expected = dict(values)
    if searched:  # what was found may be a part of something else
        loads = {key: tensor.load() for key, tensor in contents.tensors.items()}
        expected = loads | expected
    _check(source, target, expected)
    return lines


def _renew(
    file: BinaryIO, members: list[zip_members.Member], offsets: list[int]
) -> None:
    touched = [m for m in members if any(m.start <= at < m.stop for at in offsets)]
    zip_members.renew_checksums(file, touched)


def _is_npz(path: Path, keys: Iterable[str]) -> bool:
    """Returns whether a file has its arrays as members of a zip archive."""
    if not zipfile.is_zipfile(path):
        return False
    with _blame(path):
        names = {member.name for member in zip_members.find_members(path)}
    return all({key, f"{key}.npy"} & names for key in keys)


def _shared(
    contents: Contents,
    arrays: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
) -> list[str]:
    """Finds what else lies where arrays are changed.

    Returns:
      Lines about other names of the same tensors.

    Raises:
      UserError: If a part of another tensor would change.
    """
    lines = []
    for key, array in arrays.items():
        for other, tensor in contents.tensors.items():
            its = tensor.load()
            if other == key or not places.overlap(array, its):
                continue
            same = places.is_same_place(array, its)
            if not same or not np.array_equal(
                values[key], values.get(other, values[key])
            ):
                raise UserError(
                    f"{contents.path}: {shown(key)} and {shown(other)} share their "
                    "storage, so that one cannot be changed without the other; save a "
                    "copy in which one of them is a clone()"
                )
            if other not in values:
                lines.append(
                    f"{shown(other)} is the same tensor as {shown(key)}: both change"
                )
        lines += [
            f"{shown(alias)} is the same as {shown(first)}: both change"
            for alias, first in contents.aliases.items()
            if key.startswith(f"{first}.")
        ]
    return lines


def _patch_member(source: Path, key: str, new: np.ndarray, target: Path) -> None:
    """Writes an array of an `.npz` file."""
    name = f"{key}.npy"
    with _blame(source, key):
        members = zip_members.find_members(target)
        found = [m for m in members if m.name in (name, key)]
        if len(found) != 1:
            raise Refused(f"has {len(found)} members of the name")
        (member,) = found
        with zipfile.ZipFile(target) as archive:
            content = archive.read(member.name)
        old = np.load(io.BytesIO(content), allow_pickle=False)
        header = len(content) - old.nbytes
        fortran = old.flags.f_contiguous and not old.flags.c_contiguous
        changed = new.tobytes("F" if fortran else "C")
        if member.method != zipfile.ZIP_STORED:
            zip_members.replace_compressed(
                target, member.name, content[:header] + changed
            )
            return
        with target.open("rb+") as file:
            file.seek(member.start + header)
            file.write(changed)
            zip_members.renew_checksums(file, [member])


def _check(source: Path, target: Path, expected: Mapping[str, np.ndarray]) -> None:
    """Reads a copy again, and compares it with what should be in it."""
    again = read_contents(target).tensors
    for key, array in expected.items():
        if key not in again or again[key].load().tobytes() != array.tobytes():
            raise UserError(
                f"{source}: {shown(key)} cannot be changed alone: it is stored in a "
                "way that is not known; save the checkpoint again with torch.save"
            )


@contextlib.contextmanager
def _blame(source: Path, key: str = "") -> Iterator[None]:
    """Turns a refusal into an error that names the file and the array."""
    try:
        yield
    except Refused as error:
        name = f" {shown(key)}" if key else ""
        raise UserError(f"{source}:{name} {error}") from None
