"""Executables that are kept between processes, so that nothing is traced again.

JAX keeps what XLA has compiled by the program itself. To look that up, Python traces
and lowers the function anew in every process: a third of a short run. Here an
executable is kept by all that its program follows from: function, shapes, static
arguments, every file of this package, the libraries, what JAX is set to, and the
machine. It is the very same executable, so results are the same to the last bit.

What is kept is run, and JAX's form of it is a pickle. So each file is signed with a
secret of the user's own: one that anybody else has made is never opened.

Nothing is kept before `keep_in` is called, which commands do, nor where arrays lie on
several devices. One that cannot be read, or written, is no error: JAX then does what it
does otherwise.
"""

import contextlib
import functools
import hashlib
import hmac
import os
import pickle
import platform
import re
import secrets
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from alphanet_jax import files
from alphanet_jax.version import __version__

__all__ = ["SWITCH", "Kept", "keep_in", "kept", "own_secret"]

# An environment variable; "off" where functions of this package are put in the place
# of others, as in tests: executables do not depend on that.
SWITCH = "ALPHANET_KEEP_EXECUTABLES"

_PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = ("jax", "jaxlib", "numpy", "flax", "optax")
_ENDING = ".executable"
_SECRET_BYTES = 32
_MOST = 400  # files; the ones that were read longest ago go first
_HIT = "/jax/compilation_cache/cache_hits"  # JAX's word for one read, not compiled


class _Place:
    """Where executables are kept."""

    directory: Path | None = None
    secret: bytes = b""

    @functools.cached_property
    def surroundings(self) -> str | None:
        """What executables depend on beside arguments; None if none are kept."""
        if self.directory is None:
            return None
        alone = jax.device_count() == jax.process_count() == 1
        return _surroundings() if alone and jax.default_backend() == "cpu" else None


_PLACE = _Place()
_HERE = threading.local()  # whether JAX has read an executable, in this thread


def keep_in(directory: Path | None, secret: bytes | None = None) -> None:
    """Keeps executables from now on.

    Args:
      directory: Where; of the user's own, as what is there is run. None for nowhere.
      secret: Signs them; None keeps none.
    """
    off = os.environ.get(SWITCH) == "off" or secret is None
    _PLACE.directory, _PLACE.secret = None if off else directory, secret or b""
    vars(_PLACE).pop("surroundings", None)


