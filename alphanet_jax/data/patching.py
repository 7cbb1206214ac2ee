"""Copies of files in which some arrays have other values; all else is byte for byte.

Nothing of a file is run and nothing is written anew: the values are put where the old
ones lie, and the checksums of a zip archive that they are part of are renewed.
"""

import contextlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alphanet_jax import files
from alphanet_jax.data import places, zip_members
from alphanet_jax.data.contents import load_content
from alphanet_jax.data.untrusted import Refused
from alphanet_jax.errors import UserError

__all__ = ["files_of", "is_index", "load_arrays", "patch"]

_INDEX = ".index.json"
_ZIP = b"PK\x03\x04"
_MAX_INDEX_BYTES = 100_000_000


def is_index(path: Path) -> bool:
    """Returns whether a file lists the tensors of several others by its name."""
    return path.name.endswith(_INDEX)


def files_of(path: Path) -> dict[str, Path]:
    """Reads an index: the file of every tensor.

    Args:
      path: A file such as `model.safetensors.index.json`.

    Returns:
      Paths by the tensor's key.

    Raises:
      UserError: If it is no such index.
    """
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise UserError(f"{path}: too large for an index")
        names = json.loads(files.decode_text(path.read_bytes()))["weight_map"]
        found = {str(key): path.parent / name for key, name in names.items()}
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(
            f"{path}: not an index: expected JSON with a 'weight_map' of file names"
        ) from None
    for key, part in found.items():
        if part.parent != path.parent:
            raise UserError(
                f"{path}: {key!a} must be in a file beside the index, "
                f"got {names[key]!a}"
            )
    return found


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Loads the arrays of a file by key, or those of all files of an index.

    Raises:
      UserError: If a file is missing, damaged or holds what is not read.
    """
    if is_index(path):
        where = files_of(path)
        loaded = {part: load_arrays(part) for part in sorted(set(where.values()))}
        return {
            key: loaded[part][key] for key, part in where.items() if key in loaded[part]
        }
    return places.flatten(load_content(path))


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
      place: Returns where to write a file for now, as `files.staging` yields it.
      out: The copy. Files that an index lists go beside it, if something in them
        changes.

    Returns:
      Lines about what else is changed by that.

    Raises:
      UserError: If an array cannot be changed where it lies.
    """
    if not is_index(source):
        return _patch_one(source, values, place(out))
    where = files_of(source)
    lines: list[str] = []
    for part in sorted({where[key] for key in values}):
        inner = {key: array for key, array in values.items() if where[key] == part}
        lines += _patch_one(part, inner, place(out.with_name(part.name)))
    shutil.copyfile(source, place(out))
    return lines


def _patch_one(
    source: Path, values: Mapping[str, np.ndarray], target: Path
) -> list[str]:
    """Copies one file with other values; returns lines about it."""
    arrays = load_arrays(source)
    for key, new in values.items():
        old = arrays[key]
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise ValueError(
                f"{key} must have shape {old.shape} and dtype {old.dtype}, "
                f"got {new.shape} and {new.dtype}"
            )
    lines = _aliases(source, arrays, values)
    if source.suffix == ".npz":
        shutil.copyfile(source, target)
        for key, new in values.items():
            _patch_member(source, key, new, target)
        _check(source, target, arrays, values, lines, all_of_it=False)
        return lines
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
    _check(source, target, arrays, values, lines, all_of_it=searched)
    return lines


def _renew(
    file: BinaryIO, members: list[zip_members.Member], offsets: list[int]
) -> None:
    touched = [m for m in members if any(m.start <= at < m.stop for at in offsets)]
    zip_members.renew_checksums(file, touched)


def _aliases(
    source: Path, arrays: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> list[str]:
    """Finds what else lies where arrays are changed.

    Returns:
      Lines about other names of the same tensors.

    Raises:
      UserError: If a part of another tensor would change.
    """
    lines = []
    for key, new in values.items():
        for other, array in arrays.items():
            if other == key or not places.overlap(arrays[key], array):
                continue
            same = places.is_same_place(arrays[key], array)
            if not same or not np.array_equal(new, values.get(other, new)):
                raise UserError(
                    f"{source}: {key} and {other} share their storage, so that one "
                    "cannot be changed without the other; save a copy in which they "
                    f"do not: state_dict[{key!r}] = state_dict[{key!r}].clone()"
                )
            if other not in values:
                lines.append(f"{other} is the same tensor as {key}: both are changed")
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


def _check(
    source: Path,
    target: Path,
    arrays: Mapping[str, np.ndarray],
    values: Mapping[str, np.ndarray],
    lines: list[str],
    *,
    all_of_it: bool,
) -> None:
    """Reads a copy again, and compares it with what should be in it."""
    again = load_arrays(target)
    for key, array in arrays.items():
        if key not in values and (lines or not all_of_it):
            continue
        wanted = values.get(key, array)
        if key not in again or again[key].tobytes() != wanted.tobytes():
            raise UserError(
                f"{source}: {key} cannot be changed alone: it is stored in a way that "
                "is not known; save the checkpoint again with torch.save"
            )


@contextlib.contextmanager
def _blame(source: Path, key: str = "") -> Iterator[None]:
    """Turns a refusal into an error that names the file and the array."""
    try:
        yield
    except Refused as error:
        name = f" {key}" if key else ""
        raise UserError(f"{source}:{name} {error}") from None
