r"""Measures how time grows: with seeds, and with each size of a dataset.

    python benchmarks/scaling.py --data=/tmp/imagenetlt --json=scaling.json \
        --chart=scaling.svg

Seeds train at the shape of `--profile`. The other sizes (classes, feature dimensions,
training samples, neighbors) vary one at a time around datasets of moderate size, which
are made in memory. Beside each time stands how far the losses of an epoch are from
those of the dense formula in float64 (see plain.py), and, where PyTorch is installed,
how far those of its batched way are (see dense.py), which is also what times are
compared with. All that is compared takes turns in this process.
"""

import argparse
import dataclasses
import importlib.util
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import plain
import synthetic
from imagenetlt import without_validation
from measuring import (
    format_grid,
    heading,
    new_record,
    relative_difference,
    say,
    steps_of,
    timed,
    whole_numbers,
    write_record,
)

from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.experiment import cohorts, loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.problem import Problem

dense: Any = None
if importlib.util.find_spec("torch"):
    import dense

_TEST_ROWS = 2048  # testing is no part of what is measured


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes of a dataset, and neighbors.

    Class sizes fall from `most` to 5 by equal factors; base classes then have
    `samples` times as many, so that few classes, and with them the steps of an epoch,
    stay as they are.
    """

    classes: int
    features: int
    samples: float
    neighbors: int
    most: int = 1000

    def counts(self) -> np.ndarray:
        counts = synthetic.tail_counts(self.classes, most=self.most, least=5)
        base = np.maximum(20, counts * self.samples).astype(int)
        return np.where(counts < 20, counts, base)


@dataclasses.dataclass(frozen=True)
class Grid:
    """The shape in the middle, and what each size varies over."""

    middle: Shape
    varied: Mapping[str, Sequence[float]]


GRIDS = {
    "moderate": Grid(
        Shape(classes=500, features=512, samples=1.0, neighbors=5),
        {
            "classes": (250, 500, 1000, 2000),
            "features": (256, 512, 1024, 2048),
            "samples": (0.5, 1.0, 2.0, 4.0),
            "neighbors": (1, 2, 5, 10, 20),
        },
    ),
    "tiny": Grid(
        Shape(classes=20, features=16, samples=1.0, neighbors=2, most=60),
        {
            "classes": (20, 30),
            "features": (16, 24),
            "samples": (1.0, 2.0),
            "neighbors": (2, 3),
        },
    ),
}


def _head(group: Group) -> Group:
    return Group(group.features[:_TEST_ROWS], group.labels[:_TEST_ROWS])


def _trimmed(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, test=_head(dataset.test))


@dataclasses.dataclass
class _Case:
    """Some seeds of a problem, and what has been measured of them."""

    problem: Problem
    seeds: Sequence[int]
    epoch: list[float] = dataclasses.field(default_factory=list)
    epoch_without_validation: list[float] = dataclasses.field(default_factory=list)
    dense_epoch: list[float] = dataclasses.field(default_factory=list)
    first_losses: np.ndarray | None = None  # of the first seed and epoch
    dense_losses: np.ndarray | None = None  # of the same, by PyTorch

    def turn(self) -> None:
        epochs = self.problem.settings.train_epochs
        outcome = loop.run(self.problem, self.seeds)
        self.epoch.append(outcome.seconds["epochs"] / epochs)
        losses = outcome.step_loss[0][0]
        self.first_losses = losses[~np.isnan(losses)]
        alone = loop.run(without_validation(self.problem), self.seeds)
        self.epoch_without_validation.append(alone.seconds["epochs"] / epochs)

    def steps(self) -> int:
        batches = loop.epoch_batches(self.problem, self.seeds)
        return steps_of(np.asarray(batches[0].valid))

    def exact_losses(self) -> np.ndarray:
        """Losses by the dense formula in float64."""
        return plain.epoch_losses(self.problem, *_start(self.problem, self.seeds[0]))

    def dense_turn(self) -> None:
        if dense is None:
            return
        params, batches = _start(self.problem, self.seeds[0])
        outcome = dense.train(self.problem, params, [batches], layer="batched")
        self.dense_epoch.append(outcome.seconds_per_epoch)
        self.dense_losses = outcome.step_loss[0]

    def figures(self, exact: np.ndarray) -> dict[str, Any]:
        assert self.first_losses is not None
        epoch = statistics.median(self.epoch)
        alone = statistics.median(self.epoch_without_validation)
        steps = self.steps()
        return {
            "steps": steps,
            "epoch_seconds": epoch,
            "step_seconds": alone / steps,
            "loss_difference": relative_difference(
                self.first_losses[: len(exact)], exact
            ),
            "dense_loss_difference": None
            if self.dense_losses is None
            else relative_difference(self.dense_losses, exact),
            "dense_epoch_seconds": statistics.median(self.dense_epoch)
            if self.dense_epoch
            else None,
            "every": {
                "epoch": self.epoch,
                "epoch_without_validation": self.epoch_without_validation,
                "dense_epoch": self.dense_epoch,
            },
        }


def _start(problem: Problem, seed: int) -> tuple[Any, Any]:
    """Initial parameters and the first epoch's batches of one seed."""
    first = jax.tree.map(
        lambda array: np.asarray(array)[0],
        (
            loop.initial_params(problem, [seed]),
            loop.epoch_batches(problem, [seed])[0],
        ),
    )
    params, batches = first
    return params, batches


