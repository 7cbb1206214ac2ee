"""What must hold when a file of a stranger is read, whatever is in it.

`Watch.read` lets a target read one input, and raises `BrokenPromise` unless

- what comes out is a value or the reader's documented error, in one printable line;
- it took little time, and no more memory than 40 times the file's size and 20 MB;
- nothing was written, removed, imported, started or executed.
"""

import codecs
import os
import sys
import time
import traceback
from pathlib import Path

from alphanet_jax.errors import UserError

SECONDS = 2.0  # of the processor, for a few kilobytes
TIMES, MORE = 40, 20_000_000  # of memory: times the size, and more
LONGEST_LINE = 1_500  # characters, without paths
# The one error of several lines: what may be the classifier is listed below it.
LISTED = ("tensors may be the classifier", "no linear classifier")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN = frozenset(
    (
        *("exec", "import", "pickle.find_class", "marshal.loads"),
        *("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen"),
        *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.truncate"),
        *("os.chmod", "os.chown", "os.link", "os.symlink", "os.utime", "os.putenv"),
        *("shutil.move", "shutil.rmtree", "shutil.copyfile", "tempfile.mkstemp"),
        *("socket.connect", "socket.bind", "socket.getaddrinfo", "ctypes.dlopen"),
    )
)


class BrokenPromise(AssertionError):  # noqa: N818
    """The promise was broken.

    Attributes:
      kind: What tells this finding from others: not the values of this input.
    """

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


class _Audit:
    """Notes what the interpreter is asked to do while a file is read."""

    def __init__(self):
        self.armed = False
        self.seen = []

    def __call__(self, event, args):
        if not self.armed:
            return
        opens = event == "open" and isinstance(args[2], int) and args[2] & _WRITES
        if opens or event in _FORBIDDEN:
            self.seen.append(f"{event} {ascii(args[:1])[:200]}")


_AUDIT = _Audit()


def _start_audit():
    if not hasattr(sys, "_fuzz_audit"):  # hooks stay for as long as the process
        sys._fuzz_audit = _AUDIT
        sys.addaudithook(_AUDIT)
    return sys._fuzz_audit


class _Memory:
    """The most memory that the process had since `start`; 0 where it is not known."""

    def __init__(self):
        self._files = []
        if os.path.exists("/proc/self/clear_refs"):
            self._files = [
                os.open("/proc/self/clear_refs", os.O_WRONLY),
                os.open("/proc/self/status", os.O_RDONLY),
            ]
        self._before = 0

    def start(self):
        if self._files:
            os.pwrite(self._files[0], b"5", 0)
            self._before = self._peak()

    def taken(self):
        return self._peak() - self._before if self._files else 0

    def close(self):
        for each in self._files:
            os.close(each)
        self._files = []

    def _peak(self):
        text = os.pread(self._files[1], 1 << 13, 0)
        return 1024 * int(text[text.index(b"VmHWM:") + 6 :].split(None, 1)[0])


def _look(directory):
    """Lists names, sizes and times of all that is below a directory."""
    found = []
    for above, directories, names in os.walk(directory):
        found += [os.path.join(above, name) for name in directories]
        for name in names:
            stat = os.stat(os.path.join(above, name))
            found.append((above, name, stat.st_size, stat.st_mtime_ns))
    return sorted(map(str, found))


class Watch:
    """Reads inputs of one target in a directory, and checks each.

    Args:
      target: The target; see `targets.Target`.
      directory: An empty directory of its own.
      first: Inputs to read before, so that all is imported that is first needed then;
        the seeds by default.
    """

    def __init__(self, target, directory, first=None):
        self.target, self.directory = target, Path(directory)
        self.memory = _Memory()
        self.audit = _start_audit()
        for name in ("raw_unicode_escape", "utf-16", "latin1", "ascii", "cp437"):
            codecs.lookup(name)  # Python imports these when they are first used
        target.prepare(self.directory)
        for data in target.seeds() if first is None else first:
            self.read(data, armed=False)

    def read(self, data, *, armed=True):
        """Lets the target read an input.

        Returns:
          The line that each of its uses got: None where it found something, and an
          empty one where it found nothing, and said nothing.

        Raises:
          BrokenPromise: If anything was not as promised.
        """
        path = self.target.write(self.directory, data)
        size = path.stat().st_size
        before = _look(self.directory)
        self.memory.start()
        start = time.process_time()
        self.audit.seen.clear()
        lines = []
        for use in self.target.uses:
            self.audit.armed = armed
            try:
                lines.append(self._use(use, path))
            finally:
                self.audit.armed = False
        seconds = time.process_time() - start
        taken = self.memory.taken()
        if armed and taken > TIMES * size + MORE:
            raise BrokenPromise("memory", f"{taken:,} bytes for a file of {size:,}")
        if seconds > SECONDS and armed:
            raise BrokenPromise("time", f"{seconds:.1f} s for a file of {size:,} bytes")
        if self.audit.seen:
            event = self.audit.seen[0]
            raise BrokenPromise(
                f"event {event.split()[0]}", "; ".join(self.audit.seen[:5])
            )
        if _look(self.directory) != before:
            raise BrokenPromise("written", "files were written, changed or removed")
        return lines

    def close(self):
        """Ends it."""
        self.memory.close()

    def _use(self, use, path):
        """Lets one function read the file; returns the line that it got."""
        name = getattr(use, "__name__", str(use))
        try:
            found = use(path)
        except UserError as error:
            self._check_line(name, str(error))
            return str(error)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "alphanet_jax" in f.filename][-1:]
            at = [f"{Path(f.filename).name}:{f.lineno}" for f in ours]
            kind = f"{name}: {type(error).__name__} at {', '.join(at)}"
            text = "".join(traceback.format_exception(error)[-6:])
            raise BrokenPromise(kind, f"{kind}\n{text}") from error
        return None if found else ""

    def _check_line(self, name, text):
        lines = text.split("\n")
        listed = any(words in lines[0] for words in LISTED)
        if lines[1:] and not (listed and all(x.startswith("  ") for x in lines[1:])):
            raise BrokenPromise(f"{name}: lines", f"more than one line: {text!a}")
        for line in lines:
            if not line.isprintable():
                raise BrokenPromise(
                    f"{name}: not printable", f"not printable: {line!a}"
                )
            if len(line.replace(str(self.directory), "")) > LONGEST_LINE:
                raise BrokenPromise(
                    f"{name}: long", f"{len(line)} characters: {line!a}"
                )
