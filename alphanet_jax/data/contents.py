"""What is in a file of any form that is read, as Python objects and arrays."""

import reprlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from alphanet_jax import files
from alphanet_jax.data import safetensors, torch_files

__all__ = ["as_array", "brief", "describe", "is_overlapping", "load_content"]

_MAX_MORE: Final = 1_000_000
_MAX_CHARACTERS: Final = 2_000_000
_BRIEF: Final = 61


class _ShortRepr(reprlib.Repr):
    """Writes the beginning of containers, in ASCII."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, list | tuple | dict | set | frozenset):
            return super().repr1(x, level)
        return brief(x)


_SHORT: Final = _ShortRepr()
_DEEP: Final = (list, tuple, dict, np.ndarray, str, bytes)


def load_content(path: Path) -> Any:
    """Loads a file: by its ending .npz and safetensors, torch files and pickles else.

    Raises:
      UserError: If it is missing, damaged or holds what is not read.
    """
    if path.suffix == ".npy":
        return files.open_npy(path)
    if path.suffix == ".npz":
        return files.open_npz(path)
    if path.suffix == ".safetensors":
        return safetensors.load(path)
    return torch_files.load(path)


def as_array(values: Any) -> np.ndarray:
    """Makes an array of a sequence; of anything else, one that no check accepts.

    Nor of a sequence that would become far larger: lists within lists within lists, one
    array many times, a long text among others.
    """
    if isinstance(values, list | tuple) and not _is_affordable(values):
        return np.asarray(None)
    if isinstance(values, np.ndarray) and is_overlapping(values):
        return np.asarray(None)
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return np.asarray(None)


def is_overlapping(array: np.ndarray) -> bool:
    """Returns whether an array has more elements than the memory that it views.

    A tensor that torch expanded is one, or windows that overlap: a copy may take far
    more than the file.

    Examples:
      >>> is_overlapping(np.broadcast_to(np.zeros(3), (2, 3)))
      True
      >>> is_overlapping(np.zeros((4, 6))[::2, 1:])
      False
    """
    steps = zip(array.shape, array.strides, strict=True)
    spanned = sum((size - 1) * abs(step) for size, step in steps) + array.itemsize
    return bool(array.size) and array.nbytes > spanned


def _is_affordable(values: list[Any] | tuple[Any, ...]) -> bool:
    """Returns whether what is in a sequence takes about as much as an array of it."""
    longest, more = 0, 0  # characters of a text; elements beyond one an item
    for item in values:
        if isinstance(item, np.ndarray):
            more += max(item.size - 1, 0)
        elif isinstance(item, list | tuple):
            more += max(len(item) - 1, 0)
            if more <= _MAX_MORE and any(isinstance(x, _DEEP) for x in item):
                return False
        elif isinstance(item, str | bytes):
            longest = max(longest, len(item))
        if more > _MAX_MORE or longest * len(values) > _MAX_CHARACTERS:
            return False
    return True


def describe(content: Any) -> str:
    """Describes in a few words what was found where something else was expected."""
    if isinstance(content, dict):
        keys = [brief(key) for key in list(content)[:6]]
        more = ", ..." if len(content) > len(keys) else ""
        return f"a dict of {', '.join(keys)}{more}" if keys else "an empty dict"
    if isinstance(content, list | tuple) and not content:
        return f"an empty {type(content).__name__}"
    if isinstance(content, torch_files.Placeholder):
        return f"an object of {brief(content.name)}, which is not loaded"
    return "None" if content is None else f"a {type(content).__name__}"


def brief(value: Any) -> str:
    """Formats a value from a file in about 60 printable characters."""
    if isinstance(value, str | bytes):
        value = value[:_BRIEF]
    if isinstance(value, list | tuple | dict | set | frozenset):
        # A list of lists that are one and the same would be written 2^n times.
        text = _SHORT.repr(value)
    else:
        text = ascii(value)
    if not text.isprintable():  # as of an object, whose name may hold anything
        text = ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:60]}..."
