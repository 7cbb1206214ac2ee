r"""Measures a sweep after loading, on whatever device there is.

    python benchmarks/sweep.py --data=/tmp/imagenetlt
    python benchmarks/sweep.py --data=/tmp/imagenetlt --precision=highest,tf32
    python benchmarks/sweep.py --data=/tmp/shapes --grid=paper

The first is the paper's sweep of ImageNet-LT: 12 values of rho, 10 seeds each. The
last is the paper's whole grid, on made-up data of every dataset's shape, which is made
below `--data` where it is missing. `--limit` runs part of either. The record goes to
benchmarks/results/ under the name of the device.
"""

import argparse
import dataclasses
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import synthetic
from measuring import (
    GIB,
    RESULTS,
    device_name,
    format_grid,
    heading,
    new_record,
    numbers,
    say,
    timed,
    write_record,
)

from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.experiment import cohorts, loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.outcome import Outcome

# The values of the paper's tables.
RHOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)
INATURALIST_RHOS = (0.01, 0.02, 0.03, 0.04, 0.05)
NEIGHBOR_RHOS = (0.25, 0.5, 1.0, 2.0)
NEIGHBORS = tuple(range(1, 11))
PRECISIONS = {"highest": "highest", "tf32": "tensorfloat32"}  # in JAX's words


@dataclasses.dataclass(frozen=True)
class Part:
    """Settings that one call of `main.py` would sweep over."""

    name: str
    profile: str
    rhos: Sequence[float]
    epochs: int
    validate: bool = True
    neighbors: Sequence[int] = (5,)
    distances: Sequence[str] = ("euclidean",)

    def settings(self) -> list[Settings]:
        made = itertools.product(self.distances, self.neighbors, self.rhos)
        return [
            synthetic.settings(
                self.profile,
                train_epochs=self.epochs,
                n_neighbors=neighbors,
                nn_dist=distance,
                rho=rho,
            )
            for distance, neighbors, rho in made
        ]


def paper_grid() -> list[Part]:
    """What the paper's tables take, and a control with random neighbors."""
    parts = [
        *(
            Part(f"ImageNet-LT, {model}", "imagenetlt", RHOS, 25)
            for model in ("cRT", "LWS", "RIDE")
        ),
        *(
            Part(f"Places-LT, {model}", "placeslt", RHOS, 25)
            for model in ("cRT", "LWS")
        ),
        *(
            Part(f"CIFAR-100-LT, {model}", "cifar", RHOS, 10, validate=False)
            for model in ("RIDE", "LTR")
        ),
        Part("iNaturalist, cRT", "inaturalist", INATURALIST_RHOS, 10, validate=False),
        Part(
            "ImageNet-LT, neighbors", "imagenetlt", NEIGHBOR_RHOS, 25,
            neighbors=NEIGHBORS, distances=("euclidean", "cosine"),
        ),
        Part("ImageNet-LT, random", "imagenetlt", RHOS, 25, distances=("random",)),
    ]  # fmt: skip
    return parts


@dataclasses.dataclass
class Ran:
    """What came of some points."""

    seconds: dict[str, float]  # by phase, and 'all' of it, preparation included
    plans: list[dict[str, Any]]
    num_runs: int
    outcomes: dict[int, Outcome]


def _limited(settings: Sequence[Settings], limit: int | None) -> Sequence[Settings]:
    """Takes some settings from all over the list."""
    if limit is None or limit >= len(settings):
        return settings
    index = np.linspace(0, len(settings) - 1, limit).round().astype(int)
    return [settings[i] for i in index]


def run_settings(
    dataset: Dataset,
    settings: Sequence[Settings],
    num_seeds: int,
    *,
    memory_limit: int | None = None,
    keep: bool = False,
) -> Ran:
    """Prepares and trains points, and measures that."""
    seconds: dict[str, float] = {}
    clock = time.perf_counter()
    with timed(seconds, "preparation"):
        problems = problem_lib.prepare_all(dataset, [(one, 0) for one in settings])
    points = [cohorts.Part(problem, tuple(range(num_seeds))) for problem in problems]
    plans = []
    # Points that share their sources train in one program.
    shared: dict[int, list[cohorts.Part]] = {}
    for point in points:
        shared.setdefault(id(point.problem.frozen), []).append(point)
    for group in shared.values():
        for plan in cohorts.plan_parts(group, memory_limit=memory_limit):
            runs = sum(len(point.seeds) for point in group)
            plans.append(
                {
                    "runs": runs,
                    "runs_at_a_time": plan.runs_at_a_time,
                    "chunks": math.ceil(runs / plan.runs_at_a_time),
                    "estimate_gib": plan.total / GIB,
                }
            )
    latest: dict[int, Mapping[str, float]] = {}
    outcomes: dict[int, Outcome] = {}
    last = time.monotonic()
    found = loop.run_parts(points, memory_limit=memory_limit)
    for done, (index, outcome) in enumerate(found, start=1):
        if not isinstance(outcome, Outcome):
            raise SystemExit(f"error: {outcome}")
        # Phases add up over the points of a program.
        latest[id(points[index].problem.frozen)] = outcome.seconds
        if keep:
            outcomes[index] = outcome
        if time.monotonic() - last > 10:
            last = time.monotonic()
            say(f"{done} of {len(points)} points, {time.perf_counter() - clock:.0f} s")
    seconds["all"] = time.perf_counter() - clock
    for phases in latest.values():
        for phase, spent in phases.items():
            seconds[phase] = seconds.get(phase, 0.0) + spent
    return Ran(seconds, plans, len(points) * num_seeds, outcomes)


