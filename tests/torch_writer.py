"""Writes files as torch.save does, without torch: what tests of readers read.

Arrays become tensors, each with a storage of its own. `Unknown` becomes an object of a
class that no reader knows.
"""

import dataclasses
import io
import struct
import zipfile
from pathlib import Path

import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."


@dataclasses.dataclass
class Unknown:
    """An object of a class such as argparse.Namespace, with a state."""

    name: str
    state: object


class _Writer:
    """Writes one pickle; collects the storages of its tensors."""

    def __init__(self, *, legacy=False):
        self.legacy = legacy
        self.storages = []
        self.memo = {}

    def write(self, value):
        """Writes a value; a container that comes again is the same one."""
        if id(value) in self.memo:
            return b"j" + struct.pack("<I", self.memo[id(value)][0])
        if not isinstance(value, dict | list | Unknown):
            return self.write_new(value)
        number = len(self.memo)
        self.memo[id(value)] = (number, value)
        memoized = b"r" + struct.pack("<I", number)
        if isinstance(value, dict):
            items = [self.write(k) + self.write(v) for k, v in value.items()]
            return b"}" + memoized + b"(" + b"".join(items) + b"u"
        if isinstance(value, list):
            return b"]" + memoized + b"(" + b"".join(map(self.write, value)) + b"e"
        module, _, name = value.name.rpartition(".")
        made = f"c{module}\n{name}\n)\x81".encode("latin1")
        return made + memoized + self.write(value.state) + b"b"

    def write_new(self, value):
        if value is None or isinstance(value, bool):
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        if isinstance(value, int):
            return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)
        if isinstance(value, float):
            return b"G" + struct.pack(">d", value)
        if isinstance(value, str):
            content = value.encode()
            return b"X" + struct.pack("<I", len(content)) + content
        if isinstance(value, tuple):
            return b"(" + b"".join(map(self.write, value)) + b"t"
        return self.write_tensor(value)

    def write_tensor(self, array):
        """Writes a tensor; a transposed array keeps its strides."""
        array = np.asarray(array)
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        stored = array.T if fortran else array
        self.storages.append(np.ascontiguousarray(stored))
        key = str(len(self.storages) - 1)
        strides = tuple(step // array.itemsize for step in array.strides)
        if not fortran:
            strides = tuple(
                int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)
            )
        kind = f"ctorch\n{STORAGES[array.dtype.name]}\n".encode()
        named = b"".join(map(self.write, (key, "cpu", array.size)))
        reference = b"(" + self.write("storage") + kind + named + b"N" * self.legacy
        return (
            b"ctorch._utils\n_rebuild_tensor_v2\n("
            + reference
            + b"tQ"
            + self.write(0)
            + self.write(array.shape)
            + self.write(strides)
            + b"\x89}tR"
        )


def zip_bytes(value):
    """Writes the zip archive of torch.save."""
    writer = _Writer()
    content = b"\x80\x02" + writer.write(value) + b"."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for key, storage in enumerate(writer.storages):
            archive.writestr(f"archive/data/{key}", storage.tobytes())
    return file.getvalue()


def legacy_bytes(value):
    """Writes the older stream of torch.save."""
    writer = _Writer(legacy=True)
    content = b"\x80\x02" + writer.write(value) + b"."
    numbers = list(map(str, range(len(writer.storages))))
    keys = b"\x80\x02" + _Writer().write(numbers) + b"."
    data = b"".join(
        struct.pack("<q", storage.size) + storage.tobytes()
        for storage in writer.storages
    )
    return LEGACY_START + content + keys + data


FORMATS = {"zip": zip_bytes, "legacy": legacy_bytes}


def save(value, path, form="zip"):
    """Writes a file in one of `FORMATS`."""
    Path(path).write_bytes(FORMATS[form](value))
