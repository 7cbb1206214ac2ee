"""Several processes that train together: where one dies, the others say so and end.

Without this they would hang in what they do together, or be ended by JAX with pages of
its own. Each process beats through the store that JAX's first process keeps, and looks
at the beats of the others. One that is silent for too long, or says that it has ended
with an error, is named in one line, and this process ends. Where the first process dies
its store is gone with it, which is as clear.
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from alphanet_jax import outputs, stopping
from alphanet_jax.errors import UserError

__all__ = ["Beats", "Gone", "join", "wait_for_cause"]

_KEY = "alphanet_jax/beats/"
_BEAT_SECONDS = 1.0
_SILENT_SECONDS = 20.0
# Once something has failed here, for which a death elsewhere would be the cause.
_SILENT_AFTER_FAILURE = 8.0
# What another one's error is about may be about to be said here, and better.
_GRACE_SECONDS = 3.0
_ENDING_SECONDS = 8.0
# JAX's own patience: what is here is to speak first.
_JAX_SECONDS = 100
_START_SECONDS = 300
_DONE = "done"
_FAILED = "failed"


class Gone(NamedTuple):
    """A process that is gone, and how that is known.

    Attributes:
      number: Of the process.
      how: What to say of it.
    """

    number: int
    how: str


class Beats:
    """What this process knows of the others.

    Args:
      number: Of this process.
      count: How many there are.
      now: Seconds of a clock; all are taken to be alive then.
    """

    def __init__(self, number: int, count: int, now: float) -> None:
        self._others = [other for other in range(count) if other != number]
        self._number = number
        self._beats = dict.fromkeys(self._others, "")
        self._changed = dict.fromkeys(self._others, now)
        self._store_answered, self._refused = now, False

    def take(self, found: Mapping[int, str], now: float) -> None:
        """Takes what the store has: the last beat of each process."""
        self._store_answered, self._refused = now, False
        for other in self._others:
            beat = found.get(other, "")
            if beat != self._beats[other]:
                self._beats[other], self._changed[other] = beat, now

    def store_is_late(self, now: float) -> bool:
        """Tells whether the store should have answered by now."""
        return now - self._store_answered > 2 * _BEAT_SECONDS

    def store_is_gone(self) -> None:
        """Notes that nobody is there to answer at the address of the store."""
        self._refused = True

    def are_done(self) -> bool:
        """Tells whether all others have done their work."""
        return all(beat.startswith(_DONE) for beat in self._beats.values())

    def have_ended(self) -> bool:
        """Tells whether all others have ended, or are about to."""
        return all(beat.startswith((_DONE, _FAILED)) for beat in self._beats.values())

    def are_fresh(self, now: float) -> bool:
        """Tells whether all others have beaten within a few seconds."""
        return all(now - at < 5 * _BEAT_SECONDS for at in self._changed.values())

    def gone(self, now: float, *, patience: float) -> Gone | None:
        """Returns a process that is gone, if one is.

        Args:
          now: Seconds of the clock.
          patience: Seconds that a process may be silent.
        """
        if self._number != 0 and not self._beats[0].startswith(_DONE):
            silent = now - self._store_answered
            if self._refused or silent > patience:
                return Gone(0, f"does not answer (last seen {silent:.0f} s ago)")
        for other, beat in self._beats.items():
            silent = now - self._changed[other]
            state, _, status = beat.partition(" ")
            if state == _FAILED and silent > _GRACE_SECONDS:
                return Gone(other, f"has ended with status {status}, and said why")
            # Without the store nobody is heard, and of what is done nothing is needed.
            if state in (_FAILED, _DONE) or now - self._store_answered > patience:
                continue
            if silent > patience:
                return Gone(other, f"does not answer (last seen {silent:.0f} s ago)")
        return None


class _Watch:
    """The threads that beat, and that look at the beats of others."""

    def __init__(
        self,
        client: Any,
        address: str,
        number: int,
        count: int,
        *,
        way_out: str,
        clear: Callable[[], None],
    ) -> None:
        self._client, self._address = client, address
        self._number, self._count = number, count
        self._way_out, self._clear = way_out, clear
        self._state, self._written = "", ""
        self._beats = Beats(number, count, time.monotonic())
        self._wake, self._ended = threading.Event(), threading.Event()
        self._failing = False  # something failed here, and waits for a cause
        self._leaving = False  # this process ends with an error of its own
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._beat, "beats"), (self._look, "looks"))
        ]

    def start(self) -> None:
        """Begins to beat, and to look."""
        for thread in self._threads:
            thread.start()

    def _beat(self) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            state = self._state
            beat = f"{state} {number}" if state in ("", _DONE) else state
            try:
                self._client.key_value_set(
                    f"{_KEY}{self._number}", beat, allow_overwrite=True
                )
                found = self._client.key_value_dir_get(_KEY)
            # Whatever it is: JAX raises all sorts of errors for a store that is gone.
            except Exception:
                pass  # `_look` sees that there was no answer
            else:
                self._written = state
                self._beats.take(_read(found), time.monotonic())
            self._wake.wait(_BEAT_SECONDS)
            self._wake.clear()

    def _look(self) -> None:
        while not self._ended.wait(_BEAT_SECONDS / 4):
            # Who is told to end says that, and no more.
            if self._leaving or stopping.was_asked():
                continue
            # A call to a store that is gone may never come back.
            late = self._beats.store_is_late(time.monotonic())
            if self._number != 0 and late and _refuses(self._address):
                self._beats.store_is_gone()
            patience = _SILENT_AFTER_FAILURE if self._failing else _SILENT_SECONDS
            found = self._beats.gone(time.monotonic(), patience=patience)
            if found is not None:
                self._say_and_end(found)

    def _say_and_end(self, found: Gone) -> NoReturn:
        line = (
            f"error: process {found.number} of {self._count} {found.how}; "
            f"{self._way_out}\n"
        )
        self._state = f"{_FAILED} 1"
        self._wake.set()
        with contextlib.suppress(Exception):
            self._clear()
        with contextlib.suppress(Exception):
            outputs.release()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        # Not by way of Python's stream, which the main thread may hold.
        with contextlib.suppress(OSError):
            os.write(stopping.stderr_number(), line.encode(errors="replace"))
        self._wait(lambda: self._written == self._state, _BEAT_SECONDS)
        os._exit(1)

    def wait_for_cause(self) -> None:
        """Waits as long as a death elsewhere may still come to be known."""
        self._failing = True
        time.sleep(_SILENT_AFTER_FAILURE + _GRACE_SECONDS)

    def end(self, status: int) -> None:
        """Tells the others how this process ends; after an error it ends here."""
        if status == 0:
            self._state = _DONE
            self._wake.set()
            self._wait(lambda: self._written == _DONE and self._beats.are_done())
            fresh = self._beats.are_fresh(time.monotonic())
            self._ended.set()
            self._wake.set()
            for thread in self._threads:
                thread.join(2.0)
            if fresh:
                with contextlib.suppress(Exception):
                    import jax

                    jax.distributed.shutdown()
                return
        else:
            self._leaving, self._state = True, f"{_FAILED} {status}"
            self._wake.set()
            # The store goes with the first process: so it goes last.
            self._wait(lambda: self._written == self._state, 2 * _BEAT_SECONDS)
            if self._number == 0:
                self._wait(self._beats.have_ended, _ENDING_SECONDS)
        # The end of JAX would wait for processes that are gone.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)

    @staticmethod
    def _wait(until: Callable[[], bool], seconds: float = float("inf")) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            time.sleep(_BEAT_SECONDS / 10)


_WATCHES: list[_Watch] = []


def _read(found: Sequence[tuple[str, str]]) -> dict[int, str]:
    """Makes beats by process of what the store has."""
    beats = {}
    for key, beat in found:
        name = key.rpartition("/")[2]
        if name.isdecimal():
            beats[int(name)] = beat
    return beats


def _refuses(address: str) -> bool:
    """Tells whether nobody listens at an address."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 2.0).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False  # nobody knows
    return False


