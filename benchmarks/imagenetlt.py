"""Measures a training run at ImageNet-LT's shape, beside the dense way of doing it.

    python benchmarks/imagenetlt.py --data=/tmp/imagenetlt --json=imagenetlt.json

Makes the data when it is missing. Whatever is compared runs in turns in this process,
and the figure is the median over `--repeats` turns; only whole processes, with their
peak memory, are `main.py` in processes of their own. Nothing else should be running.
README.md explains the figures.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import synthetic

from alphanet_jax import experiment
from alphanet_jax.experiment import Problem

dense: Any = None
if importlib.util.find_spec("torch"):
    import dense

ROOT = Path(__file__).resolve().parents[1]
_VERSIONS = ("jax", "jaxlib", "numpy", "optax", "torch")
_POLL_SECONDS = 0.01
_PRODUCT_REPEATS = 30
_MIB = 2**20
_IDLE = 0.5  # load average up to which figures can be trusted


def say(line: str) -> None:
    """Shows progress; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


# --- Whole processes ------------------------------------------------------------------


def _memory(pid: int) -> dict[str, int]:
    """Reads a process's memory in bytes; nothing where there is no /proc."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmHWM", "RssAnon"):
                found[name] = 1024 * int(value.split()[0])
    return found


def measure_process(arguments: Sequence[str]) -> dict[str, float]:
    """Runs a program to its end; gives its seconds and its peak memory.

    The peak of all resident memory counts pages of mapped files too, which the system
    takes back at need; that of anonymous memory is what a program cannot do without.
    It is sampled, and therefore a little low.
    """
    # Not ru_maxrss: it begins at the memory of the process that started the program.
    peak = {"VmHWM": 0, "RssAnon": 0}
    with tempfile.TemporaryFile("w+") as output:
        clock = time.perf_counter()
        process = subprocess.Popen(
            arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            for name, value in _memory(process.pid).items():
                peak[name] = max(peak[name], value)
            time.sleep(_POLL_SECONDS)
        seconds = time.perf_counter() - clock
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"error: {' '.join(arguments)}\n{output.read()}")
    return {
        "seconds": seconds,
        "peak_resident_mib": peak["VmHWM"] / _MIB,
        "peak_anonymous_mib": peak["RssAnon"] / _MIB,
    }


def measure_main(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measures `main.py`, from arrays on disk to a saved result, twice.

    The first process compiles; the second finds what the first has compiled.
    """
    profile = synthetic.PROFILES[args.profile]
    config = {
        "dataset": args.profile,
        "registry": args.data.resolve() / synthetic.REGISTRY,
        "data_root": args.data.resolve(),
        "seeds": args.seeds,
        "rho": profile.rho,
        "training.train_epochs": args.epochs,
        "training.min_epochs": min(5, args.epochs),
        "training.train_batch_size": profile.batch_size,
        "training.val_datagrp": "val" if profile.val_per_class else "",
    }
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "main.py",
            "--config=configs/default.py",
            f"--workdir={directory}/result",
            f"--compilation_cache={directory}/compiled",
            *(f"--config.{name}={value}" for name, value in config.items()),
        ]
        return {name: measure_process(command) for name in ("first", "second")}


# --- Training -------------------------------------------------------------------------


@contextlib.contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    clock = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - clock


def _without_validation(problem: Problem) -> Problem:
    dataset = dataclasses.replace(problem.dataset, val=None)
    return dataclasses.replace(problem, dataset=dataset)


