"""What people see while they wait: the stage that is under way, and how far it is.

All that takes long says so through the one function that it is given, a report of
lines of text. `stage` makes of a block of code a stage: silent at first, then with its
time, or its rate and the time left. Where the report is a `Teller` on a terminal, one
line is written again and again; anywhere else, in a log or a notebook's own function,
a line comes now and then.
"""

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

__all__ = ["Report", "Stage", "Teller", "done", "passing", "stage", "wrap"]

# Takes a line of text.
Report = Callable[[str], None]
Clock = Callable[[], float]

SHOWN_AFTER = 2.0  # seconds of silence, in one stage or over several
_SHORTEST = 0.3  # seconds of a stage that is worth a line after others of silence
# Seconds between lines, where none can be written again: a share of what the stage took
# so far, within bounds.
_LINE_SHARE, _LINE_BOUNDS = 0.2, (2.0, 10.0)
_REWRITE_EVERY = 0.1  # seconds between those of a line that is written again
_TICK = 0.5  # seconds between looks at a stage that says nothing itself
_ACTIVE: list["Stage"] = []  # the innermost is told of
# What is said also by those that are asked to be quiet.
_IMPORTANT = ("warning:", "failed:", "error:")


class Stage:
    """A stage under way.

    Args:
      name: What is done.
      show: Takes a line of text about it, whenever there is news.
      total: How much there is to do; None where that is not known.
      unit: What is counted.
      clock: Tells the time in seconds.
      silence: Tells for how many seconds nothing has been said; by default it counts
        from the beginning.
    """

    def __init__(
        self,
        name: str,
        show: Report,
        *,
        total: float | None = None,
        unit: str = "",
        clock: Clock = time.monotonic,
        silence: Clock = lambda: 0.0,
    ) -> None:
        self._name, self._show, self._clock = name, show, clock
        self._silence = silence
        self._total, self.unit, self._done = total, unit, 0.0
        self._begin = clock()
        self.was_shown = False

    @property
    def done(self) -> float:
        """How much has been done."""
        return self._done

    def advance(self, count: float = 1) -> None:
        """Counts what has been done."""
        self._done += count
        self.tick()

    def tick(self) -> None:
        """Shows how far it is, once people wait so long that they wonder."""
        if _ACTIVE[-1:] != [self]:
            return
        waited = self._clock() - self._begin
        if waited >= _SHORTEST:
            waited = max(waited, self._silence())
        if self.was_shown or waited >= SHOWN_AFTER:
            self.was_shown = True
            self._show(self.text())

    def text(self) -> str:
        """Says how far it is."""
        elapsed = self._clock() - self._begin
        if not self._done or elapsed <= 0:
            return f"{self._name}: {elapsed:.0f} s"
        rate = self._done / elapsed
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        line = f"{shown} {self.unit or 'steps'}/s"
        if self._total:
            left = max(self._total - self._done, 0) / rate
            share = min(1.0, self._done / self._total)
            line = f"{share:.0%}, {line}, {left:.0f} s left"
        return f"{self._name}: {line}"

    def ending(self) -> str:
        """Says that it is done."""
        return f"{self._name}: done in {self._clock() - self._begin:.0f} s"


@contextlib.contextmanager
def stage(
    report: Report,
    name: str,
    *,
    total: float | None = None,
    unit: str = "",
    clock: Clock = time.monotonic,
    ticking: bool = True,
    says_done: bool = True,
) -> Iterator[Stage]:
    """Makes a stage of a block.

    Args:
      report: Takes lines of text.
      name: What is done.
      total: How much there is to do, for the time left; None where it is not known.
      unit: What `advance` counts.
      clock: Tells the time in seconds.
      ticking: Whether it is looked at also where it does not advance.
      says_done: Whether the end of a stage that was shown is told of in a log.

    Examples:
      >>> with stage(print, "adding", total=10, unit="numbers") as adding:
      ...     for number in range(10):
      ...         adding.advance()
    """
    teller = _teller_of(report)
    on_terminal = teller is not None and teller.is_terminal()
    show = teller.passing if teller is not None and on_terminal else _sparse(
        report, clock
    )  # fmt: skip
    silence = (lambda: 0.0) if teller is None else teller.silence
    one = Stage(name, show, total=total, unit=unit, clock=clock, silence=silence)
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_TICK):
            one.tick()

    _ACTIVE.append(one)
    looker = threading.Thread(target=look, daemon=True, name=f"stage {name}")
    if ticking:
        looker.start()
    try:
        yield one
    finally:
        ended.set()
        if ticking:
            looker.join()
        _ACTIVE.remove(one)
        if teller is not None and on_terminal:
            teller.clear()
    if one.was_shown and says_done and not on_terminal:
        report(one.ending())


