"""SHA-256 of files: each is read once in a process, perhaps before it is asked for."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from alphanet_jax import stages

__all__ = ["begin", "content_hash", "file_hashes", "file_sha256"]

# At a time. Other threads wait for Python's lock after each, so small pieces would take
# long beside a thread that imports modules.
_BYTES = 16 << 20
# Of files, by what they are.
_KNOWN: dict[tuple[int, int, int, int], "Future[str]"] = {}
_LOCK = threading.Lock()


def file_sha256(path: Path) -> str:
    """Computes the SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        piece = memoryview(bytearray(max(1, min(size, _BYTES))))
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def file_hashes(paths: Sequence[Path]) -> dict[Path, str]:
    """Computes the SHA-256 of files, several at a time."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(zip(paths, pool.map(content_hash, paths), strict=True))


def content_hash(path: Path) -> str:
    """Computes the SHA-256 of a file's content, once in a process.

    A file that was moved is known again; one whose size or time differs is read again.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _LOCK:
        mine = key not in _KNOWN
        job = _KNOWN.setdefault(key, Future())
    if mine:
        try:
            job.set_result(file_sha256(path))
        except BaseException as error:
            with _LOCK:
                del _KNOWN[key]
            job.set_exception(error)
    found = job.result()
    stages.done(status.st_size / 1e6, "MB")
    return found


def begin(find: Callable[[], Iterable[Path]]) -> None:
    """Begins to hash files in a thread, which nobody waits for.

    Where it fails, whoever needs the hash will say why.

    Args:
      find: Finds the files, in the thread.
    """

    def work() -> None:
        with contextlib.suppress(Exception):
            for path in find():
                content_hash(path)

    # A daemon: a command that ends early does not wait for it.
    threading.Thread(target=work, name="hashing", daemon=True).start()