def own_secret(path: Path) -> bytes | None:
    """Reads the user's secret, or draws one.

    Args:
      path: The file that has it, or will.

    Returns:
      The secret; None where it cannot be kept, or others may read or change it.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with files.replacing(path) as temporary:
                temporary.touch(mode=0o600)
                temporary.chmod(0o600)
                temporary.write_bytes(secrets.token_bytes(_SECRET_BYTES))
        status, found = path.lstat(), path.read_bytes()
    except OSError:
        return None
    ours = not hasattr(os, "getuid") or (
        status.st_uid == os.getuid() and not status.st_mode & 0o077
    )
    whole = stat.S_ISREG(status.st_mode) and len(found) == _SECRET_BYTES
    return found if ours and whole else None


def _signature(path: Path, content: bytes) -> bytes:
    """Signs what a file of this name holds."""
    signed = path.name.encode() + b"\n" + content
    return hmac.new(_PLACE.secret, signed, hashlib.sha256).hexdigest().encode()


def _surroundings() -> str:
    """Sums up what programs depend on beside their arguments."""
    parts: list[Any] = [_versions(), platform.platform(), _processor()]
    parts += sorted(
        item for item in os.environ.items() if item[0].startswith(("XLA_", "JAX_"))
    )
    parts += sorted(
        (name, repr(value))
        for name, value in jax.config.values.items()
        if "cache" not in name
    )
    # Not by their times, which are the same for all files of some wheels.
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE).as_posix()
        parts.append((name, hashlib.sha256(path.read_bytes()).hexdigest()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _versions() -> list[str]:
    """Lists the versions of all that programs are made with."""
    libraries = [metadata.version(name) for name in _LIBRARIES]
    return [sys.version, __version__, *libraries]


def _processor() -> list[Any]:
    """Describes the processor; XLA compiles for what this one can, and has."""
    found: list[Any] = [platform.machine(), os.cpu_count()]
    if hasattr(os, "sched_getaffinity"):
        found.append(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found += sorted(
            set(re.findall(r"^(?:flags|Features|model name).*", text, re.M))
        )
    return found


def kept(**options: Any) -> Callable[[Callable[..., Any]], "Kept"]:
    """Makes a decorator like `jax.jit`, but the function's executables are kept.

    Args:
      **options: As of `Kept`.
    """
    return lambda function: Kept(function, **options)


class Kept:
    """A compiled function, as by `jax.jit`, whose executables are kept.

    Args:
      function: The function, of a module's top level: it is known by its name.
      static_argnums: Numbers of arguments that it is compiled for.
      static_argnames: Names of such arguments. All of these have a `repr` that says
        all of them, as dataclasses do.
      **options: Further options of `jax.jit`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        static_argnums: Sequence[int] = (),
        static_argnames: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._options = options | {
            "static_argnums": tuple(static_argnums),
            "static_argnames": tuple(static_argnames),
        }
        self._jitted: Any = jax.jit(function, **self._options)
        self._numbers, self._names = set(static_argnums), set(static_argnames)
        self._lock = threading.Lock()
        self._ready: dict[Any, Any] = {}
        functools.update_wrapper(self, function)

    def __getattr__(self, name: str) -> Any:
        """Looks up what functions of `jax.jit` have, such as `lower`."""
        if name == "_jitted":  # not there yet
            raise AttributeError(name)
        return getattr(self._jitted, name)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Calls the function."""
        dynamic, dynamic_named = self._dynamic(args, named)
        leaves = jax.tree.leaves((dynamic, dynamic_named))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._jitted(*args, **named)
        if _PLACE.surroundings is None:
            return self._jitted(*args, **named)
        return self._executable(args, named)(*dynamic, **dynamic_named)

    def make_ready(self, *args: Any, **named: Any) -> None:
        """Loads or compiles what a call with these arguments, or shapes, will need."""
        if _PLACE.surroundings is None:
            self._jitted.lower(*args, **named).compile()
        else:
            self._executable(args, named)

    def clear_cache(self) -> None:
        """Forgets what was traced and compiled, but for what is kept."""
        self._ready.clear()
        self._jitted.clear_cache()
        self._to_keep.clear_cache()

    def _executable(self, args: Sequence[Any], named: dict[str, Any]) -> Any:
        dynamic = self._dynamic(args, named)
        leaves, structure = jax.tree.flatten(dynamic)
        static = [args[i] for i in sorted(self._numbers)]
        static += sorted(item for item in named.items() if item[0] in self._names)
        shapes = [jax.typeof(leaf) for leaf in leaves]
        key = _PLACE.surroundings, structure, *static, *shapes
        with self._lock:
            if key not in self._ready:
                what = repr((self.__module__, self.__qualname__, *map(str, key)))
                name = hashlib.sha256(what.encode()).hexdigest()[:40]
                assert _PLACE.directory is not None
                path = _PLACE.directory / f"{self.__name__}-{name}{_ENDING}"
                self._ready[key] = _load(path, structure) or self._compile(
                    path, args, named
                )
            return self._ready[key]

    def _compile(self, path: Path, args: Sequence[Any], named: dict[str, Any]) -> Any:
        with _noticing_hits() as hits:
            executable = self._to_keep.lower(*args, **named).compile()
        # XLA cannot write out again what it has read.
        if not hits:
            _save(path, executable)
        return executable

    @functools.cached_property
    def _to_keep(self) -> Any:
        """The function by another name, by which JAX has not kept it.

        With other versions the name is another: what JAX has read could not be kept.
        """

        @functools.wraps(self.__wrapped__)
        def function(*args: Any, **named: Any) -> Any:
            return self.__wrapped__(*args, **named)

        versions = hashlib.sha256(repr(_versions()).encode()).hexdigest()[:6]
        function.__name__ = f"{self.__name__}_{versions}"
        return jax.jit(function, **self._options)

    def _dynamic(
        self, args: Sequence[Any], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Leaves static arguments out."""
        return (
            tuple(arg for i, arg in enumerate(args) if i not in self._numbers),
            {name: arg for name, arg in named.items() if name not in self._names},
        )


@functools.cache
def _listen() -> None:
    def heard(event: str, **kwargs: str | int) -> None:
        if event == _HIT:
            getattr(_HERE, "hits", []).append(event)

    jax.monitoring.register_event_listener(heard)


@contextlib.contextmanager
def _noticing_hits() -> Iterator[list[str]]:
    """Gives a list that has something in it as soon as JAX has read an executable."""
    _listen()
    _HERE.hits = []
    try:
        yield _HERE.hits
    finally:
        del _HERE.hits


def _load(path: Path, in_tree: Any) -> Any:
    """Loads an executable; None if there is none that is whole and our own."""
    from jax.experimental import serialize_executable

    try:
        mark, content = path.read_bytes().split(b"\n", 1)
        if not hmac.compare_digest(mark, _signature(path, content)):
            return None
        payload, results = pickle.loads(content)
        found = serialize_executable.deserialize_and_load(
            payload, in_tree, jax.tree.structure(results)
        )
        os.utime(path)
    # Whatever it is: then it is compiled.
    except Exception:
        return None
    return found


def _save(path: Path, executable: Any) -> None:
    """Saves an executable, if that can be done."""
    from jax.experimental import serialize_executable

    # A disk may be full, or a kind of executable have no form on disk.
    with contextlib.suppress(Exception):
        payload, _, out_tree = serialize_executable.serialize(executable)
        results = jax.tree.unflatten(out_tree, range(out_tree.num_leaves))
        content = pickle.dumps((payload, results))
        mark = _signature(path, content)
        with files.replacing(path) as temporary:
            temporary.write_bytes(mark + b"\n" + content)
        others = sorted(path.parent.glob(f"*{_ENDING}"), key=os.path.getmtime)
        for other in others[:-_MOST]:
            other.unlink()