def _sparse(report: Report, clock: Clock) -> Report:
    """Passes on the first line, and then one now and then, ever more seldom."""
    begin, following = clock(), -math.inf
    least, most = _LINE_BOUNDS

    def maybe(line: str) -> None:
        nonlocal following
        now = clock()
        if now >= following:
            following = now + min(max(_LINE_SHARE * (now - begin), least), most)
            report(line)

    return maybe


def done(count: float, unit: str) -> None:
    """Counts for the stage that is under way, if that counts such."""
    if _ACTIVE and _ACTIVE[-1].unit == unit:
        _ACTIVE[-1].advance(count)


def passing(report: Report, line: str) -> None:
    """Says what the next line replaces, where that can be done."""
    teller = _teller_of(report)
    (report if teller is None else teller.passing)(line)


def wrap(report: Report, inner: Report) -> Report:
    """Makes a report of a function that calls another one; stages see that."""
    teller = _teller_of(report)
    if teller is not None:
        inner._teller = teller  # type: ignore[attr-defined]
    return inner


def _teller_of(report: Report) -> "Teller | None":
    if isinstance(report, Teller):
        return report
    found = getattr(report, "_teller", None)
    return found if isinstance(found, Teller) else None


def _fit(line: str, room: int) -> str:
    """Shortens a line in its middle: how long it takes is said at its end."""
    if len(line) > room:
        line = " ".join(line.split())
    if len(line) <= room:
        return line
    end = min(20, room // 3)
    return f"{line[: max(room - end - 3, 0)]}...{line[len(line) - end :]}"[:room]


class Teller:
    """Writes lines for people: a `Report` that may write a line again.

    Args:
      stream: Where to; by default standard error, as it is when something is said.
      width: Tells how many columns it has.
      shown: Makes of a line what may be shown.
      clock: Tells the time in seconds.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        width: Callable[[], int] | None = None,
        shown: Callable[[str], str] = str,
        clock: Clock = time.monotonic,
    ) -> None:
        self._stream, self._width, self._shown = stream, width, shown
        self._clock, self._last = clock, -_REWRITE_EVERY
        self._said = clock()
        self._lock = threading.RLock()
        self._passing = False
        self.quiet = False

    def _out(self) -> TextIO:
        return self._stream or sys.stderr

    def is_terminal(self) -> bool:
        """Tells whether a line can be written again."""
        return self._out().isatty() and os.environ.get("TERM") != "dumb"

    def silence(self) -> float:
        """Tells for how many seconds nothing has been said."""
        return self._clock() - self._said

    def __call__(self, line: str) -> None:
        """Says something that stays."""
        if self.quiet and not line.startswith(_IMPORTANT):
            return
        with self._lock:
            self._said = self._clock()
            self.clear()
            text = "\n".join(map(self._shown, line.split("\n")))
            print(text, file=self._out(), flush=True)

    def passing(self, line: str) -> None:
        """Says something that the next line replaces, on a terminal."""
        if not self.is_terminal():
            self(line)
        elif not self.quiet and self._clock() - self._last >= _REWRITE_EVERY:
            with self._lock:
                self._last = self._said = self._clock()
                # A line of full width would wrap, and stay.
                text = _fit(self._shown(line), max(self._columns() - 1, 1))
                self._out().write(f"\r{text}\x1b[K")
                self._out().flush()
                self._passing = True

    def clear(self) -> None:
        """Removes what was said in passing."""
        with self._lock:
            if self._passing:
                self._out().write("\r\x1b[K")
                self._out().flush()
                self._passing = False

    def _columns(self) -> int:
        if self._width is not None:
            return self._width()
        try:
            return os.get_terminal_size(self._out().fileno()).columns or 80
        except (OSError, ValueError):
            return 80
