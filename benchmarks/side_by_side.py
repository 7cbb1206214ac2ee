"""Measures ours beside the original's way, in one run: whole processes, in turns.

    python benchmarks/side_by_side.py --data=/tmp/imagenetlt

Each turn is a process of ours with nothing compiled before, one of the original's way
(`original_way.py`, which says what it is), and one of ours that finds compiled what the
first has compiled. So every ratio is of one machine in one state. Wall-clock time tells
what a person waits; processor time, of all cores, tells on a busy machine what the work
itself takes, and is printed beside it. On a busy machine PyTorch's threads wait for
each other by counting, and both clocks say far too much: `--threads=1` ends that.

The original's way trains `--original_epochs` epochs; its whole process is scaled to as
many as ours trains, and to as many processes as ours trains seeds.
"""

import argparse
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import synthetic
from measuring import (
    ROOT,
    Row,
    format_rows,
    heading,
    measure_process,
    new_record,
    say,
    seeds_text,
    write_record,
)

OURS = ("first", "second")
WAYS = (*OURS, "original")


def measure(command: Sequence[str]) -> dict[str, Any]:
    """Measures a process as `measure_process` does, with its processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = measure_process(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return {**measured, "processor_seconds": used}


def our_command(args: argparse.Namespace, workdir: Path, compiled: Path) -> list[str]:
    """Writes the command of a run of ours."""
    return [
        sys.executable,
        "main.py",
        "--config=configs/default.py",
        f"--workdir={workdir}",
        f"--compilation_cache={compiled}",
        *synthetic.flags(args.profile, args.data, seeds=args.seeds, epochs=args.epochs),
    ]


def original_command(args: argparse.Namespace, out: Path, epochs: int) -> list[str]:
    """Writes the command of the original's way."""
    profile = synthetic.PROFILES[args.profile]
    options = {
        "data": args.data.resolve(),
        "name": args.profile,
        "epochs": epochs,
        "rho": profile.rho,
        "batch_size": profile.batch_size,
        "out": out,
    }
    if args.threads:
        options["threads"] = args.threads
    program = ROOT / "benchmarks" / "original_way.py"
    return [
        sys.executable,
        "-O",
        str(program),
        *(f"--{option}={value}" for option, value in options.items()),
    ]


def take_turns(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Runs all ways in turns; gives what was measured of each, by way."""
    measured: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(args.repeats):
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            for way in ("first", "original", "second"):
                say(f"turn {turn + 1} of {args.repeats}: {way}")
                command = (
                    original_command(args, place / "result.pt", args.original_epochs)
                    if way == "original"
                    else our_command(args, place / way, place / "compiled")
                )
                measured[way].append(measure(command))
    return measured


def scaled(original: dict[str, Any], clock: str, args: argparse.Namespace) -> float:
    """Scales a process of the original's way to as many epochs and seeds as ours."""
    # What is not an epoch takes the same however many there are. By the processor's
    # clock epochs have the share that they have by the other one.
    whole = original[clock]
    epochs = original["phases"]["epochs"] * whole / original["seconds"]
    once = whole - epochs + epochs * args.epochs / args.original_epochs
    return float(args.seeds * once)


def derive(
    measured: dict[str, list[dict[str, Any]]], args: argparse.Namespace
) -> dict[str, float]:
    """Computes the figures: medians over turns, of seconds and of ratios."""
    figures = {}
    for clock in ("seconds", "processor_seconds"):
        theirs = [scaled(turn, clock, args) for turn in measured["original"]]
        figures[f"original_{clock}"] = statistics.median(theirs)
        for way in OURS:
            own = [turn[clock] for turn in measured[way]]
            figures[f"{way}_{clock}"] = statistics.median(own)
            ratios = [a / b for a, b in zip(theirs, own, strict=True)]
            figures[f"{way}_{clock}_ratio"] = statistics.median(ratios)
    # Phases are said to a tenth of a second: an epoch is as exact as there are many.
    theirs = [
        args.seeds * turn["phases"]["epochs"] / args.original_epochs
        for turn in measured["original"]
    ]
    own = [turn["phases"]["epochs"] / args.epochs for turn in measured["second"]]
    figures["original_epoch_seconds"] = statistics.median(theirs)
    figures["epoch_seconds"] = statistics.median(own)
    if all(own):
        ratios = [a / b for a, b in zip(theirs, own, strict=True)]
        figures["epoch_ratio"] = statistics.median(ratios)
    return figures


def table_rows(record: dict[str, Any], args: argparse.Namespace) -> Iterator[Row]:
    """Writes the lines of the table."""
    figures = record["figures"]
    yield "an epoch with validation, ours", f"{figures['epoch_seconds']:.3f}", "s"
    name = f"the original's way, {args.seeds} x" if args.seeds > 1 else "the original's"
    yield name, f"{figures['original_epoch_seconds']:.2f}", "s"
    if "epoch_ratio" in figures:
        yield "ratio", f"{figures['epoch_ratio']:.0f}", "x"
    for clock, what in (("seconds", "s"), ("processor_seconds", "s of processors")):
        yield "", "", ""
        whole = f"{figures[f'original_{clock}']:.1f}"
        yield "whole process, the original's way (scaled)", whole, what
        for way, state in zip(OURS, ("nothing compiled before", "again"), strict=True):
            yield f"ours, {state}", f"{figures[f'{way}_{clock}']:.1f}", what
            yield "ratio", f"{figures[f'{way}_{clock}_ratio']:.1f}", "x"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="made where missing")
    parser.add_argument(
        "--profile",
        choices=synthetic.PROFILES,
        default="imagenetlt",
        help="[%(default)s]",
    )
    parser.add_argument("--seeds", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--epochs", type=int, help="of ours [the profile's]")
    parser.add_argument(
        "--original_epochs", type=int, default=1, help="of theirs [%(default)s]"
    )
    parser.add_argument(
        "--threads", type=int, help="of the original's way [PyTorch's own choice]"
    )
    parser.add_argument("--repeats", type=int, default=1, help="turns [%(default)s]")
    parser.add_argument("--json", type=Path, help="file to write the record to")
    args = parser.parse_args(argv)
    profile = synthetic.PROFILES[args.profile]
    args.epochs = args.epochs or profile.num_epochs
    synthetic.ensure(args.profile, args.data)
    record = new_record(vars(args))
    record["processes"] = take_turns(args)
    record["figures"] = derive(record["processes"], args)
    title = (
        f"{profile.proper_name}, {seeds_text(args.seeds)} x {args.epochs} epochs, "
        "beside a re-enactment of the original"
    )
    print(heading(title, record["machine"]))
    print(format_rows(table_rows(record, args)))
    write_record(record, args.json)


if __name__ == "__main__":
    main()
