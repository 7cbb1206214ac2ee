"""What is in a checkpoint: its tensors by their full paths, and what else there is.

A path joins the keys of nested dicts by dots, and the numbers of the items of lists.
State dicts have dots in their keys already, so it does not show which is which, and
need not: `state_dict.fc.weight` is the same whether `fc.weight` is one key or two.
"""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from alphanet_jax import files, parsing
from alphanet_jax.data import safetensors, torch_files, zip_members
from alphanet_jax.data.contents import brief, is_overlapping
from alphanet_jax.data.torch_files import FileFormatError, Placeholder
from alphanet_jax.errors import UserError

__all__ = [
    "INDEX_ENDING",
    "NONE",
    "Contents",
    "Tensor",
    "is_index",
    "load_tensor",
    "read_contents",
]

NONE: Final = "None"  # how what is not there is described
INDEX_ENDING: Final = ".index.json"  # of the list of the parts of a checkpoint
_MAX_INDEX_BYTES: Final = 64 << 20
# Files of strangers: what is found in one is limited, whatever its size.
_MAX_DEPTH: Final = 32
_MAX_KEY: Final = 512
_MAX_ITEMS: Final = 1_000  # of a list
_MAX_FOUND: Final = 100_000
_MAX_CHARACTERS: Final = 4_000_000  # of all the paths
_SMALL_DICT: Final = 100  # its items are shown, though there are no tensors


class Tensor(NamedTuple):
    """A tensor or array in a file, read only when it is asked for."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    source: Path  # the file that it is in
    load: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=object))


class Contents(NamedTuple):
    """What is in a file.

    Attributes:
      path: The file.
      root: The object in it, where it is not a file of many arrays.
      tensors: Its tensors by full path.
      others: What else there is by full path, described in a few words.
      objects: The names of the classes of objects that were not loaded, by full path.
      aliases: Further paths of containers that are there twice, and the first one.
    """

    path: Path
    root: Any
    tensors: dict[str, Tensor]
    others: dict[str, str]
    objects: dict[str, str]
    aliases: dict[str, str]


def is_index(path: Path) -> bool:
    """Returns whether a file lists the parts of a checkpoint, by its name."""
    return path.name.endswith(INDEX_ENDING)


def read_contents(path: Path) -> Contents:
    """Reads what is in a file, and no more of its arrays than needed.

    Args:
      path: The file: of `torch.save` or a pickle in any format, `.npz`, `.npy`,
        safetensors, or the index of one that is in parts. But for the index and what
        ends with `.npz` or `.safetensors`, its kind is told by its content.

    Returns:
      What is in it.

    Raises:
      UserError: If it is missing, damaged or holds what is not read.
    """
    if is_index(path):
        return _read_parts(path)
    kind = _kind(path)
    if kind == "npz":
        return _read_npz(path)
    root: Any
    if kind == "npy":
        root = files.open_npy(path)
    elif kind == "safetensors":
        root = safetensors.load(path)
    else:
        root = torch_files.load(path)
    found = Contents(path, root, {}, {}, {}, {})
    _walk(found, root)
    return found


def _kind(path: Path) -> str:
    """Tells what kind of file it is: 'npz', 'npy', 'safetensors' or 'torch'."""
    if path.suffix in (".npz", ".npy", ".safetensors"):
        return path.suffix[1:]
    files.check_regular(path)
    try:
        with path.open("rb") as file:
            start = file.read(9)
        size = path.stat().st_size
    except OSError:
        return "torch"  # whose reader says what is wrong
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zip_members.DAMAGED:
            return "torch"
        return "npz" if names and all(n.endswith(".npy") for n in names) else "torch"
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") < size:
        return "safetensors"
    return "torch"


def _read_npz(path: Path) -> Contents:
    found = Contents(path, None, {}, {}, {}, {})
    for name, (shape, dtype) in files.list_npz(path).items():
        if dtype.hasobject:
            found.objects[name] = "array of Python objects"
            continue

        def load(name: str = name) -> np.ndarray:
            return files.open_npz(path, [name])[name]

        found.tensors[name] = Tensor(name, shape, dtype, path, load)
    return found


def _read_parts(path: Path) -> Contents:
    """Reads the parts of a checkpoint; one that is missing is so only where needed."""
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise UserError(f"{path}: is too large for the index of a checkpoint")
        index = parsing.parse_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path}: is not JSON, so no index of a checkpoint") from None
    where = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(where, dict) or not all(
        isinstance(name, str)
        and Path(name).name == name
        and not name.endswith(INDEX_ENDING)
        for name in where.values()
    ):
        raise UserError(
            f"{path}: expected a weight_map from names of tensors to names of files "
            "beside the index"
        )
    found = Contents(path, None, {}, {}, {}, {})
    keys_of: dict[str, list[str]] = {}
    for key, name in where.items():
        keys_of.setdefault(name, []).append(key)
    for name, keys in keys_of.items():
        part = path.parent / name
        if not _is_file(part):
            found.objects.update(dict.fromkeys(keys, f"tensor of {name}, missing"))
            continue
        inside = read_contents(part)
        for key in keys:
            if key in inside.tensors:
                found.tensors[key] = inside.tensors[key]
    return found


def _is_file(path: Path) -> bool:
    """Returns whether there is such a file; a name may be longer than any."""
    try:
        return path.is_file()
    except OSError:
        return False


def _walk(found: Contents, root: Any) -> None:
    """Collects what is in an object, every container once, in order."""
    first: dict[int, str] = {}
    # What is still to be looked at in the containers above, the innermost last.
    pending: list[tuple[str, Iterator[tuple[str, Any]]]] = [("", iter([("", root)]))]
    characters = 0
    while pending:
        above, items = pending[-1]
        name, value = next(items, (None, None))
        if name is None:
            pending.pop()
            continue
        if len(above) + len(name) >= _MAX_KEY:
            continue
        key = f"{above}.{name}" if above else name
        characters += len(key)
        full = len(found.tensors) + len(found.others) + len(found.aliases)
        full += len(found.objects)
        if full >= _MAX_FOUND or characters > _MAX_CHARACTERS:
            break
        if isinstance(value, np.ndarray):
            _add_array(found, key, value)
        elif isinstance(value, Placeholder):
            found.objects[key] = value.name
        elif isinstance(value, dict | list | tuple):
            if id(value) in first:
                found.aliases[key] = first[id(value)]
                continue
            first[id(value)] = key
            small = isinstance(value, dict) and 0 < len(value) <= _SMALL_DICT
            deep = small or any(_is_deep(item) for _, item in _items(value))
            if len(pending) > _MAX_DEPTH or not deep:
                found.others[key] = _describe(value)
            else:
                pending.append((key, _items(value)))
        else:
            found.others[key] = _describe(value)


def _items(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...],
) -> Iterator[tuple[str, Any]]:
    """Yields the names and the values in a container."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (key if isinstance(key, str) else _name(key)), item
    else:
        yield from ((str(i), item) for i, item in enumerate(value[:_MAX_ITEMS]))