def measure_training(problem: Problem, args: argparse.Namespace) -> dict[str, Any]:
    """Runs ours and the dense way in turns.

    Returns:
      Seconds: of each phase of the first run of ours, which compiles; then, of every
      turn, of each phase of ours; of one epoch of ours, with and without validation;
      and of one dense epoch of one seed, for each kind of layer. Also the number of
      steps of an epoch, and the largest difference of a step's loss between ours
      and the dense way.
    """
    seeds = range(args.seeds)
    batches = experiment.epoch_batches(problem, seeds)
    params = experiment.initial_params(problem, seeds)
    unvalidated = _without_validation(problem)
    say("first run")
    first = experiment.run(problem, seeds).seconds
    experiment.run(unvalidated, seeds)  # so that no turn compiles
    phases: dict[str, list[float]] = {}
    epoch: list[float] = []
    training_only: list[float] = []
    dense_epoch: dict[str, list[float]] = {}
    difference: dict[str, float] = {}
    for turn in range(args.repeats):
        say(f"turn {turn + 1} of {args.repeats}: ours")
        outcome = experiment.run(problem, seeds)
        for phase, seconds in outcome.seconds.items():
            phases.setdefault(phase, []).append(seconds)
        epoch.append(outcome.seconds["epochs"] / len(batches))
        alone = experiment.run(unvalidated, seeds)
        training_only.append(alone.seconds["epochs"] / len(batches))
        if dense is None or not args.dense_epochs:
            continue
        for layer in dense.LAYERS:
            say(f"turn {turn + 1} of {args.repeats}: dense, {layer}")
            yardstick = dense.train(
                problem,
                dense.first_seed(params),
                [dense.first_seed(b) for b in batches[: args.dense_epochs]],
                layer=layer,
            )
            dense_epoch.setdefault(layer, []).append(yardstick.seconds_per_epoch)
            pairs = zip(outcome.step_loss, yardstick.step_loss, strict=False)
            difference[layer] = max(
                float(np.abs(ours[0] - theirs).max()) for ours, theirs in pairs
            )
    return {
        "first_phases": dict(first),
        "phases": phases,
        "epoch": epoch,
        "epoch_without_validation": training_only,
        "dense_epoch": dense_epoch,
        "steps_per_epoch": batches[0].rows.shape[1],
        "loss_difference": difference,
    }


# --- The first layer ------------------------------------------------------------------


def _in_turns(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Gives the median seconds of every call, the calls taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # compiles
        call()
    for _ in range(_PRODUCT_REPEATS):
        for name, call in calls.items():
            clock = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - clock)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def measure_first_layer(problem: Problem, num_seeds: int) -> dict[str, Any]:
    """Measures the first layer's two matrix products alone, at the run's shape.

    They are X W^T and the gradient G^T X, for the input X that all seeds share. `ours`
    is what `vmap` over seeds makes of them; `best` is the fastest way found to compute
    the same numbers: operands either way round, by XLA or, on a CPU, by NumPy's or
    PyTorch's library.
    """
    weights = np.asarray(problem.frozen.source_weights)
    x = weights.reshape(len(weights), -1)
    num_few, fan_in = x.shape
    width = problem.settings.hdims[0]
    rng = np.random.default_rng(0)
    w = rng.standard_normal((num_seeds, width, fan_in), np.float32)
    g = rng.standard_normal((num_seeds, num_few, width), np.float32)
    w_flat = w.reshape(-1, fan_in)  # (S h, (k + 1) d)
    g_flat = np.ascontiguousarray(np.moveaxis(g, 0, 1)).reshape(num_few, -1)
    flops = 2.0 * num_few * fan_in * width * num_seeds

    def xla(function: Callable[..., jax.Array], *operands: np.ndarray) -> Any:
        compiled = jax.jit(function)
        on_device = jax.device_put(operands)
        return lambda: compiled(*on_device).block_until_ready()

    # As in the scan of an epoch: the transposed input is there from the start, and
    # the gradient of the output comes seed by seed with classes last.
    x_last = np.ascontiguousarray(x.T)
    g_last = np.ascontiguousarray(g.swapaxes(1, 2))
    ours = {
        "forward": xla(jax.vmap(jnp.matmul, in_axes=(0, None)), w, x_last),
        "gradient": xla(jax.vmap(jnp.matmul, in_axes=(0, None)), g_last, x),
    }
    best = {
        "forward": {
            "XLA, x @ w.T": xla(lambda x, w: x @ w.T, x, w_flat),
            "XLA, w @ x.T": xla(lambda x, w: w @ x.T, x, w_flat),
            "XLA, w @ x.T, transposed before": xla(jnp.matmul, w_flat, x_last),
        },
        "gradient": {
            "XLA, g.T @ x": xla(lambda x, g: g.T @ x, x, g_flat),
            "XLA, x.T @ g": xla(lambda x, g: x.T @ g, x, g_flat),
        },
    }
    if jax.default_backend() == "cpu":
        best["forward"]["NumPy, x @ w.T"] = lambda: x @ w_flat.T
        best["forward"]["NumPy, w @ x.T"] = lambda: w_flat @ x.T
        best["gradient"]["NumPy, g.T @ x"] = lambda: g_flat.T @ x
        best["gradient"]["NumPy, x.T @ g"] = lambda: x.T @ g_flat
        if dense is not None:
            torch = dense.torch
            tx, tw, tg = (torch.tensor(array) for array in (x, w_flat, g_flat))
            best["forward"]["PyTorch, x @ w.T"] = lambda: tx @ tw.T
            best["forward"]["PyTorch, w @ x.T"] = lambda: tw @ tx.T
            best["gradient"]["PyTorch, g.T @ x"] = lambda: tg.T @ tx
            best["gradient"]["PyTorch, x.T @ g"] = lambda: tx.T @ tg
    record: dict[str, Any] = {"shape": [num_few, fan_in, width * num_seeds]}
    record["flops"] = flops
    for product in ("forward", "gradient"):
        seconds = _in_turns({"ours": ours[product], **best[product]})
        fastest = min(seconds, key=seconds.__getitem__)
        record[product] = {
            "seconds": seconds["ours"],
            "gflops_per_second": flops / seconds["ours"] / 1e9,
            "best": fastest,
            "best_seconds": seconds[fastest],
            "best_gflops_per_second": flops / seconds[fastest] / 1e9,
        }
    square = rng.standard_normal((2048, 2048), np.float32)
    took = _in_turns({"": xla(jnp.matmul, square, square)})[""]
    record["square_gflops_per_second"] = 2.0 * 2048**3 / took / 1e9
    return record


