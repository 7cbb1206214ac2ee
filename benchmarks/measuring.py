"""What the measurements share: clocks, memory of processes, tables and records."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphanet_jax.experiment import kernels

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
MIB = 2**20
GIB = 2**30
_VERSIONS = ("jax", "jaxlib", "numpy", "optax", "torch")
_POLL_SECONDS = 0.01
_IDLE = 0.5  # load average up to which figures can be trusted

Row = tuple[str, str, str]  # what, how much, unit
GAP: Row = ("", "", "")


def say(line: str) -> None:
    """Shows progress; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Books the time that the block takes."""
    clock = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - clock


def in_turns(
    calls: Mapping[str, Callable[[], Any]], *, repeats: int, inner: int = 1
) -> dict[str, list[float]]:
    """Gives the seconds of every call, the calls taking turns.

    Each call is made once before its turn is timed, so that it finds the caches of
    the processor as it leaves them, not as another one does.

    Args:
      calls: What to call; results of JAX have to be waited for inside.
      repeats: Turns.
      inner: Calls of a turn, whose mean counts.

    Returns:
      Of every call, the seconds of each turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # compiles
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            clock = time.perf_counter()
            for _ in range(inner):
                call()
            seconds[name].append((time.perf_counter() - clock) / inner)
    return seconds


def medians(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Takes the median of every list."""
    return {name: statistics.median(taken) for name, taken in seconds.items()}


# --- Processes ------------------------------------------------------------------------


def _memory(pid: int) -> dict[str, int]:
    """Reads a process's memory in bytes; nothing where there is no /proc."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "RssAnon"):
                found[name] = 1024 * int(value.split()[0])
    return found


def environment() -> dict[str, str]:
    """The environment of a process to measure; byte code is kept, as of a package."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def measure_process(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs a program to its end; gives its seconds, peak memory and phases.

    The peak of all resident memory counts pages of mapped files too, which the system
    takes back at need; that of anonymous memory is what a program cannot do without.
    It is sampled, and therefore a little low. Phases are those that `main.py` says.
    """
    # Not ru_maxrss: it begins at the memory of the process that started the program.
    peak = {"VmHWM": 0, "RssAnon": 0}
    with tempfile.TemporaryFile("w+") as output:
        clock = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            cwd=ROOT,
            env=environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            for name, value in _memory(process.pid).items():
                peak[name] = max(peak[name], value)
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - clock
        output.seek(0)
        text = output.read()
        if process.returncode:
            raise SystemExit(f"error: {' '.join(arguments)}\n{text}")
    said = re.search(r"^seconds: (.*)$", text, re.MULTILINE)
    words = said.group(1).split() if said else []
    return {
        "seconds": seconds,
        "peak_resident_mib": peak["VmHWM"] / MIB,
        "peak_anonymous_mib": peak["RssAnon"] / MIB,
        "phases": {
            name: float(spent)
            for name, spent in zip(words[::2], words[1::2], strict=True)
        },
    }


# --- Records and tables ---------------------------------------------------------------


def describe_machine() -> dict[str, Any]:
    """Names what the figures depend on besides the code."""
    versions = {"python": platform.python_version()}
    for name in _VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = [line for line in lines if line.startswith("model name")]
        processor = named[0].partition(":")[2].strip() if named else processor
    return {
        "versions": versions,
        "processor": processor,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "num_devices": jax.device_count(),
        "backend": jax.default_backend(),
        "load_average_at_start": os.getloadavg()[0],
    }


def device_name(machine: Mapping[str, Any]) -> str:
    """Names the device for use in the name of a file."""
    if machine["backend"] == "cpu":
        return f"cpu_{machine['cores']}_cores"
    name = re.sub(r"[^a-z0-9]+", "_", machine["device"].lower()).strip("_")
    number = machine["num_devices"]
    return name if number == 1 else f"{number}_{name}"


def new_record(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Begins a record; paths say nothing to others and are left out.

    JAX starts here, on a GPU with the kernels that the commands take.
    """
    kernels.settle()
    return {
        "arguments": {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in arguments.items()
            if not isinstance(value, Path)
        },
        "machine": describe_machine(),
    }


def write_record(record: Mapping[str, Any], path: Path | None) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {path}")


def heading(title: str, machine: Mapping[str, Any]) -> str:
    """What was measured, and on what."""
    versions = " ".join(f"{name} {v}" for name, v in machine["versions"].items())
    lines = [
        title,
        f"{machine['device']}, {machine['cores']} cores, {machine['processor']}",
        versions,
    ]
    load = machine["load_average_at_start"]
    if load > _IDLE:
        lines.append(f"The machine was not idle at the start: load average {load:.1f}.")
    return "\n".join(lines) + "\n"


def seeds_text(number: int) -> str:
    return "1 seed" if number == 1 else f"{number} seeds"


def format_rows(rows: Iterable[Row]) -> str:
    """Aligns lines of what, how much and unit."""
    listed = list(rows)
    left, right = (max(len(row[i]) for row in listed) for i in (0, 1))
    return "\n".join(f"{a:{left}}  {b:>{right}} {c}".rstrip() for a, b, c in listed)


def format_grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligns columns: the first to the left, the others to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    lines = []
    for line in (header, *rows):
        first, *others = (
            f"{text:{'<' if i == 0 else '>'}{width}}"
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parses `1,2,5`; for argparse."""
    return tuple(int(part) for part in text.split(",") if part)


def numbers(text: str) -> tuple[float, ...]:
    """Parses `0.1,0.5`; for argparse."""
    return tuple(float(part) for part in text.split(",") if part)


def steps_of(valid: np.ndarray) -> int:
    """Number of steps of an epoch, from which rows of `[S, T, B]` count."""
    return int(np.asarray(valid).any(axis=2).sum(axis=1).max(initial=0))


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest relative difference of losses."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return float((np.abs(ours - theirs) / np.abs(theirs)).max(initial=0.0))
