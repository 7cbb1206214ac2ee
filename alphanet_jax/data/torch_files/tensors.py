"""The tensors and storages of PyTorch: views of bytes, with dtypes and strides."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import ml_dtypes
import numpy as np

from alphanet_jax.data.untrusted import (
    Refused,
    check_sizes,
    count_elements,
    expect,
    expect_size,
    quote,
)

EXTENSION_DTYPES: Final = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        "bfloat16",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
}
TORCH_DTYPES: Final = EXTENSION_DTYPES | {
    name: np.dtype(name)
    for name in (
        *("float64", "float32", "float16", "complex128", "complex64", "bool"),
        *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    )
}
TORCH_STORAGES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}


class StorageClass(NamedTuple):
    """A class of storages; an untyped one counts in bytes."""

    dtype: np.dtype[Any] | None

    @property
    def width(self) -> int:
        """Bytes in an element."""
        return self.dtype.itemsize if self.dtype is not None else 1


class Storage(NamedTuple):
    """A tensor's bytes, or None while it is not known where they lie."""

    dtype: np.dtype[Any] | None
    data: memoryview | None


class StorageId(NamedTuple):
    """How an object pickle refers to a storage."""

    kind: StorageClass
    key: str
    size: int  # elements of `kind`
    part: tuple[int, int] | None  # offset and size of a view, in elements


FindStorage = Callable[[StorageId], Storage]


def slice_storage(spec: StorageId, data: memoryview) -> Storage:
    """Makes a storage of at least the bytes that it should have."""
    width = spec.kind.width
    if spec.size * width > len(data):
        raise Refused(
            f"declares {spec.size * width} bytes for storage {quote(spec.key)} and "
            f"holds {len(data)}"
        )
    offset, size = spec.part if spec.part is not None else (0, spec.size)
    if offset + size > spec.size:
        raise Refused(f"uses a part outside of storage {quote(spec.key)}")
    return Storage(spec.kind.dtype, data[offset * width : (offset + size) * width])


def _strided_array(
    data: memoryview,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
) -> np.ndarray:
    """Views a storage as a tensor; offset and strides count elements."""
    if len(shape) != len(strides):
        raise Refused("a tensor's shape and strides differ in length")
    if not count_elements(shape, dtype):
        return np.ndarray(shape, dtype, b"")
    # An axis of size one is never stepped along, so its stride may be anything.
    steps = [
        stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True)
    ]
    last = offset + sum(
        (size - 1) * step for size, step in zip(shape, steps, strict=True)
    )
    if (last + 1) * dtype.itemsize > len(data):
        raise Refused(
            f"a tensor reaches to element {last} of a storage of "
            f"{len(data) // dtype.itemsize}"
        )
    width = dtype.itemsize
    array: np.ndarray = np.ndarray(
        shape, dtype, data, offset * width, [step * width for step in steps]
    )
    return array


def build_tensor(
    storage: object,
    dtype: np.dtype[Any] | None,
    offset: object,
    shape: object,
    strides: object,
    metadata: object,
) -> np.ndarray:
    """Builds a tensor as a view of its storage."""
    if not isinstance(storage, Storage):
        raise Refused("has a tensor without a storage")
    if metadata is not None:
        flags = expect(metadata, dict, "the metadata of a tensor")
        set_bits = [
            bit for bit in ("conj", "neg") if flags.get(bit, False) is not False
        ]
        if set_bits:
            raise Refused(
                f"has a tensor with its lazy {' and '.join(set_bits)} bit set; save "
                "it after resolve_conj() and resolve_neg()"
            )
    dtype = dtype if dtype is not None else storage.dtype
    if dtype is None:
        raise Refused("has a tensor without a dtype")
    start = expect_size(offset, "a tensor's offset")
    sizes = check_sizes(shape, "shape")
    steps = check_sizes(strides, "strides")
    if storage.data is None:
        return _UNREAD
    return _strided_array(storage.data, dtype, start, sizes, steps)


# Stands for the tensors while it is not known where their storages lie.
_UNREAD: Final[np.ndarray] = np.ndarray(0, buffer=b"")