# --- The record and the table ---------------------------------------------------------


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
        "backend": jax.default_backend(),
        "load_average_at_start": os.getloadavg()[0],
    }


def derive(record: dict[str, Any]) -> dict[str, float]:
    """Takes medians and the ratios of medians."""
    args, training = record["arguments"], record["training"]
    layer = record["first_layer"]
    epoch = statistics.median(training["epoch"])
    alone = statistics.median(training["epoch_without_validation"])
    step = alone / training["steps_per_epoch"]
    figures = {
        f"{phase}_seconds": statistics.median(seconds)
        for phase, seconds in training["phases"].items()
    }
    figures |= {
        "epoch_seconds": epoch,
        "validation_seconds_per_epoch": epoch - alone,
        "step_seconds": step,
        "first_layer_share_of_step": (
            layer["forward"]["seconds"] + layer["gradient"]["seconds"]
        )
        / step,
        "first_layer_at_best_rate_share_of_step": (
            layer["forward"]["best_seconds"] + layer["gradient"]["best_seconds"]
        )
        / step,
    }
    for name, seconds in training["dense_epoch"].items():
        median = args["seeds"] * statistics.median(seconds)
        whole = record["processes"]["first"]["seconds"]
        figures[f"dense_{name}_epoch_seconds"] = median
        figures[f"dense_{name}_epoch_ratio"] = median / epoch
        figures[f"dense_{name}_run_seconds_scaled"] = median * args["epochs"]
        figures[f"dense_{name}_run_to_whole_process_ratio"] = (
            median * args["epochs"] / whole
        )
    return figures


