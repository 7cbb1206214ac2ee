"""Values out of a file of the original's, each checked as it is taken."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alphanet_jax.data.torch_files import Placeholder
from alphanet_jax.data.untrusted import Allowance, Refused

__all__ = ["Fields", "integer", "number", "text"]

_MAX_TEXT = 512
_MAX_INTEGER = 2**53
_BYTES_OF_A_NUMBER = 8


class Fields:
    """A dict of a file. What is not as it must be is `Refused`, by its whole name.

    Attributes:
      name: Where the dict is in the file, for messages; ends in a dot, or is empty.
      allowance: Memory that what is made of the file may still take.
    """

    def __init__(self, value: object, name: str, allowance: Allowance) -> None:
        if not isinstance(value, dict):
            raise Refused(f"{name or 'its content'} is {_kind(value)}, not a dict")
        self._values: Mapping[Any, Any] = value
        self.name = f"{name}." if name else ""
        self.allowance = allowance

    def __contains__(self, key: str) -> bool:
        """Returns whether there is such an entry, other than None."""
        return self._values.get(key) is not None

    def raw(self, key: str) -> Any:
        """Returns an entry as it is."""
        if key not in self:
            raise Refused(f"it has no {self.name}{key}")
        return self._values[key]

    def inner(self, key: str) -> "Fields":
        """Returns an entry that is a dict."""
        return Fields(self.raw(key), f"{self.name}{key}", self.allowance)

    def text(self, key: str) -> str:
        """Returns an entry that is short text, or the last part of a class's name."""
        return text(self.raw(key), f"{self.name}{key}")

    def integer(self, key: str, *, least: int = 0) -> int:
        """Returns an entry that is a whole number."""
        return integer(self.raw(key), f"{self.name}{key}", least=least)

    def flag(self, key: str) -> bool:
        """Returns an entry that is True or False; False where there is none."""
        value = self.raw(key) if key in self else False
        if not isinstance(value, bool):
            raise Refused(f"{self.name}{key} is {_kind(value)}, not True or False")
        return value

    def sequence(self, key: str) -> Sequence[Any]:
        """Returns an entry that is a list or tuple."""
        value = self.raw(key)
        if not isinstance(value, list | tuple):
            raise Refused(f"{self.name}{key} is {_kind(value)}, not a list")
        return value

    def classes(self, key: str, num_classes: int) -> np.ndarray:
        """Returns an entry that is a set or list of classes, ascending."""
        value = self.raw(key)
        if not isinstance(value, set | frozenset | list | tuple):
            raise Refused(f"{self.name}{key} is {_kind(value)}, not a set of classes")
        self._take(len(value))
        found = sorted({class_id(each, num_classes, self.name + key) for each in value})
        if len(found) < len(value):
            raise Refused(f"{self.name}{key} has a class twice")
        return np.asarray(found, np.int32)

    def per_class(self, key: str, num_classes: int, *, most: float = 1.0) -> np.ndarray:
        """Returns an entry that is a dict of numbers by class; NaN where there is none.

        Returns:
          The numbers, with shape `[C]`.
        """
        values, name = self.raw(key), f"{self.name}{key}"
        if not isinstance(values, dict):
            raise Refused(f"{name} is {_kind(values)}, not a dict by class")
        self._take(num_classes + len(values))
        found = np.full(num_classes, np.nan)
        for label, value in values.items():
            found[class_id(label, num_classes, name)] = number(value, name, most=most)
        return found

    def array(self, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """Returns an entry that is a tensor of finite numbers, as float32.

        Args:
          key: Its key.
          shape: The shape that it must have; None for any number, at least 1.
        """
        return self.tensor(self.raw(key), shape, f"{self.name}{key}")

    def tensor(
        self,
        value: object,
        shape: tuple[int | None, ...],
        name: str,
        *,
        finite: bool = True,
    ) -> np.ndarray:
        """Checks a tensor of numbers, and makes it float32."""
        if not isinstance(value, np.ndarray):
            raise Refused(f"{name} is {_kind(value)}, not a tensor")
        is_float = value.dtype.kind == "f" or value.dtype.name == "bfloat16"
        fits = len(shape) == value.ndim and all(
            size == wanted if wanted is not None else size > 0
            for size, wanted in zip(value.shape, shape, strict=False)
        )
        if not is_float or not fits:
            wanted = ", ".join("n" if n is None else str(n) for n in shape)
            raise Refused(
                f"{name} is a tensor of {value.dtype.name} with shape "
                f"{tuple(value.shape)}, and must be of floats with shape ({wanted})"
            )
        # A tensor may have strides of zero, and so be far larger than the file.
        self.allowance.take(4 * value.size)
        with np.errstate(over="ignore", invalid="ignore"):
            made = np.array(value, np.float32)
        if finite and not np.isfinite(made).all():
            raise Refused(f"{name} has numbers that are not finite")
        return made

    def indices(self, key: str, size: int) -> np.ndarray:
        """Returns an entry that is a tensor with an order of so many things."""
        value, name = self.raw(key), f"{self.name}{key}"
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            raise Refused(f"{name} is {_kind(value)}, not a tensor of whole numbers")
        if value.shape != (size,):
            raise Refused(f"{name} has shape {value.shape}, and must have ({size},)")
        self._take(size)
        if not np.array_equal(np.sort(value), np.arange(size)):
            raise Refused(f"{name} is not an order of {size} classes")
        return np.asarray(value, np.int64)

    def by_class(self, key: str) -> Mapping[Any, Any]:
        """Returns an entry that is a dict by class."""
        value = self.raw(key)
        if not isinstance(value, dict):
            raise Refused(f"{self.name}{key} is {_kind(value)}, not a dict by class")
        return value

    def keys(self) -> list[str]:
        """Lists the keys that are text."""
        return [key for key in self._values if isinstance(key, str)]

    def _take(self, numbers: int) -> None:
        self.allowance.take(_BYTES_OF_A_NUMBER * numbers)


def class_id(value: object, num_classes: int, name: str) -> int:
    """Returns a class."""
    if type(value) is np.ndarray and value.shape == () and value.dtype.kind in "iu":
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise Refused(f"{name} has {_kind(value)} for a class")
    if not 0 <= value < num_classes:
        raise Refused(
            f"{name} has class {value}, and there are {num_classes}, from 0 to "
            f"{num_classes - 1}"
        )
    return int(value)


def integer(value: object, name: str, *, least: int = 0) -> int:
    """Returns a whole number that is at least so much."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise Refused(f"{name} is {_kind(value)}, not a whole number")
    if not least <= value <= _MAX_INTEGER:
        raise Refused(f"{name} is {value}, and must be at least {least}")
    return int(value)


def number(value: object, name: str, *, most: float = math.inf) -> float:
    """Returns a number, Python's, NumPy's or a tensor's, from 0 to `most`.

    With `most` of infinity any number is taken, and NaN too; rounding is allowed for.
    """
    if isinstance(value, np.ndarray) and value.shape == ():
        value = value[()]
    if isinstance(value, bool) or not isinstance(
        value, int | float | np.floating | np.integer
    ):
        raise Refused(f"{name} has {_kind(value)} for a number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isinf(most) and not 0.0 <= found <= most * (1.0 + 1e-6):
        raise Refused(f"{name} has {found:g}, and must be from 0 to {most:g}")
    return min(found, most)


def text(value: object, name: str) -> str:
    """Returns short text, or the last part of the name of a class."""
    if isinstance(value, Placeholder):
        value = value.name.rpartition(".")[2]
    if not isinstance(value, str):
        raise Refused(f"{name} is {_kind(value)}, not text")
    if len(value) > _MAX_TEXT:
        raise Refused(f"{name} is text of {len(value)} letters; {_MAX_TEXT} are read")
    return value


def _kind(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, Placeholder):
        return f"an object of {value.name}"
    if isinstance(value, np.ndarray):
        return f"a tensor of shape {value.shape}"
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
