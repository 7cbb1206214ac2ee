r"""Measures a training run at ImageNet-LT's shape, beside the dense way of doing it.

    python benchmarks/imagenetlt.py --data=/tmp/imagenetlt --json=imagenetlt.json
    python benchmarks/imagenetlt.py --data=/tmp/inaturalist --profile=inaturalist \
        --epochs=2 --repeats=0 --processes=1

Makes the data when it is missing; `--profile` takes the shape of another dataset.
Whatever is compared runs in turns in this process, and the figure is the median over
`--repeats` turns; only whole processes, with their peak memory, are `main.py` in
processes of their own. Nothing else should be running. README.md explains the figures.
"""

import argparse
import dataclasses
import importlib.util
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import step_profile
import synthetic
from measuring import (
    GAP,
    GIB,
    Row,
    format_rows,
    heading,
    in_turns,
    measure_process,
    medians,
    new_record,
    relative_difference,
    say,
    seeds_text,
    steps_of,
    timed,
    write_record,
)

from alphanet_jax.experiment import cohorts, loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.problem import Problem

dense: Any = None
if importlib.util.find_spec("torch"):
    import dense

_PRODUCT_REPEATS = 15
_PRODUCT_CALLS = 3
_SQUARE = 2048


# --- Whole processes ------------------------------------------------------------------


