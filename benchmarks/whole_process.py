"""Where a whole process's seconds go, with nothing compiled before and with all of it.

A process of its own runs `main.py`, and a thread in it looks many times a second at
what the main thread does: in which phase (reading, scores, epochs ...) it is, and what
it is busy with (imports, tracing, compiling, waiting for the device ...). Every second
is counted once, so the parts add up to the whole. What Python takes to begin and to end
is measured from outside. Cold and warm processes take turns.

    python benchmarks/whole_process.py                           the embedded data
    python benchmarks/whole_process.py --data=/tmp/imagenetlt --profile=imagenetlt
"""

import argparse
import collections
import contextlib
import json
import os
import re
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = str(ROOT / "alphanet_jax")
_EVERY = 0.002  # seconds between looks

# Phase -> the functions that it is in, by file and name. The innermost one counts.
_PHASES = {
    "command line": ("__main__.py:main", "cli.py:main"),
    "start of jax": ("running.py:start_jax",),
    "reading": ("training.py:load_data",),
    "neighbors": ("work.py:_make_parts",),
    "checks before training": (
        "problem.py:remarks_on_data",
        "keeping.py:check_space",
        "cohorts.py:plan_parts",
        "training.py:find_done",
    ),
    "drawing samples": ("loop.py:_draw",),
    "scores": (
        "cohort_scores.py:score_training",
        "cohort_scores.py:score_evaluation",
        "cohort_scores.py:evaluate",
    ),
    "epochs": ("epochs.py:train", "loop.py:initial_params"),
    "test": ("epochs.py:test",),
    "saving": ("gathering.py:_save",),
    "controls": ("controls.py:see", "controls.py:find"),
    "table": ("accuracy_tables.py:training_table", "gathering.py:arrays"),
}
# What it is busy with -> parts of file names, and functions; all functions where empty.
_BUSY: dict[str, tuple[str, tuple[str, ...]]] = {
    "import": ("<frozen importlib", ()),
    "cache, reading": (
        "jax/_src/comp",
        ("_cache_read", "get_executable_and_time"),
    ),
    "cache, writing": (
        "jax/_src/comp",
        ("_cache_write", "put_executable_and_time"),
    ),
    "cache, keys": ("jax/_src/c", ("get_cache_key",)),
    "compiling": (
        "jax/_src/compiler.py",
        ("backend_compile", "backend_compile_and_load", "compile_or_get_cached"),
    ),
    "lowering": (
        "jax/_src/interpreters/",
        ("lower_jaxpr_to_module", "lower_sharding_computation", "compile", "lower"),
    ),
    "tracing": (
        "jax/_src/",
        (
            "trace_to_jaxpr_dynamic", "trace_to_jaxpr", "trace_to_jaxpr_nounits",
            "_create_pjit_jaxpr", "_infer_params", "_infer_params_impl",
            "infer_params", "_trace_for_jit",
        ),
    ),
    "waiting for the device": (
        "jax/_src/",
        ("_value", "block_until_ready", "_single_device_array_to_np_array_did_copy",
         "__array__", "device_get"),
    ),
}  # fmt: skip


def _phase(places: list[tuple[str, str]]) -> str:
    """Names the phase; places are files and functions, innermost first."""
    for file, function in places:
        if file.startswith(PACKAGE) or file.endswith("__main__.py"):
            place = f"{os.path.basename(file)}:{function}"
            for phase, marks in _PHASES.items():
                if place in marks:
                    return phase
    return "command line"


def _busy(places: list[tuple[str, str]]) -> str:
    """Names what the main thread is busy with."""
    for file, function in places:
        for what, (part, functions) in _BUSY.items():
            if part in file and (not functions or function in functions):
                return what
        if file.startswith(PACKAGE):
            return f"{os.path.relpath(file, PACKAGE)}:{function}"
    return "other"


