r"""Measures alphanet+, and the Gaussian scores, at the shape of a long-tailed dataset.

    python benchmarks/alphanet_plus.py --data=/tmp/imagenetlt --json=alphanet_plus.json
    python benchmarks/alphanet_plus.py --data=/tmp/cifar --profile=cifar --val
    python benchmarks/alphanet_plus.py --data=/tmp/inaturalist --profile=inaturalist \
        --estimate

Makes the data when it is missing. Heads start at the given classifier; `--cold` starts
them at nothing. `--estimate` only says how long it would take. Nothing else should be
running.
"""

import argparse
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import synthetic
from measuring import (
    GIB,
    Row,
    format_grid,
    format_rows,
    heading,
    new_record,
    say,
    timed,
    write_record,
)

from alphanet_jax import posthoc
from alphanet_jax.comparison.announce import duration, seconds_of_a_pass
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.posthoc.convex_head import TOLERANCE, adjusted
from alphanet_jax.posthoc.gaussian import (
    discriminants,
    feature_statistics,
    row_slices,
    scores_of,
)
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.plus import AlphaNetPlus, Progress, alphanet_plus

_KIB = 2**10
CLOSED_FORMS = (
    "few_offset",
    "logit_adjustment",
    "tau_normalization",
    "nearest_class_mean_cosine",
    "prior_from_predictions",
    "gaussian_scores",
)


def accuracy(dataset: Dataset, head: Linear) -> dict[str, float]:
    """Computes test accuracy in percent, by split and overall."""
    weight, bias = (np.asarray(part, np.float32) for part in head)
    labels = dataset.test.labels
    right = np.zeros(len(labels), bool)
    for place, rows in row_slices(dataset.test.features):
        right[place] = (rows @ weight.T + bias).argmax(axis=1) == labels[place]
    found = {
        split: 100 * float(right[np.isin(labels, classes)].mean())
        for split, classes in dataset.splits.items()
    }
    return found | {"overall": 100 * float(right.mean())}


def fit(args: argparse.Namespace, dataset: Dataset) -> tuple[AlphaNetPlus, list[Any]]:
    """Fits alphanet+, and says now and then how far it is."""
    steps, began = [], time.perf_counter()

    def on_progress(progress: Progress) -> None:
        seconds = time.perf_counter() - began
        steps.append([progress.head, *progress.step, seconds])
        if progress.step.iteration % 5 == 0:
            say(
                f"{progress.stage} ({progress.head + 1} of {progress.num_heads}): "
                f"{progress.step.evaluations} passes, objective "
                f"{progress.step.value:.5f}, {seconds:.0f} s"
            )

    found = alphanet_plus(
        dataset.train.features,
        dataset.train.labels,
        num_classes=dataset.num_classes,
        val=(
            (dataset.val.features, dataset.val.labels)
            if args.val and dataset.val is not None
            else None
        ),
        classifier=None if args.cold else Linear(dataset.weight, dataset.bias),
        most_per_class=args.most_per_class,
        tolerance=args.tolerance,
        on_progress=on_progress,
    )
    return found, steps


def inputs_of(args: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Gathers what corrections need."""
    return posthoc.make_inputs(
        dataset.train.features,
        dataset.train.labels,
        dataset.weight,
        dataset.bias,
        few_classes=dataset.splits["few"],
        most_per_class=args.most_per_class,
    )


def estimate(args: argparse.Namespace, dataset: Dataset) -> float:
    """Says how long alphanet+ will take, as `fit` does; returns seconds."""
    method = posthoc.METHODS["alphanet_plus"]
    inputs = inputs_of(args, dataset)
    heads = posthoc.num_heads(
        method, inputs, num_choices=None if args.val or args.estimate else 1
    )
    a_pass = seconds_of_a_pass(inputs)
    whole = heads * posthoc.USUAL_PASSES * a_pass
    say(f"a pass of {a_pass:.2f} s, {heads} heads: about {duration(whole)}")
    return whole


def closed_forms(
    args: argparse.Namespace, dataset: Dataset, seconds: dict[str, float]
) -> None:
    """Measures corrections that fit no head: a classifier for one value of the knob."""
    for name in CLOSED_FORMS:
        with timed(seconds, name):
            jax.block_until_ready(
                tuple(posthoc.apply(posthoc.METHODS[name], inputs_of(args, dataset), 1))
            )


def measure(args: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Measures the parts and the whole."""
    seconds: dict[str, float] = {}
    closed_forms(args, dataset, seconds)
    seconds["alphanet+, as announced"] = estimate(args, dataset)
    with timed(seconds, "feature statistics"):
        statistics = feature_statistics(
            dataset.train.features,
            dataset.train.labels,
            num_classes=dataset.num_classes,
        )
    with timed(seconds, "discriminants"):
        found = discriminants(statistics)
    with timed(seconds, "alphanet+, all of it"):
        fitted, steps = fit(args, dataset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
    counts = statistics.counts
    given = Linear(dataset.weight, dataset.bias)
    heads = {
        "unchanged": given,
        "logit adjustment": adjusted(given, counts, 1.0),
        "Gaussian scores": scores_of(found, statistics),
        "balanced softmax head": fitted.balanced,
        "alphanet+": fitted.head,
    }
    return {
        "seconds": seconds,
        "passes": fitted.evaluations,
        "converged": fitted.converged,
        "peak_bytes": peak,
        "steps": steps,
        "accuracy": {name: accuracy(dataset, head) for name, head in heads.items()},
    }


def report(record: Mapping[str, Any]) -> str:
    """Formats a record as tables."""
    found = record["alphanet_plus"]
    rows: list[Row] = [
        (phase, f"{value:.1f} s", "") for phase, value in found["seconds"].items()
    ]
    rows += [
        ("passes over training samples", str(found["passes"]), ""),
        ("peak memory", f"{found['peak_bytes'] / GIB:.2f} GiB", ""),
    ]
    table = format_grid(
        ("accuracy, %", "few", "medium", "many", "overall"),
        [
            (name, *(f"{row[k]:.1f}" for k in ("few", "medium", "many", "overall")))
            for name, row in found["accuracy"].items()
        ],
    )
    title = f"alphanet+, {record['arguments']['profile']}"
    return "\n".join([heading(title, record["machine"]), format_rows(rows), "", table])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="directory of data")
    parser.add_argument("--profile", choices=synthetic.PROFILES, default="imagenetlt")
    parser.add_argument("--val", action="store_true", help="choose a, w, tau")
    parser.add_argument("--cold", action="store_true", help="start at nothing")
    parser.add_argument("--estimate", action="store_true", help="only say how long")
    parser.add_argument("--most_per_class", type=int, help="see `training_rows`")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE)
    parser.add_argument("--json", type=Path, help="write the record here")
    args = parser.parse_args(argv)
    synthetic.ensure(args.profile, args.data)
    dataset = synthetic.load(args.profile, args.data)
    if args.estimate:
        estimate(args, dataset)
        return
    record = new_record(vars(args))
    record["alphanet_plus"] = measure(args, dataset)
    print(report(record))
    write_record(record, args.json)


if __name__ == "__main__":
    main(sys.argv[1:])