def join(
    address: str | None,
    count: int | None,
    number: int | None,
    *,
    way_out: str,
    clear: Callable[[], None],
    debug: bool = False,
) -> None:
    """Lets this process train together with others, and watches these.

    Args:
      address: HOST:PORT of the first one; None where JAX is to find out all three.
      count: How many there are.
      number: Of this process.
      way_out: What to do where one dies, for the line about it.
      clear: Removes what was said in passing, before that line.
      debug: Whether what JAX itself says goes to standard error.

    Raises:
      UserError: If they do not come together.
    """
    import jax

    if not debug:
        _divert()
    _hold_off_abort()
    try:
        jax.distributed.initialize(
            address,
            count,
            number,
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=_JAX_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--coordinator_address: {address or 'auto'}: the processes did not come "
            f"together within {_START_SECONDS} s ({reason}); start all of them, with "
            "the same address and --num_processes"
        ) from None
    stopping.hear_again()  # JAX takes SIGTERM for itself
    try:
        from jax._src.distributed import global_state as state

        client: Any = state.client
        facts = state.coordinator_address or "", state.process_id, state.num_processes
        _ = client.key_value_set, client.key_value_dir_get
    except (ImportError, AttributeError):
        return  # another version of JAX, whose own end has to do
    watch = _Watch(client, *facts, way_out=way_out, clear=clear)
    _WATCHES.append(watch)
    watch.start()
    stopping.at_end(watch.end)


def wait_for_cause(error: Exception) -> None:
    """Waits where an error may come of another process that is gone.

    If one is, this process ends here, with the line about that; otherwise the error is
    its own, and this returns.
    """
    if _WATCHES and not isinstance(error, UserError):
        _WATCHES[-1].wait_for_cause()


def _divert() -> None:
    """Keeps from standard error what libraries say past Python: pages, if one dies."""
    kept = os.dup(2)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    errors = getattr(sys.stderr, "errors", None) or "backslashreplace"
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=encoding, errors=errors)


def _hold_off_abort() -> None:
    """Lets what aborts wait some seconds, in which it can be said why.

    JAX ends a process at once, from a thread of its own, when the first one has died.
    The system's `sleep` is what such a thread does now: it takes the number of the
    signal for seconds, and then the process ends as it would have.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
        library = ctypes.CDLL(None)
        library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        library.signal.restype = ctypes.c_void_p
        sleep = ctypes.cast(library.sleep, ctypes.c_void_p)
        library.signal(int(signal.SIGABRT), sleep)
