"""Ends the program when it is told to: by Ctrl-C, or by SIGTERM.

Python raises `KeyboardInterrupt` between two of its own steps. That is late where a
library compiles for a minute, and for nothing where the library catches it. So a thread
hears of signals, too: if the program has not ended some seconds after the first, or
there is a second one, it ends at once. Nothing is lost by that: files are written whole
or not at all.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

__all__ = [
    "Terminated",
    "at_end",
    "check",
    "end_at_once",
    "hear_again",
    "leave",
    "line",
    "listening",
    "status_of",
    "stderr_number",
    "was_asked",
]

SECONDS_TO_END = 4.0

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)
)
_ENDINGS = tuple(128 + number for number in _SIGNALS)


class Terminated(KeyboardInterrupt):
    """SIGTERM came, which ends the program as Ctrl-C does."""


class _State:
    """What there is to know of signals in this process."""

    def __init__(self) -> None:
        self.asked: int | None = None  # number of the first signal
        self.said = False  # whether its line is on standard error
        self.raised = False  # whether the main thread has been told
        self.status: int | None = None  # the exit status, once all is done
        self.log_level: int | None = None  # what logs were silent at before
        self.listens = False
        self.describe: Callable[[], str] = str
        self.at_end: Callable[[int], None] | None = None


_STATE = _State()


def was_asked() -> bool:
    """Tells whether a signal asked the program to end."""
    return _STATE.asked is not None


def check() -> None:
    """Raises what a signal should have raised, where somebody caught that.

    Raises:
      KeyboardInterrupt: If the program was asked to end.
    """
    if _STATE.asked is not None:
        raise _error(_STATE.asked)


def _error(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated()


def status_of(error: BaseException) -> int:
    """Returns the exit status: 130 after Ctrl-C, 143 after SIGTERM."""
    by_signal = _STATE.asked
    if by_signal is None:
        by_signal = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
    return 128 + by_signal


def line(status: int) -> str:
    """Makes the line about the end, and notes that it is said."""
    _STATE.said = True
    what = "interrupted" if status == 128 + signal.SIGINT else "terminated"
    try:
        return f"{what}{_STATE.describe()}"
    # It may be asked for at a moment when little of what it is about is there.
    except Exception:
        return what


@contextlib.contextmanager
def listening(describe: Callable[[], str] | None = None) -> Iterator[None]:
    """Hears signals while the block runs, which they end.

    Args:
      describe: Returns what to say after 'interrupted', such as how to go on. A block
        within another one may know more.
    """
    before = _STATE.describe
    if describe is not None:
        _STATE.describe = describe
    try:
        main = threading.current_thread() is threading.main_thread()
        if _STATE.listens or not main:
            yield
        else:
            with _hearing():
                yield
    finally:
        _STATE.describe = before


@contextlib.contextmanager
def _hearing() -> Iterator[None]:
    # What is ignored, as of a job in the background, stays ignored.
    heard = [n for n in _SIGNALS if signal.getsignal(n) not in (signal.SIG_IGN, None)]
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    _STATE.asked, _STATE.said, _STATE.listens = None, False, True
    _STATE.raised, _STATE.status = False, None
    unhook = _be_silent()
    old_wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    old = {number: signal.signal(number, _raise) for number in heard}
    thread = threading.Thread(target=_listen, args=(ours,), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Once all is done, `_raise` stays until Python has ended.
        if _STATE.status is None:
            for number, handler in old.items():
                signal.signal(number, handler)
        signal.set_wakeup_fd(old_wakeup)
        theirs.close()  # the thread reads the end of it, and ends
        thread.join(1.0)
        ours.close()
        if _STATE.status is None:
            unhook()
            _STATE.asked, _STATE.listens = None, False


def _be_silent() -> Callable[[], None]:
    """Keeps tracebacks of what a signal interrupted from being shown.

    Python shows those of finalizers and callbacks, whose errors nobody gets (`check`
    raises the signal's again); libraries show those that they catch, and those of their
    threads, which fail when the main one has left.

    Returns:
      A function that takes that back.
    """
    unraisable, of_thread, uncaught = (
        sys.unraisablehook,
        threading.excepthook,
        sys.excepthook,
    )

    def drop(shown: Any) -> None:
        by_signal = isinstance(shown.exc_value, KeyboardInterrupt)
        if not (by_signal or was_asked()):
            unraisable(shown)

    def drop_of_thread(shown: Any) -> None:
        if not was_asked():
            of_thread(shown)

    def drop_uncaught(*shown: Any) -> None:
        if not was_asked():
            uncaught(*shown)

    def undo() -> None:
        if _STATE.log_level is not None:
            sys.modules["logging"].disable(_STATE.log_level)
            _STATE.log_level = None
        if sys.unraisablehook is drop:
            sys.unraisablehook = unraisable
        if threading.excepthook is drop_of_thread:
            threading.excepthook = of_thread
        if sys.excepthook is drop_uncaught:
            sys.excepthook = uncaught

    sys.unraisablehook = drop
    threading.excepthook = drop_of_thread
    sys.excepthook = drop_uncaught
    return undo


def _raise(number: int, frame: FrameType | None) -> None:
    if _STATE.status is not None:
        os._exit(_STATE.status)  # all was done and said
    if _STATE.raised:
        end_at_once(128 + (_STATE.asked or number))
    _STATE.asked, _STATE.raised = _STATE.asked or number, True
    if (logging := sys.modules.get("logging")) is not None:
        _STATE.log_level = logging.root.manager.disable
        logging.disable(logging.CRITICAL)  # libraries log what they catch
    raise _error(number)


def _listen(source: socket.socket) -> None:
    """Waits for a signal, then for a second one, or for so long."""
    first = _next_signal(source)
    if first is None:
        return
    if _STATE.status is not None:
        os._exit(_STATE.status)
    _STATE.asked = first
    source.settimeout(SECONDS_TO_END)
    try:
        if _next_signal(source) is None:
            return
    except TimeoutError:
        pass
    end_at_once(128 + first)


def _next_signal(source: socket.socket) -> int | None:
    """Waits for the number of a signal that ends; None when nobody listens."""
    while True:
        try:
            number = source.recv(1)
        except TimeoutError:
            raise
        except OSError:
            return None
        if not number:
            return None
        if number[0] in _SIGNALS:
            return number[0]


def end_at_once(status: int) -> NoReturn:
    """Ends the process whatever it does, with its line if that was not said."""
    if not _STATE.said:
        # Not by way of Python's stream, which the other thread may hold.
        with contextlib.suppress(OSError):
            text = f"error: {line(status)}\n"
            os.write(stderr_number(), text.encode(errors="replace"))
    os._exit(status)


def stderr_number() -> int:
    """Returns the file descriptor of standard error, which may have been moved."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return 2


def hear_again() -> None:
    """Hears signals again that a library has taken for itself."""
    if _STATE.listens:
        for number in _SIGNALS:
            if signal.getsignal(number) is _raise:
                signal.signal(number, _raise)


def at_end(call: Callable[[int], None]) -> None:
    """Has a function called with the exit status by `leave`, which comes last."""
    _STATE.at_end = call


def leave(status: int) -> int:
    """Returns an exit status, the last that the program does; or ends the process here.

    That is after a signal: threads of libraries that wait for something would keep
    Python from ending. From now on a signal ends the process with that status.
    """
    if _STATE.at_end is not None:
        _STATE.at_end(status)
    if status in _ENDINGS:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    if _STATE.listens:
        _STATE.status = status
    return status