# --- One sweep ------------------------------------------------------------------------


def measure_sweep(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Measures the sweep over rho of one dataset."""
    synthetic.ensure(args.profile, args.data)
    loading: dict[str, float] = {}
    with timed(loading, "load"):
        dataset = synthetic.load(args.profile, args.data)
    record["load_seconds"] = loading["load"]
    epochs = args.epochs or synthetic.PROFILES[args.profile].num_epochs
    part = Part(args.profile, args.profile, args.rho, epochs)
    settings = _limited(part.settings(), args.limit)
    record["rho"] = [one.rho for one in settings]
    record["epochs"] = epochs
    limit = None if args.memory_gib is None else int(args.memory_gib * GIB)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in args.precision}
    outcomes: dict[str, dict[int, Outcome]] = {}
    for turn in range(args.repeats):
        for name in args.precision:
            say(f"turn {turn + 1} of {args.repeats}, precision {name}")
            chosen = _with_precision(settings, name)
            ran = run_settings(
                dataset, chosen, args.seeds, memory_limit=limit, keep=turn == 0
            )
            turns[name].append(ran.seconds)
            if turn == 0:
                outcomes[name] = ran.outcomes
    record |= {"plans": ran.plans, "num_runs": ran.num_runs, "turns": turns}
    first, *others = args.precision
    record["differences"] = {
        name: _differences(outcomes[first], outcomes[name]) for name in others
    }


def _with_precision(settings: Sequence[Settings], name: str) -> list[Settings]:
    return [dataclasses.replace(s, precision=PRECISIONS[name]) for s in settings]


def _differences(
    ours: Mapping[int, Outcome], theirs: Mapping[int, Outcome]
) -> dict[str, float]:
    """How far the results of two precisions are apart."""
    changed = [ours[i].test_pred != theirs[i].test_pred for i in ours]
    return {
        "changed_predictions": float(np.mean([part.mean() for part in changed])),
        "changed_predictions_of_the_worst_run": max(
            float(part.mean(axis=-1).max()) for part in changed
        ),
        "largest_alpha_difference": max(
            float(np.abs(ours[i].alphas - theirs[i].alphas).max()) for i in ours
        ),
        "changed_selected_epochs": float(
            np.mean([ours[i].selected_epoch != theirs[i].selected_epoch for i in ours])
        ),
        "mean_accuracy_difference": float(
            np.mean([theirs[i].test.accuracy - ours[i].test.accuracy for i in ours])
        ),
    }


_PHASES = ("preparation", "sampling", "scores", "epochs", "evaluation", "compile")


def format_turns(record: Mapping[str, Any]) -> str:
    header = (
        "precision", "turn", "after load [s]", "a run [ms]",
        *(f"{phase} [s]" for phase in _PHASES),
    )  # fmt: skip
    rows = [
        (
            name,
            f"{turn + 1}{', compiles' if turn == 0 else ''}",
            f"{seconds['all']:.2f}",
            f"{1e3 * seconds['all'] / record['num_runs']:.0f}",
            *(f"{seconds.get(phase, 0):.2f}" for phase in _PHASES),
        )
        for name, turns in record["turns"].items()
        for turn, seconds in enumerate(turns)
    ]
    return format_grid(header, rows)


def format_differences(record: Mapping[str, Any]) -> str:
    first = next(iter(record["turns"]))
    lines = []
    for name, found in record["differences"].items():
        percent = {key: 100 * value for key, value in found.items()}
        worst = percent["changed_predictions_of_the_worst_run"]
        lines += [
            f"{name} against {first}:",
            f"  {percent['changed_predictions']:.3f} % of test predictions differ, "
            f"{worst:.3f} % in the worst run",
            f"  alphas differ by at most {found['largest_alpha_difference']:.1e}, the "
            f"selected epoch in {percent['changed_selected_epochs']:.0f} % of runs",
            f"  mean accuracy by {percent['mean_accuracy_difference']:+.3f} points",
        ]
    return "\n".join(lines)


# --- The whole grid -------------------------------------------------------------------


def measure_grid(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Measures every part, each as a call of `main.py` would run it."""
    limit = None if args.memory_gib is None else int(args.memory_gib * GIB)
    record["parts"] = []
    for part in paper_grid():
        if args.profile == "tiny":
            part = dataclasses.replace(part, profile="tiny")
        if args.only and args.only.lower() not in part.name.lower():
            continue
        say(part.name)
        synthetic.ensure(part.profile, args.data / part.profile)
        loading: dict[str, float] = {}
        with timed(loading, "load"):
            dataset = synthetic.load(part.profile, args.data / part.profile)
        if not part.validate:
            dataset = dataclasses.replace(dataset, val=None)
        if args.epochs:
            part = dataclasses.replace(part, epochs=args.epochs)
        everything = part.settings()
        settings = _limited(everything, args.limit)
        jax.clear_caches()  # a process of its own would have to compile, too
        settings = _with_precision(settings, args.precision[0])
        ran = run_settings(dataset, settings, args.seeds, memory_limit=limit)
        say(f"{part.name}: {ran.num_runs} runs, {ran.seconds['all']:.1f} s after load")
        record["parts"].append(
            {
                "name": part.name,
                "profile": part.profile,
                "points": len(settings),
                "points_in_all": len(everything),
                "runs": ran.num_runs,
                "epochs": part.epochs,
                "plans": ran.plans,
                "load_seconds": loading["load"],
                "seconds": ran.seconds,
            }
        )
        del dataset


def format_parts(parts: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "part", "points", "of", "runs", "programs", "chunks", "load [s]",
        "after load [s]", "a run [ms]", *(f"{phase} [s]" for phase in _PHASES),
    )  # fmt: skip

    def row(name: str, parts: Sequence[Mapping[str, Any]]) -> list[str]:
        def total(key: str) -> Any:
            return sum(part[key] for part in parts)

        def spent(phase: str) -> float:
            return sum(float(part["seconds"].get(phase, 0.0)) for part in parts)

        plans = [plan for part in parts for plan in part["plans"]]
        return [
            name,
            f"{total('points')}",
            f"{total('points_in_all')}",
            f"{total('runs')}",
            f"{len(plans)}",
            f"{sum(plan['chunks'] for plan in plans)}",
            f"{total('load_seconds'):.1f}",
            f"{spent('all'):.1f}",
            f"{1e3 * spent('all') / max(total('runs'), 1):.0f}",
            *(f"{spent(phase):.1f}" for phase in _PHASES),
        ]

    rows = [row(part["name"], [part]) for part in parts]
    return format_grid(header, [*rows, row("all", parts)])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="from synthetic.py; of --grid=paper the directory above the datasets, "
        "each named after its profile",
    )
    parser.add_argument(
        "--grid",
        choices=("one", "paper"),
        default="one",
        help="one dataset's sweep over rho, or the paper's whole grid [%(default)s]",
    )
    parser.add_argument(
        "--profile",
        choices=synthetic.PROFILES,
        default="imagenetlt",
        help="of one sweep; with --grid=paper, 'tiny' puts the tiny dataset in the "
        "place of every other [%(default)s]",
    )
    parser.add_argument("--rho", type=numbers, default=RHOS, help="[the paper's 12]")
    parser.add_argument("--seeds", type=int, default=10, help="of each point [10]")
    parser.add_argument("--epochs", type=int, help="[the profile's, or the paper's]")
    parser.add_argument("--limit", type=int, help="points to run, of each part [all]")
    parser.add_argument("--only", help="parts of the grid whose name has this in it")
    parser.add_argument(
        "--precision",
        default="highest",
        help="of matrix products in training: highest or tf32; several, with commas, "
        "take turns, and results are compared with the first's [%(default)s]",
    )
    parser.add_argument(
        "--repeats", type=int, default=2, help="of one sweep; the first compiles [2]"
    )
    parser.add_argument("--memory_gib", type=float, help="as main.py's [its own]")
    parser.add_argument(
        "--json", type=Path, help="file to write the record to [benchmarks/results/...]"
    )
    args = parser.parse_args(argv)
    args.precision = tuple(filter(None, args.precision.split(",")))
    if unknown := set(args.precision) - set(PRECISIONS):
        parser.error(f"--precision: unknown {sorted(unknown)}")
    if args.grid == "paper" and len(args.precision) > 1:
        parser.error("--grid=paper takes one --precision")
    record = new_record(vars(args))
    machine = record["machine"]
    if args.grid == "paper":
        measure_grid(args, record)
        print(heading(f"The paper's grid, {args.seeds} seeds", machine))
        print(format_parts(record["parts"]))
    else:
        measure_sweep(args, record)
        name = synthetic.PROFILES[args.profile].proper_name
        title = f"{name}, {len(record['rho'])} values of rho, {args.seeds} seeds, "
        print(heading(f"{title}{record['epochs']} epochs", machine))
        print(format_turns(record))
        (plan,) = record["plans"]
        print(
            f"\n{plan['runs']} runs, {plan['runs_at_a_time']} at a time in "
            f"{plan['chunks']} chunks; loading took {record['load_seconds']:.1f} s"
        )
        if record["differences"]:
            print(format_differences(record))
        if machine["backend"] == "cpu" and len(args.precision) > 1:
            print("On a CPU the precision makes no difference: it has no TF32.")
    what = "paper_grid" if args.grid == "paper" else "sweep"
    name = f"{what}_{args.profile}_{device_name(machine)}.json"
    if args.grid == "paper" and args.profile != "tiny":
        name = f"{what}_{device_name(machine)}.json"
    write_record(record, args.json or RESULTS / name)


if __name__ == "__main__":
    main()
