"""What is in a file of any form that is read, as Python objects and arrays."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from alphanet_jax import files
from alphanet_jax.data import safetensors, torch_files

__all__ = ["as_array", "brief", "describe", "load_content"]

_MAX_MORE: Final = 1_000_000
_MAX_CHARACTERS: Final = 10_000_000
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
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return np.asarray(None)


def _is_affordable(values: list[Any] | tuple[Any, ...]) -> bool:
    """Returns whether what is in a sequence takes about as much as an array of it."""
    longest, more = 0, 0  # characters of a text; elements beyond one an item
    for item in values:
        if isinstance(item, np.ndarray):
            more += item.size - 1
        elif isinstance(item, list | tuple):
            more += len(item) - 1
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
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
