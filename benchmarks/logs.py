r"""Measures what TensorBoard logs cost: the same training with them and without.

    python benchmarks/logs.py --data=/tmp/cifar --profile=cifar
    python benchmarks/logs.py --data=/tmp/cifar --profile=cifar --subruns

Both are trained in turns, in one process and with everything compiled before. What a
run takes on disk and how many runs TensorBoard finds are counted from the files.
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

import synthetic
from measuring import (
    MIB,
    Row,
    format_rows,
    heading,
    in_turns,
    medians,
    new_record,
    say,
    write_record,
)

from alphanet_jax.data.dataset import Dataset
from alphanet_jax.experiment import training


def measure(data: Dataset, args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Trains with logs and without; returns seconds, bytes and runs."""
    settings = synthetic.settings(
        args.profile, train_epochs=args.epochs, seeds=args.seeds
    )
    numbers = itertools.count()

    def train(**places: Any) -> None:
        training.train(settings, data, report=lambda line: None, **places)

    seconds = in_turns(
        {
            "without logs": train,
            "with logs": lambda: train(
                tb_logs=root / str(next(numbers)), tb_subruns=args.subruns
            ),
        },
        repeats=args.repeats,
    )
    files = list((root / "0").rglob("events.out.tfevents.*"))
    return {
        "seconds": seconds,
        "bytes": sum(path.stat().st_size for path in files),
        "runs": len({path.parent for path in files}),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="made if missing")
    parser.add_argument(
        "--profile", choices=synthetic.PROFILES, default="cifar", help="[cifar]"
    )
    parser.add_argument("--seeds", type=int, default=10, help="[10]")
    parser.add_argument("--epochs", type=int, default=400, help="[400]")
    parser.add_argument("--repeats", type=int, default=5, help="turns [5]")
    parser.add_argument("--subruns", action="store_true", help="as --tb_subruns")
    parser.add_argument("--json", type=Path, help="write a record")
    args = parser.parse_args(argv)
    record = new_record(vars(args))
    synthetic.ensure(args.profile, args.data)
    data = synthetic.load(args.profile, args.data)
    say(f"{args.profile}, {args.seeds} seeds, {args.epochs} epochs")
    with tempfile.TemporaryDirectory() as directory:
        record["logs"] = found = measure(data, args, Path(directory))
    middle = medians(found["seconds"])
    plain, logged = middle["without logs"], middle["with logs"]
    rows: list[Row] = [
        ("training without logs", f"{plain:.2f}", "s"),
        ("training with logs", f"{logged:.2f}", "s"),
        ("logs cost", f"{100 * (logged / plain - 1):.1f}", "%"),
        ("on disk", f"{found['bytes'] / MIB:.1f}", "MiB"),
        ("runs", str(found["runs"]), ""),
    ]
    title = (
        f"TensorBoard logs, {args.profile}, {args.seeds} seeds, {args.epochs} epochs"
    )
    print(heading(title, record["machine"]))
    print(format_rows(rows))
    write_record(record, args.json)


if __name__ == "__main__":
    main()