# --- Seeds ----------------------------------------------------------------------------


def measure_seeds(dataset: Dataset, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures different numbers of seeds, in turns."""
    settings = synthetic.settings(
        args.profile, train_epochs=args.epochs, min_epochs=1, selection="best"
    )
    problem = problem_lib.prepare(_trimmed(dataset), settings)
    cases = [_Case(problem, range(number)) for number in args.seeds]
    say("seeds: the dense formula")
    exact = cases[0].exact_losses()
    for case in cases:
        say(f"seeds: {len(case.seeds)}, first run")
        loop.run(problem, case.seeds)
        loop.run(without_validation(problem), case.seeds)
    for turn in range(args.repeats):
        say(f"seeds: turn {turn + 1} of {args.repeats}")
        for case in cases:
            case.turn()
        cases[0].dense_turn()
    found = []
    for case in cases:
        (plan,) = cohorts.plan_parts([cohorts.Part(problem, tuple(case.seeds))])
        figures = {
            "seeds": len(case.seeds),
            "runs_at_a_time": plan.runs_at_a_time,
            **case.figures(exact),
        }
        found.append(figures)
    one = found[0]
    for figures in found:
        of_one = one["epoch_seconds"] / one["seeds"]
        figures["ratio_to_one"] = figures["epoch_seconds"] / of_one
        figures["step_ratio_to_one"] = figures["step_seconds"] / (
            one["step_seconds"] / one["seeds"]
        )
    return found


def _maybe(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def format_seeds(found: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "seeds", "at a time", "epoch [ms]", "to 1 seed", "step [ms]", "to 1 seed",
        "each seed's epoch [ms]", "loss, from float64", "PyTorch's",
    )  # fmt: skip
    return format_grid(
        header,
        [
            (
                f"{f['seeds']}",
                f"{f['runs_at_a_time']}",
                f"{1e3 * f['epoch_seconds']:.1f}",
                f"{f['ratio_to_one']:.2f} x",
                f"{1e3 * f['step_seconds']:.3f}",
                f"{f['step_ratio_to_one']:.2f} x",
                f"{1e3 * f['epoch_seconds'] / f['seeds']:.1f}",
                f"{f['loss_difference']:.1e}",
                _maybe(f["dense_loss_difference"], ".1e"),
            )
            for f in found
        ],
    )


# --- Sizes ----------------------------------------------------------------------------


def measure_size(name: str, value: float, args: argparse.Namespace) -> dict[str, Any]:
    """Measures a dataset that differs from the middle one in one size."""
    shape = dataclasses.replace(GRIDS[args.grid].middle, **{name: value})
    say(f"{name}: {value:g}")
    counts = shape.counts()
    dataset = synthetic.make_dataset(
        counts, num_features=shape.features, val_per_class=10, test_per_class=1
    )
    settings = problem_lib.Settings(
        n_neighbors=shape.neighbors, rho=0.5, train_epochs=args.epochs, min_epochs=1
    )
    problem = problem_lib.prepare(dataset, settings)
    case = _Case(problem, [0])
    exact = case.exact_losses()
    loop.run(problem, [0])
    loop.run(without_validation(problem), [0])
    neighbor_seconds: dict[str, list[float]] = {"neighbors": []}
    for _ in range(args.repeats):
        case.turn()
        seconds: dict[str, float] = {}
        with timed(seconds, "neighbors"):
            problem_lib.find_neighbors(dataset, settings)
        neighbor_seconds["neighbors"].append(seconds["neighbors"])
        case.dense_turn()
    figures = case.figures(exact)
    figures["every"] |= neighbor_seconds
    return {
        "varied": name,
        "classes": shape.classes,
        "few": len(dataset.few_classes),
        "features": shape.features,
        "samples": int(counts.sum()),
        "neighbors": shape.neighbors,
        "sources": len(problem.frozen.source_classes),
        "neighbor_seconds": statistics.median(neighbor_seconds["neighbors"]),
        **figures,
    }


def format_sizes(found: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "varied", "classes", "few", "features", "samples", "k", "steps",
        "neighbors [ms]", "epoch [ms]", "step [ms]", "dense epoch [ms]", "to ours [x]",
        "loss, from float64", "PyTorch's",
    )  # fmt: skip
    rows = []
    for f in found:
        seconds = f["dense_epoch_seconds"]
        ratio = seconds and seconds / f["epoch_seconds"]
        rows.append(
            (
                f["varied"],
                f"{f['classes']}",
                f"{f['few']}",
                f"{f['features']}",
                f"{f['samples']}",
                f"{f['neighbors']}",
                f"{f['steps']}",
                f"{1e3 * f['neighbor_seconds']:.0f}",
                f"{1e3 * f['epoch_seconds']:.1f}",
                f"{1e3 * f['step_seconds']:.3f}",
                _maybe(seconds and 1e3 * seconds, ".0f"),
                _maybe(ratio, ".1f"),
                f"{f['loss_difference']:.1e}",
                _maybe(f["dense_loss_difference"], ".1e"),
            )
        )
    return format_grid(header, rows)


# --- The chart ------------------------------------------------------------------------

# Told apart by people who are colour-blind, and by their marks.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#595959"


def draw_seeds(
    found: Sequence[Mapping[str, Any]], title: str, subtitle: str, path: Path
) -> None:
    """Draws seeds against the seconds of an epoch."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    seeds = [f["seeds"] for f in found]
    together = [f["epoch_seconds"] for f in found]
    separate = [together[0] / seeds[0] * number for number in seeds]
    dense_one = found[0]["dense_epoch_seconds"]
    lines = [
        ("together in one process", together, _BLUE, "o", "-"),
        ("n separate runs", separate, _ORANGE, "s", "--"),
    ]
    if dense_one is not None:
        values = [dense_one * number for number in seeds]
        lines.append(("PyTorch, batched,\nn separate runs", values, _GREY, "^", ":"))
    plt.rcParams |= {"font.size": 11, "svg.hashsalt": "seeds"}
    figure, axes = plt.subplots(figsize=(7.6, 4.6), layout="constrained")
    # The first two may end close to each other: their names keep apart.
    higher = together[-1] > separate[-1]
    shifts = [8 if higher else -8, -8 if higher else 8, 0]
    for (name, values, color, marker, style), shift in zip(lines, shifts, strict=False):
        axes.plot(seeds, values, style, color=color, marker=marker, lw=2, ms=6)
        axes.annotate(
            name,
            (seeds[-1], values[-1]),
            xytext=(18, shift),
            textcoords="offset points",
            color=color,
            va="center",
            fontweight="bold",
            annotation_clip=False,
        )
    for number, value, other in zip(seeds, together, separate, strict=True):
        axes.annotate(
            f"{value:.2g} s",
            (number, min(value, other)),
            xytext=(0, -16),
            textcoords="offset points",
            ha="center",
            color=_BLUE,
            fontsize=9.5,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(seeds))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axes.margins(x=0.08, y=0.12)
    axes.set_xlabel("seeds")
    axes.set_ylabel("time of an epoch, validation included [s]")
    axes.grid(which="major", color="#dddddd", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{title}\n", loc="left", fontweight="bold", fontsize=12)
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, color=_GREY, fontsize=9.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
    say(f"wrote {path}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="from synthetic.py; for seeds")
    parser.add_argument(
        "--profile",
        choices=synthetic.PROFILES,
        default="imagenetlt",
        help="[%(default)s]",
    )
    parser.add_argument(
        "--vary",
        default="seeds,classes,features,samples,neighbors",
        help="what to measure [%(default)s]",
    )
    parser.add_argument(
        "--seeds",
        type=whole_numbers,
        default=(1, 2, 5, 10, 20),
        help="numbers of seeds, the first of them the comparison [1,2,5,10,20]",
    )
    parser.add_argument(
        "--grid", choices=GRIDS, default="moderate", help="sizes [%(default)s]"
    )
    parser.add_argument("--epochs", type=int, default=3, help="of a run [3]")
    parser.add_argument("--repeats", type=int, default=3, help="turns [3]")
    parser.add_argument("--chart", type=Path, help="file to draw seeds to, as .svg")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    vary = tuple(filter(None, args.vary.split(",")))
    varied = GRIDS[args.grid].varied
    if unknown := set(vary) - {"seeds", *varied}:
        parser.error(f"--vary: unknown {sorted(unknown)}")
    if "seeds" in vary and args.data is None:
        parser.error("--data is missing, where seeds are to be measured")
    if args.chart and "seeds" not in vary:
        parser.error("--chart draws seeds, which --vary leaves out")
    record = new_record(vars(args))
    machine = record["machine"]
    name = synthetic.PROFILES[args.profile].proper_name
    print(heading(f"{args.epochs} epochs, median of {args.repeats}", machine))
    if "seeds" in vary:
        synthetic.ensure(args.profile, args.data)
        dataset = synthetic.load(args.profile, args.data)
        record["seeds"] = measure_seeds(dataset, args)
        print(f"{name}\n\n{format_seeds(record['seeds'])}\n")
    record["sizes"] = [
        measure_size(size, value, args)
        for size in vary
        if size != "seeds"
        for value in varied[size]
    ]
    if record["sizes"]:
        print(f"{format_sizes(record['sizes'])}\n")
    if dense is None:
        print("The dense way was not timed: PyTorch is not installed.")
    if args.chart:
        where = (
            f"{machine['device']}, {machine['cores']} cores"
            if machine["backend"] == "cpu"
            else machine["device"]
        )
        draw_seeds(
            record["seeds"],
            f"Time of an epoch against seeds: {name}",
            f"{where}; median of {args.repeats}; both axes are logarithmic",
            args.chart,
        )
    write_record(record, args.json)


if __name__ == "__main__":
    main()