def table_rows(record: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields the lines of the table: what, how much, unit; '' is a gap."""
    args, figures = record["arguments"], record["figures"]
    seeds = "1 seed" if args["seeds"] == 1 else f"{args['seeds']} seeds"
    gap = ("", "", "")
    for name, process in record["processes"].items():
        yield f"whole process, {name}", f"{process['seconds']:.1f}", "s"
        yield "  peak resident memory", f"{process['peak_resident_mib']:.0f}", "MiB"
        yield "    of it anonymous", f"{process['peak_anonymous_mib']:.0f}", "MiB"
    yield gap
    first = record["training"]["first_phases"]
    yield "first run in this process", "", ""
    for phase, seconds in (record["preparation"] | first).items():
        what = "compilation, in all of these" if phase == "compile" else phase
        yield f"  {what}", f"{seconds:.2f}", "s"
    yield "later runs", "", ""
    for phase in record["training"]["phases"]:
        if phase != "compile":
            yield f"  {phase}", f"{figures[f'{phase}_seconds']:.2f}", "s"
    yield gap
    yield f"epoch, {seeds}", f"{1e3 * figures['epoch_seconds']:.1f}", "ms"
    spent = 1e3 * figures["validation_seconds_per_epoch"]
    yield "  of it validation", f"{spent:.1f}", "ms"
    yield "  step", f"{1e3 * figures['step_seconds']:.3f}", "ms"
    for name in record["training"]["dense_epoch"]:
        yield gap
        scaled = "" if args["seeds"] == 1 else ", scaled from 1"
        yield (
            f"dense ({name}), epoch, {seeds}{scaled}",
            f"{figures[f'dense_{name}_epoch_seconds']:.1f}",
            "s",
        )
        yield (
            "  to an epoch of ours",
            f"{figures[f'dense_{name}_epoch_ratio']:.0f}",
            "x",
        )
        yield (
            f"  {args['epochs']} epochs, scaled from {args['dense_epochs']}",
            f"{figures[f'dense_{name}_run_seconds_scaled']:.0f}",
            "s",
        )
        yield (
            "  to our whole process",
            f"{figures[f'dense_{name}_run_to_whole_process_ratio']:.0f}",
            "x",
        )
        difference = record["training"]["loss_difference"][name]
        yield "  a loss differs from ours by at most", f"{difference:.1e}", ""
    yield gap
    layer = record["first_layer"]
    yield "first layer", "{} x {} x {}".format(*layer["shape"]), ""
    for product in ("forward", "gradient"):
        part = layer[product]
        yield f"  {product}", f"{1e3 * part['seconds']:.3f}", "ms"
        yield "    rate", f"{part['gflops_per_second']:.0f}", "GFLOP/s"
        yield (
            f"    best rate ({part['best']})",
            f"{part['best_gflops_per_second']:.0f}",
            "GFLOP/s",
        )
    square = layer["square_gflops_per_second"]
    yield "  rate at 2048 x 2048 x 2048", f"{square:.0f}", "GFLOP/s"
    share = 100 * figures["first_layer_share_of_step"]
    yield "  share of a step", f"{share:.0f}", "%"
    share = 100 * figures["first_layer_at_best_rate_share_of_step"]
    yield "  share of a step, were it at its best rate", f"{share:.0f}", "%"


def format_table(rows: Iterator[tuple[str, str, str]]) -> str:
    listed = list(rows)
    left, right = (max(len(row[i]) for row in listed) for i in (0, 1))
    return "\n".join(f"{a:{left}}  {b:>{right}} {c}".rstrip() for a, b, c in listed)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures everything; whole processes first, while this one is small."""
    synthetic.ensure(args.profile, args.data)
    record: dict[str, Any] = {
        "arguments": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in vars(args).items()
        },
        "machine": describe_machine(),
    }
    say("whole processes")
    record["processes"] = measure_main(args)
    seconds: dict[str, float] = {}
    with _timed(seconds, "load"):
        dataset = synthetic.load(args.profile, args.data)
    settings = synthetic.settings(args.profile, train_epochs=args.epochs)
    with _timed(seconds, "neighbors"):
        neighbors = experiment.find_neighbors(dataset, settings)
    problem = experiment.prepare(dataset, settings, neighbors=neighbors)
    record["preparation"] = seconds
    record["training"] = measure_training(problem, args)
    say("first layer")
    record["first_layer"] = measure_first_layer(problem, args.seeds)
    record["figures"] = derive(record)
    return record


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="from synthetic.py")
    parser.add_argument(
        "--profile",
        choices=synthetic.PROFILES,
        default="imagenetlt",
        help="[%(default)s]",
    )
    parser.add_argument("--seeds", type=int, default=1, help="trained together [1]")
    parser.add_argument("--epochs", type=int, help="[the profile's]")
    parser.add_argument(
        "--dense_epochs", type=int, default=1, help="of the dense way [1]; 0: none"
    )
    parser.add_argument("--dense_threads", type=int, help="[PyTorch's own choice]")
    parser.add_argument("--repeats", type=int, default=3, help="[3]")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    if dense is not None:
        if args.dense_threads:
            dense.torch.set_num_threads(args.dense_threads)
        args.dense_threads = dense.torch.get_num_threads()
    args.epochs = args.epochs or synthetic.PROFILES[args.profile].num_epochs
    record = measure(args)
    machine = record["machine"]
    versions = " ".join(f"{k} {v}" for k, v in machine["versions"].items())
    print(
        f"{synthetic.PROFILES[args.profile].proper_name}, {args.seeds} seed(s), "
        f"{args.epochs} epochs, median of {args.repeats}\n"
        f"{machine['device']}, {machine['cores']} cores, {machine['processor']}\n"
        f"{versions}\n\n{format_table(table_rows(record))}"
    )
    load = machine["load_average_at_start"]
    if load > _IDLE:
        print(f"\nThe machine was not idle at the start: load average {load:.1f}.")
    if dense is None:
        print("\nThe dense way was not measured: PyTorch is not installed.")
    if args.json:
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