def _name(key: Any) -> str:
    return key.name if isinstance(key, Placeholder) else str(key)


def _is_deep(value: Any) -> bool:
    """Returns whether there may be a tensor in it."""
    return isinstance(value, np.ndarray | Placeholder | dict | list | tuple)


def _describe(value: Any) -> str:
    if isinstance(value, list | tuple | dict | set | frozenset):
        return f"{type(value).__name__} of {len(value)}" if value else "empty"
    return brief(value.item() if isinstance(value, np.generic) else value)


def _add_array(found: Contents, key: str, array: np.ndarray) -> None:
    if key in found.tensors:  # "a.b" as one key, and as b in a
        key = f"{key}#2"

    def load() -> np.ndarray:
        return array

    found.tensors[key] = Tensor(key, array.shape, array.dtype, found.path, load)


def load_tensor(tensor: Tensor) -> np.ndarray:
    """Loads a tensor that is not far larger than its file.

    Raises:
      FileFormatError: If it is: one that torch expanded, or packed zeros.
    """
    size = tensor.size * tensor.dtype.itemsize
    packed = tensor.source.stat().st_size
    array = None
    if size <= parsing.TIMES_PACKED * packed + parsing.FREE_BYTES:
        array = tensor.load()
    if array is None or is_overlapping(array):
        raise FileFormatError(
            f"{tensor.source}: {tensor.key!r} of shape {tensor.shape} takes {size:,} "
            "bytes, far more than the file has: if it is an expanded tensor, clone it "
            "before it is saved"
        )
    return array