class _Looker(threading.Thread):
    """Looks at the main thread until told to stop; counts seconds by place."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seconds: dict[tuple[str, str], float] = collections.defaultdict(float)
        self.stopped = threading.Event()
        self._main = threading.main_thread().ident

    def run(self) -> None:
        last = time.perf_counter()
        while not self.stopped.wait(_EVERY):
            places = []
            # The main thread goes on while it is looked at: what cannot be seen of it
            # now belongs to the next look.
            try:
                frame = sys._current_frames().get(self._main or 0)
                while frame is not None:
                    places.append((frame.f_code.co_filename, frame.f_code.co_name))
                    frame = frame.f_back
            except Exception:
                continue
            now = time.perf_counter()
            self.seconds[_phase(places), _busy(places)] += now - last
            last = now


def _listen(programs: dict[str, dict[str, float]]) -> None:
    """Counts what JAX says of every program: how often, and seconds by part."""
    from jax import monitoring

    def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
        kinds = {
            "jaxpr_trace_duration": "trace",
            "jaxpr_to_mlir_module_duration": "lower",
            "backend_compile_duration": "compile",
        }
        kind = kinds.get(event.rpartition("/")[2])
        if kind is None:
            return
        name = str(kwargs.get("fun_name", "?"))
        name = name.removeprefix("jit(").removesuffix(")")
        name = re.sub("_[0-9a-f]{6}$", "", name)  # versions, of what is kept
        where = "" if threading.current_thread() is threading.main_thread() else " *"
        entry = programs.setdefault(
            name + where, {"times": 0, "trace": 0.0, "lower": 0.0, "compile": 0.0}
        )
        entry["times"] += kind == "compile"
        entry[kind] += duration_secs

    monitoring.register_event_duration_secs_listener(heard)


def child(output: Path, arguments: list[str]) -> None:
    """Runs `main.py` in this process, watched; writes what was seen."""
    begin = time.time()
    programs: dict[str, dict[str, float]] = {}
    looker = _Looker()
    looker.start()
    find: list[Any] = sys.meta_path

    class Once:
        """Listens as soon as jax has been imported by the program itself."""

        def find_spec(self, name: str, *rest: Any) -> None:
            if name == "alphanet_jax.experiment.devices":
                find.remove(self)
                _listen(programs)

    find.insert(0, Once())
    sys.argv = ["main.py", *arguments]
    status: Any = 0
    try:
        runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
    except SystemExit as ended:
        status = ended.code
    looker.stopped.set()
    looker.join()
    seconds = [
        {"phase": phase, "busy": busy, "seconds": spent}
        for (phase, busy), spent in sorted(
            looker.seconds.items(), key=lambda item: -item[1]
        )
    ]
    record = {"begin": begin, "seconds": seconds, "programs": programs}
    record["cpu"] = sum(os.times()[:2])
    record["end"] = time.time()
    output.write_text(json.dumps(record))
    sys.exit(status)


def watch(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """Runs and watches a process; gives seconds by phase and what it was busy with."""
    from measuring import environment as measured_environment

    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "seen.json"
        begin = time.time()
        subprocess.run(
            [sys.executable, __file__, f"--child={output}", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=measured_environment() | environment,
            cwd=directory,
        )
        end = time.time()
        seen: dict[str, Any] = json.loads(output.read_text())
    outside = {"Python begins": seen["begin"] - begin, "Python ends": end - seen["end"]}
    seen["seconds"] = [
        {"phase": phase, "busy": "other", "seconds": spent}
        for phase, spent in outside.items()
    ] + seen["seconds"]
    seen["whole"] = end - begin
    rest = seen["whole"] - sum(part["seconds"] for part in seen["seconds"])
    seen["seconds"].append({"phase": "not seen", "busy": "other", "seconds": rest})
    return seen


def command(args: argparse.Namespace) -> list[str]:
    """The arguments of `main.py`."""
    if args.data is None:
        config = {
            "seeds": args.seeds,
            "rho": args.rho or 0.1,
            "training.train_epochs": args.epochs,
            "training.min_epochs": min(5, args.epochs),
        }
        return ["quickstart", *(f"--config.{f}={v}" for f, v in config.items())]
    import synthetic

    synthetic.ensure(args.profile, args.data)
    return [
        f"--config={ROOT / 'configs' / 'default.py'}",
        *synthetic.flags(
            args.profile,
            args.data,
            seeds=args.seeds,
            epochs=args.epochs,
            rho=args.rho,
        ),
    ]


@contextlib.contextmanager
def _places() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="whole_process_"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Measures processes, cold and warm in turns."""
    found: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    arguments = command(args)
    pattern = "data/CIFAR100LT/nns/*/*.npz" if args.data is None else "nns/*/*.npz"
    root = args.data or ROOT
    with _places() as places:
        for turn in range(args.repeats):
            for kind in found:
                for path in root.glob(pattern) if kind == "cold" else ():
                    path.unlink()  # a first run has no neighbors to read either
                print(f"turn {turn + 1} of {args.repeats}: {kind}", file=sys.stderr)
                found[kind].append(
                    watch(
                        [
                            *arguments,
                            f"--workdir={places / f'{kind}_{turn}'}",
                            f"--compilation_cache={places / f'compiled_{turn}'}",
                        ],
                        {"XDG_CACHE_HOME": str(places / f"cache_{turn}")},
                    )
                )
    return found


