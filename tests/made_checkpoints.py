"""Files of `torch.save` in both of its formats, written without torch."""

import io
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np

STORAGES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
}


class TensorPickler(pickle._Pickler):
    """Pickles arrays as torch pickles tensors; views of one array share a storage."""

    def __init__(self, file, *, legacy):
        super().__init__(file, protocol=2)
        self.legacy = legacy
        self.storages = []

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, np.ndarray):
            return super().save(obj, save_persistent_id)
        storage = obj if obj.base is None else obj.base
        known = [i for i, other in enumerate(self.storages) if other is storage]
        if not known:
            self.storages.append(storage)
        key = known[0] if known else len(self.storages) - 1
        offset = (obj.ctypes.data - storage.ctypes.data) // obj.itemsize
        self.write(b"ctorch._utils\n_rebuild_tensor_v2\n((")
        self.save("storage")
        self.write(f"ctorch\n{STORAGES[obj.dtype]}\n".encode())
        for part in (str(key), "cpu", storage.size):
            self.save(part)
        self.write((b"N" if self.legacy else b"") + b"tQ")
        for part in (
            offset,
            obj.shape,
            tuple(stride // obj.itemsize for stride in obj.strides),
            False,
        ):
            self.save(part)
        self.write(b"ccollections\nOrderedDict\n)RtR")
        return None


def contents(storage):
    """The bytes of a storage, in the order in which they are in memory."""
    order = "F" if not storage.flags.c_contiguous else "C"
    return storage.tobytes(order)


class NoSeeking(io.RawIOBase):
    """To this, `zipfile` writes checksums after contents, as torch does."""

    def __init__(self, file):
        self.file = file

    def writable(self):
        return True

    def write(self, data):
        return self.file.write(data)


def save_zip(path, value):
    """Writes the archive that `torch.save` writes."""
    file = io.BytesIO()
    pickler = TensorPickler(file, legacy=False)
    pickler.dump(value)
    with path.open("wb") as out, zipfile.ZipFile(NoSeeking(out), "w") as archive:
        archive.writestr("archive/data.pkl", file.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, storage in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{key}", contents(storage))
        archive.writestr("archive/version", "3\n")
    return path


def save_legacy(path, value):
    """Writes the older stream of `torch.save`."""
    file = io.BytesIO()
    for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
        pickle.dump(part, file, protocol=2)
    pickler = TensorPickler(file, legacy=True)
    pickler.dump(value)
    keys = [str(key) for key in range(len(pickler.storages))]
    pickle.dump(keys, file, protocol=2)
    for storage in pickler.storages:
        file.write(struct.pack("<q", storage.size) + contents(storage))
    path.write_bytes(file.getvalue())
    return path


def save_pickle(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def flat(value, prefix=""):
    """Arrays by key, of nested dicts."""
    found = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            found |= flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, np.ndarray):
            found[f"{prefix}{key}"] = inner
    return found


def save_npz(path, value, save=np.savez):
    save(path, **flat(value))
    return path


def save_packed(path, value):
    return save_npz(path, value, np.savez_compressed)


# Name of a file -> what writes it.
FORMS = {
    "zip.pth": save_zip,
    "legacy.pth.tar": save_legacy,
    "pickle.pkl": save_pickle,
    "plain.npz": save_npz,
    "packed.npz": save_packed,
}