def measure_main(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Measures `main.py`, from arrays on disk to a saved result, twice.

    The first process compiles; the second finds what the first has compiled.
    """
    with tempfile.TemporaryDirectory() as directory:
        measured = {}
        for name in ("first", "second")[: args.processes]:
            command = [
                sys.executable,
                "main.py",
                "--config=configs/default.py",
                f"--workdir={directory}/{name}",  # results that are there are kept
                f"--compilation_cache={directory}/compiled",
                *synthetic.flags(
                    args.profile, args.data, seeds=args.seeds, epochs=args.epochs
                ),
            ]
            if args.memory_gib is not None:
                command.append(f"--memory_gib={args.memory_gib}")
            measured[name] = measure_process(command)
        return measured


# --- Training -------------------------------------------------------------------------


def without_validation(problem: Problem) -> Problem:
    dataset = dataclasses.replace(problem.dataset, val=None)
    return dataclasses.replace(problem, dataset=dataset)


def measure_training(problem: Problem, args: argparse.Namespace) -> dict[str, Any]:
    """Runs ours and the dense way in turns.

    Returns:
      Seconds: of each phase of the first run of ours, which compiles; then, of every
      turn, of each phase of ours; of one epoch of ours, with and without validation;
      and of one dense epoch of one seed, for each kind. Also the number of steps of
      an epoch, and the largest relative difference of a step's loss between ours and
      the dense way.
    """
    seeds, limit = range(args.seeds), _limit(args)
    batches = loop.epoch_batches(problem, seeds)
    params = loop.initial_params(problem, seeds)
    unvalidated = without_validation(problem)
    has_val = problem.dataset.val is not None
    say("first run")
    first = loop.run(problem, seeds, memory_limit=limit).seconds
    if has_val:  # so that no turn compiles
        loop.run(unvalidated, seeds, memory_limit=limit)
    phases: dict[str, list[float]] = {}
    epoch: list[float] = []
    training_only: list[float] = []
    dense_epoch: dict[str, list[float]] = {}
    difference: dict[str, float] = {}
    for turn in range(args.repeats):
        say(f"turn {turn + 1} of {args.repeats}: ours")
        outcome = loop.run(problem, seeds, memory_limit=limit)
        for phase, seconds in outcome.seconds.items():
            phases.setdefault(phase, []).append(seconds)
        epoch.append(outcome.seconds["epochs"] / len(batches))
        alone = outcome
        if has_val:
            alone = loop.run(unvalidated, seeds, memory_limit=limit)
        training_only.append(alone.seconds["epochs"] / len(batches))
        for layer in args.dense:
            say(f"turn {turn + 1} of {args.repeats}: dense, {layer}")
            yardstick = dense.train(
                problem,
                dense.first_seed(params),
                [dense.first_seed(b) for b in batches[: args.dense_epochs]],
                layer=layer,
            )
            dense_epoch.setdefault(layer, []).append(yardstick.seconds_per_epoch)
            difference[layer] = max(
                relative_difference(ours[0][: len(theirs)], theirs)
                for ours, theirs in zip(
                    outcome.step_loss, yardstick.step_loss, strict=False
                )
            )
    return {
        "first_phases": dict(first),
        "phases": phases,
        "epoch": epoch,
        "epoch_without_validation": training_only,
        "dense_epoch": dense_epoch,
        "steps_per_epoch": steps_of(np.asarray(batches[0].valid)),
        "loss_difference": difference,
    }


def _limit(args: argparse.Namespace) -> int | None:
    return None if args.memory_gib is None else int(args.memory_gib * GIB)


# --- The first layer ------------------------------------------------------------------


def measure_first_layer(problem: Problem, num_seeds: int) -> dict[str, Any]:
    """Measures the first layer's matrix products alone, at the run's shape.

    For every place j of the sources they are W_j C_j^T and the gradient G_j C_j: the
    weights W_j of all seeds below each other, the distinct classifiers C_j that all
    seeds share, and the gradient G_j of the product. `ours` is what `vmap` over seeds
    makes of them; `best` is the fastest way found to compute the same numbers:
    operands either way round, by XLA or, on a CPU, by NumPy's or PyTorch's library.
    """
    classifiers = [np.asarray(c) for c in problem.frozen.sources.weights]
    width = problem.settings.hdims[0]
    num_features = classifiers[0].shape[1]
    rng = np.random.default_rng(0)
    w = [
        rng.standard_normal((num_seeds, width, num_features), np.float32)
        for _ in classifiers
    ]
    g = [
        rng.standard_normal((num_seeds, width, len(c)), np.float32) for c in classifiers
    ]
    w_flat = [part.reshape(-1, num_features) for part in w]
    g_flat = [part.reshape(-1, part.shape[2]) for part in g]
    num_rows = sum(map(len, classifiers))
    flops = 2.0 * num_rows * num_features * width * num_seeds

    def xla(function: Callable[..., jax.Array], *operands: list[np.ndarray]) -> Any:
        def every_place(*lists: list[jax.Array]) -> list[jax.Array]:
            return [function(*arrays) for arrays in zip(*lists, strict=True)]

        compiled = jax.jit(every_place)
        on_device = jax.device_put(operands)
        return lambda: jax.block_until_ready(compiled(*on_device))

    def host(function: Callable[..., Any], *operands: list[Any]) -> Any:
        return lambda: [function(*arrays) for arrays in zip(*operands, strict=True)]

    def over_seeds(
        function: Callable[..., jax.Array],
    ) -> Callable[..., jax.Array]:
        return jax.vmap(function, in_axes=(0, None))

    c_last = [np.ascontiguousarray(c.T) for c in classifiers]
    calls = {
        "forward": {
            "ours": xla(over_seeds(lambda w, c: w @ c.T), w, classifiers),
            "XLA, c @ w.T": xla(lambda w, c: c @ w.T, w_flat, classifiers),
            "XLA, w @ c.T": xla(lambda w, c: w @ c.T, w_flat, classifiers),
            "XLA, w @ c.T, transposed before": xla(jnp.matmul, w_flat, c_last),
        },
        "gradient": {
            "ours": xla(over_seeds(jnp.matmul), g, classifiers),
            "XLA, g @ c": xla(jnp.matmul, g_flat, classifiers),
            "XLA, c.T @ g.T": xla(lambda g, c: c.T @ g.T, g_flat, classifiers),
        },
    }
    if jax.default_backend() == "cpu":
        libraries = [("NumPy", (w_flat, classifiers), (g_flat, classifiers))]
        if dense is not None:
            tensors = [[dense.torch.tensor(a) for a in arrays] for arrays in
                       (w_flat, g_flat, classifiers)]  # fmt: skip
            libraries.append(
                ("PyTorch", (tensors[0], tensors[2]), (tensors[1], tensors[2]))
            )
        for name, forward, gradient in libraries:
            calls["forward"] |= {
                f"{name}, c @ w.T": host(lambda w, c: c @ w.T, *forward),
                f"{name}, w @ c.T": host(lambda w, c: w @ c.T, *forward),
            }
            calls["gradient"] |= {
                f"{name}, g @ c": host(lambda g, c: g @ c, *gradient),
                f"{name}, c.T @ g.T": host(lambda g, c: c.T @ g.T, *gradient),
            }
    record: dict[str, Any] = {
        "classifiers": [len(c) for c in classifiers],
        "features": num_features,
        "width": width * num_seeds,
        "flops": flops,
        "flops_if_not_shared": flops
        * len(classifiers)
        * problem.frozen.source_index.shape[0]
        / num_rows,
    }
    for product in ("forward", "gradient"):
        every = in_turns(calls[product], repeats=_PRODUCT_REPEATS, inner=_PRODUCT_CALLS)
        seconds = medians(every)
        fastest = min(seconds, key=seconds.__getitem__)
        record[product] = {
            "seconds": seconds["ours"],
            "gflops_per_second": flops / seconds["ours"] / 1e9,
            "best": fastest,
            "best_seconds": seconds[fastest],
            "best_gflops_per_second": flops / seconds[fastest] / 1e9,
            "every": every,
        }
    square = rng.standard_normal((_SQUARE, _SQUARE), np.float32)
    every = in_turns({"": xla(jnp.matmul, [square], [square])}, repeats=5)
    record["square_gflops_per_second"] = 2.0 * _SQUARE**3 / medians(every)[""] / 1e9
    return record


# --- The record and the table ---------------------------------------------------------


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
    best = sum(layer[product]["best_seconds"] for product in ("forward", "gradient"))
    figures |= {
        "epoch_seconds": epoch,
        "validation_seconds_per_epoch": epoch - alone,
        "step_seconds": step,
        "first_layer_at_best_rate_share_of_step": best / step,
        "first_layer_rate_to_best": best
        / sum(layer[product]["seconds"] for product in ("forward", "gradient")),
    }
    if "step_profile" in record:
        parts = record["step_profile"]["parts"]
        figures["first_layer_in_a_step_gflops_per_second"] = (
            2 * layer["flops"] / parts["first_layer"] / 1e9
        )
    for name, seconds in training["dense_epoch"].items():
        median = args["seeds"] * statistics.median(seconds)
        figures |= {
            f"dense_{name}_epoch_seconds": median,
            f"dense_{name}_epoch_ratio": median / epoch,
            f"dense_{name}_run_seconds_scaled": median * args["epochs"],
        }
        for which, process in record["processes"].items():
            figures[f"dense_{name}_run_to_{which}_process_ratio"] = (
                median * args["epochs"] / process["seconds"]
            )
    return figures


def table_rows(record: dict[str, Any]) -> Iterator[Row]:
    """Yields the lines of the table: what, how much, unit."""
    plan = record["plan"]
    for name, process in record["processes"].items():
        yield f"whole process, {name}", f"{process['seconds']:.1f}", "s"
        for phase, seconds in process["phases"].items():
            what = "compilation, in all of these" if phase == "compile" else phase
            yield f"  {what}", f"{seconds:.1f}", "s"
        yield "  peak resident memory", f"{process['peak_resident_mib']:.0f}", "MiB"
        yield "    of it anonymous", f"{process['peak_anonymous_mib']:.0f}", "MiB"
    yield "  the plan's estimate", f"{plan['total_mib']:.0f}", "MiB"
    yield "  runs at a time", f"{plan['runs_at_a_time']}", ""
    yield GAP
    first = record["training"]["first_phases"] if "training" in record else {}
    yield "first run in this process" if first else "in this process", "", ""
    for phase, seconds in (record["preparation"] | first).items():
        what = "compilation, in all of these" if phase == "compile" else phase
        yield f"  {what}", f"{seconds:.2f}", "s"
    if first:
        yield from _training_rows(record)


def _training_rows(record: dict[str, Any]) -> Iterator[Row]:
    figures, seeds = record["figures"], seeds_text(record["arguments"]["seeds"])
    yield "later runs", "", ""
    for phase in record["training"]["phases"]:
        if phase != "compile":
            yield f"  {phase}", f"{figures[f'{phase}_seconds']:.2f}", "s"
    yield GAP
    yield f"epoch, {seeds}", f"{1e3 * figures['epoch_seconds']:.1f}", "ms"
    spent = 1e3 * figures["validation_seconds_per_epoch"]
    yield "  of it validation", f"{spent:.1f}", "ms"
    steps = record["training"]["steps_per_epoch"]
    yield f"  step, of {steps}", f"{1e3 * figures['step_seconds']:.3f}", "ms"
    for name in record["training"]["dense_epoch"]:
        yield GAP
        yield from _dense_rows(record, name)
    yield GAP
    yield from _layer_rows(record)
    if "step_profile" in record:
        yield GAP
        yield from _profile_rows(record)


def _dense_rows(record: dict[str, Any], name: str) -> Iterator[Row]:
    args, figures = record["arguments"], record["figures"]
    scaled = "" if args["seeds"] == 1 else ", scaled from 1"
    seconds = figures[f"dense_{name}_epoch_seconds"]
    what = f"dense ({name}), epoch, {seeds_text(args['seeds'])}{scaled}"
    yield what, f"{seconds:.2f}", "s"
    yield "  to an epoch of ours", f"{figures[f'dense_{name}_epoch_ratio']:.1f}", "x"
    yield (
        f"  {args['epochs']} epochs, scaled from {args['dense_epochs']}",
        f"{figures[f'dense_{name}_run_seconds_scaled']:.0f}",
        "s",
    )
    for which in record["processes"]:
        ratio = figures[f"dense_{name}_run_to_{which}_process_ratio"]
        yield f"  to our whole process, {which}", f"{ratio:.1f}", "x"
    difference = record["training"]["loss_difference"][name]
    yield "  largest relative difference of a loss", f"{difference:.1e}", ""


def _layer_rows(record: dict[str, Any]) -> Iterator[Row]:
    layer, figures = record["first_layer"], record["figures"]
    rows, width = sum(layer["classifiers"]), layer["width"]
    shape = f"{rows} x {layer['features']} x {width}"
    yield f"first layer, alone: {len(layer['classifiers'])} products,", shape, ""
    share = 100 * layer["flops"] / layer["flops_if_not_shared"]
    yield "  of the products without shared classifiers", f"{share:.0f}", "%"
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
    what = f"  rate at {_SQUARE} x {_SQUARE} x {_SQUARE}"
    yield what, f"{square:.0f}", "GFLOP/s"
    yield "  both, to the best", f"{100 * figures['first_layer_rate_to_best']:.0f}", "%"
    share = 100 * figures["first_layer_at_best_rate_share_of_step"]
    yield "  share of a step, were it at its best rate", f"{share:.0f}", "%"


def _profile_rows(record: dict[str, Any]) -> Iterator[Row]:
    found = record["step_profile"]
    whole = statistics.median(found["seconds"]["whole"])
    yield "step, in parts", f"{1e3 * whole:.3f}", "ms"
    for name, seconds in found["parts"].items():
        what = step_profile.PARTS.get(name, "rest")
        share = f"{100 * seconds / whole:3.0f} %"
        yield f"  {what}", f"{1e3 * seconds:.3f}", f"ms  {share}"
    rate = record["figures"]["first_layer_in_a_step_gflops_per_second"]
    yield "  rate of the first layer in a step", f"{rate:.0f}", "GFLOP/s"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measures everything; whole processes first, while this one is small."""
    synthetic.ensure(args.profile, args.data)
    record = new_record(vars(args))
    say("whole processes")
    record["processes"] = measure_main(args)
    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        dataset = synthetic.load(args.profile, args.data)
    settings = synthetic.settings(args.profile, train_epochs=args.epochs)
    with timed(seconds, "neighbors"):
        neighbors = problem_lib.find_neighbors(dataset, settings)
    problem = problem_lib.prepare(dataset, settings, neighbors=neighbors)
    record["preparation"] = seconds
    point = cohorts.Part(problem, tuple(range(args.seeds)))
    (plan,) = cohorts.plan_parts([point], memory_limit=_limit(args))
    record["plan"] = {
        "total_mib": plan.total / 2**20,
        "runs_at_a_time": plan.runs_at_a_time,
        "shared_table": plan.shared_table,
        "parts_mib": {name: size / 2**20 for name, size in plan.parts.items()},
    }
    if not args.repeats:
        return record
    record["training"] = measure_training(problem, args)
    say("first layer")
    record["first_layer"] = measure_first_layer(problem, args.seeds)
    if args.profile_step:
        say("parts of a step")
        record["step_profile"] = step_profile.profile(
            problem, args.seeds, repeats=max(3, args.repeats)
        )
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
        "--dense",
        help="kinds of the dense way, see dense.py [batched,original]; '': none",
    )
    parser.add_argument("--dense_epochs", type=int, default=1, help="to train [1]")
    parser.add_argument("--dense_threads", type=int, help="[PyTorch's own choice]")
    parser.add_argument(
        "--repeats", type=int, default=3, help="turns; 0: whole processes only [3]"
    )
    parser.add_argument(
        "--processes",
        type=int,
        choices=(0, 1, 2),
        default=2,
        help="whole processes: without compiled programs, and with them [2]",
    )
    parser.add_argument("--memory_gib", type=float, help="as main.py's [its own]")
    parser.add_argument(
        "--profile_step",
        action="store_true",
        help="also measure where the time of a step goes",
    )
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    if dense is not None:
        if args.dense is None:
            args.dense = ",".join(dense.DEFAULT_LAYERS)
        if args.dense_threads:
            dense.torch.set_num_threads(args.dense_threads)
        args.dense_threads = dense.torch.get_num_threads()
    elif args.dense:
        parser.error("--dense needs PyTorch")
    args.dense = tuple(filter(None, (args.dense or "").split(",")))
    if unknown := set(args.dense) - set(dense.LAYERS if dense else ()):
        parser.error(f"--dense: unknown {sorted(unknown)}; see dense.py")
    args.epochs = args.epochs or synthetic.PROFILES[args.profile].num_epochs
    record = measure(args)
    title = (
        f"{synthetic.PROFILES[args.profile].proper_name}, {seeds_text(args.seeds)}, "
        f"{args.epochs} epochs, median of {args.repeats or 1}"
    )
    print(heading(title, record["machine"]))
    print(format_rows(table_rows(record)))
    if dense is None:
        print("\nThe dense way was not measured: PyTorch is not installed.")
    write_record(record, args.json)


if __name__ == "__main__":
    main()