def _sums(seen: dict[str, Any], *keys: str) -> dict[tuple[str, ...], float]:
    sums: dict[tuple[str, ...], float] = {}
    for part in seen["seconds"]:
        name = tuple(part[key] for key in keys)
        sums[name] = sums.get(name, 0.0) + part["seconds"]
    return sums


def _median(
    processes: list[dict[str, Any]], *keys: str
) -> dict[tuple[str, ...], float]:
    every = [_sums(seen, *keys) for seen in processes]
    names = {name: None for sums in every for name in sums}
    return {
        name: statistics.median(sums.get(name, 0.0) for sums in every) for name in names
    }


def table(found: dict[str, list[dict[str, Any]]]) -> str:
    """Lists seconds by phase, by what it was busy with, and by program."""
    kinds = [kind for kind in found if found[kind]]
    lines = [f"{'seconds':44}" + "".join(f"{kind:>9}" for kind in kinds)]

    def row(name: str, values: list[float]) -> None:
        if max(values) >= 0.01:
            lines.append(f"{name:44}" + "".join(f"{value:9.2f}" for value in values))

    row("whole process", [
        statistics.median(seen["whole"] for seen in found[kind]) for kind in kinds
    ])  # fmt: skip
    row("  of all cores", [
        statistics.median(seen["cpu"] for seen in found[kind]) for kind in kinds
    ])  # fmt: skip
    phases = {kind: _median(found[kind], "phase") for kind in kinds}
    both = {kind: _median(found[kind], "phase", "busy") for kind in kinds}
    for phase in dict.fromkeys(name for kind in kinds for name in phases[kind]):
        row(f"{phase[0]}", [phases[kind].get(phase, 0.0) for kind in kinds])
        inner = {
            name: [both[kind].get(name, 0.0) for kind in kinds]
            for kind_ in kinds
            for name in both[kind_]
            if name[0] == phase[0] and name[1] != "other"
        }
        for name, values in sorted(inner.items(), key=lambda item: -max(item[1]))[:8]:
            if max(values) >= 0.03:
                row(f"    {name[1]}", values)
    lines.append("")
    lines.append("all phases, busy with")
    busy = {kind: _median(found[kind], "busy") for kind in kinds}
    names = dict.fromkeys(name for kind in kinds for name in busy[kind])
    listed = {name: [busy[kind].get(name, 0.0) for kind in kinds] for name in names}
    for name, values in sorted(listed.items(), key=lambda item: -max(item[1]))[:14]:
        row(f"    {name[0]}", values)
    for kind in kinds:
        programs = found[kind][-1]["programs"]
        number = int(sum(entry["times"] for entry in programs.values()))
        parts = [
            sum(entry[part] for entry in programs.values())
            for part in ("trace", "lower", "compile")
        ]
        lines.append("")
        lines.append(
            f"{kind}: {number} programs; trace {parts[0]:.2f}, lower {parts[1]:.2f}, "
            f"compile or read {parts[2]:.2f} s (* in a thread)"
        )
        order = sorted(
            programs.items(),
            key=lambda item: -sum(item[1][p] for p in ("trace", "lower", "compile")),
        )
        for name, entry in order[:20]:
            lines.append(
                f"    {name:34} {int(entry['times']):3} x {entry['trace']:6.2f}"
                f" {entry['lower']:6.2f} {entry['compile']:6.2f}"
            )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="from synthetic.py [embedded]")
    parser.add_argument("--profile", default="imagenetlt", help="[%(default)s]")
    parser.add_argument("--seeds", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--epochs", type=int, default=25, help="[%(default)s]")
    parser.add_argument("--rho", type=float, help="[0.1, or the profile's]")
    parser.add_argument("--repeats", type=int, default=3, help="turns [%(default)s]")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    found = measure(args)
    from measuring import heading, new_record, write_record

    record = new_record(vars(args))
    where = "the embedded data" if args.data is None else args.profile
    title = f"Whole processes, {where}, seeds {args.seeds}, epochs {args.epochs}"
    print(heading(title, record["machine"]))
    print(table(found))
    write_record(record | {"processes": found}, args.json)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--child="):
        child(Path(sys.argv[1].partition("=")[2]), sys.argv[2:])
    else:
        main()
