"""Safetensors: a header in JSON, and then the bytes of the tensors."""

import json
import os
import struct
from collections.abc import Mapping
from typing import Final

import ml_dtypes
import numpy as np

from alphanet_jax import parsing
from alphanet_jax.data.untrusted import (
    Refused,
    blame,
    check_sizes,
    expect,
    map_file,
    quote,
    whole_array,
)

__all__ = ["load", "save"]

_MAX_JSON_HEADER: Final = 100_000_000  # the limit of the safetensors format
_UINT64: Final = struct.Struct("<Q")
_DTYPES: Final = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def load(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a safetensors file.

    Args:
      path: The file.

    Returns:
      The tensors by name, as read-only views of the mapped file.

    Raises:
      FileFormatError: If the file is damaged or is not a safetensors file.
      UserError: If the file cannot be opened.
    """
    with blame(os.fsdecode(path)):
        data = map_file(os.fsdecode(path))
        if len(data) < _UINT64.size:
            raise Refused("is too short for a safetensors file")
        (length,) = _UINT64.unpack_from(data)
        if length > min(len(data) - _UINT64.size, _MAX_JSON_HEADER):
            raise Refused(f"is no safetensors file: its header has {length} bytes")
        content = data[_UINT64.size + length :]
        header = _parse_header(bytes(data[_UINT64.size : _UINT64.size + length]))
        header.pop("__metadata__", None)
        spans = []
        tensors = {}
        for name, entry in header.items():
            start, end, tensors[name] = _view_tensor(name, entry, content)
            spans.append((start, end))
        # The format has neither gaps nor overlaps, so this finds cut files too.
        position = 0
        for start, end in sorted(spans):
            if start != position:
                raise Refused("has gaps or overlaps between its tensors")
            position = end
        if position != len(content):
            raise Refused(f"has {len(content) - position} bytes in no tensor")
        return tensors


def save(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a safetensors file; equal tensors give equal bytes.

    Args:
      path: The file.
      tensors: The tensors by name.

    Raises:
      ValueError: If the format has no such dtype.
    """
    kinds = {dtype: kind for kind, dtype in _DTYPES.items()}
    header: dict[str, object] = {}
    start = 0
    for name, array in tensors.items():
        if array.dtype not in kinds:
            raise ValueError(
                f"{name} must be of one of {', '.join(map(str, kinds))}, "
                f"got {array.dtype}"
            )
        stop = start + array.nbytes
        header[name] = {
            "dtype": kinds[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _UINT64.size)  # the data begins at an even address
    with open(path, "wb") as file:
        file.write(_UINT64.pack(len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def _parse_header(text: bytes) -> dict[str, object]:
    try:
        header = parsing.parse_json(text)
    except ValueError as error:
        if "two entries" in str(error):
            raise Refused("has two entries of one name in its header") from None
        raise Refused("is no safetensors file: its header is not JSON") from None
    if type(header) is not dict:
        raise Refused("is no safetensors file: its header is not a JSON object")
    return header


def _view_tensor(
    name: str, entry: object, content: memoryview
) -> tuple[int, int, np.ndarray]:
    """Views one tensor; returns where it starts and ends, and the tensor."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refused(f"describes tensor {quote(name)} in an unknown way")
    kind = expect(entry["dtype"], str, "a dtype")
    if kind not in _DTYPES:
        raise Refused(
            f"has tensor {quote(name)} of dtype {quote(kind)}; allowed are "
            f"{', '.join(_DTYPES)}"
        )
    shape = check_sizes(entry["shape"], "shape")
    offsets = check_sizes(entry["data_offsets"], "place")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= len(content):
        raise Refused(f"has tensor {quote(name)} outside of the file")
    start, end = offsets
    dtype = _DTYPES[kind]
    return start, end, whole_array(content[start:end], dtype, shape, False)
