"""Replays a recorded run of the original program and prints every deviation.

    python tests/replay_trace.py --data_root=DIR --registry=datasets.toml \
        --trace=FILE.npz [--case=FILE.json]

The recorded batches and initial weights go through the functions that a normal run
calls. For every recorded quantity one line is printed, `name value limit ok|FAIL`;
the exit status is 1 if there is a FAIL. A prediction that differs counts only where
our two best scores are further than 1e-5 apart.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# From a checkout it runs without being installed, as main.py does.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from alphanet_jax import model, nn_search
from alphanet_jax.config.fields import Settings
from alphanet_jax.data import loading, registry
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.lookup.params import parse_params
from alphanet_jax.sampling import Batches

SAME = 1e-6  # of figures that are ratios of counts
CLOSE = 2e-5  # relative for losses, absolute for alphas
NEAR_TIE = 1e-5  # of scores
# Adam turns a gradient that is mere rounding noise into a step of the size of the
# learning rate, so single weights may differ where nothing that depends on them does.
WEIGHTS = 1e-3


class Line(NamedTuple):
    """One line of the report."""

    name: str
    value: float
    limit: float

    def __str__(self) -> str:
        verdict = "ok" if self.value <= self.limit else "FAIL"  # NaN fails
        return f"{self.name} {self.value:.3g} {self.limit:.3g} {verdict}"


def settings_from_case(case: Mapping[str, Any]) -> Settings:
    """Turns recorded settings into ours; what is left out has the defaults."""

    def parse(params: Any) -> dict[str, Any]:
        if isinstance(params, str):
            try:
                return parse_params(params)
            except ValueError as error:
                raise UserError(str(error)) from None
        return dict(params)

    def sizes(hdims: Any) -> tuple[int, ...]:
        parts = hdims.split() if isinstance(hdims, str) else hdims
        return tuple(int(part) for part in parts)

    names: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "epochs": ("train_epochs", int),
        "min_epochs": ("min_epochs", int),
        "k": ("n_neighbors", int),
        "dist": ("nn_dist", str),
        "batch": ("train_batch_size", int),
        "hdims": ("hdims", sizes),
        "hact": ("hact", str),
        "optim": ("optim_cls", str),
        "optim_params": ("optim_params", parse),
        "sched": ("lr_sched_cls", str),
        "sched_params": ("lr_sched_params", parse),
        "pred_scale": ("pred_scale", float),
    }
    given = {new: kind(case[old]) for old, (new, kind) in names.items() if old in case}
    return dataclasses.replace(Settings(), **given)


def recorded_batches(
    trace: Mapping[str, np.ndarray], *, num_epochs: int, batch_size: int
) -> list[Batches]:
    """Cuts the recorded rows into epochs and batches, with a seed axis of 1."""
    sizes = trace["batch_sizes"]
    if num_epochs and len(sizes) % num_epochs == 0:
        ends = np.arange(1, num_epochs + 1) * (len(sizes) // num_epochs)
    else:  # epochs of different lengths: each ends with its partial batch
        ends = np.flatnonzero(sizes < batch_size) + 1
        if len(ends) != num_epochs:
            raise UserError(
                f"cannot tell where {num_epochs} epochs of {len(sizes)} batches end"
            )
    rows = np.split(trace["rows"], np.cumsum(sizes)[:-1])
    epochs = []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        padded = np.zeros((1, end - start, batch_size), np.int32)
        valid = np.zeros(padded.shape, np.bool_)
        for place, batch in enumerate(rows[start:end]):
            padded[0, place, : len(batch)] = batch
            valid[0, place, : len(batch)] = True
        epochs.append(Batches(jnp.asarray(padded), jnp.asarray(valid)))
    return epochs


def neighbor_mismatches(
    found: nn_search.Neighbors, recorded: np.ndarray, all_found: nn_search.Neighbors
) -> int:
    """Counts recorded neighbors that are not ours, but for equal distances.

    Args:
      found: The k nearest.
      recorded: Recorded classes, with shape `[F, k]`.
      all_found: More than the k nearest, to know the distances of others.
    """
    wrong = 0
    for few in range(len(recorded)):
        distance = dict(
            zip(
                all_found.classes[few].tolist(),
                all_found.distances[few].tolist(),
                strict=True,
            )
        )
        for ours, ours_at, theirs in zip(
            found.classes[few], found.distances[few], recorded[few], strict=True
        ):
            theirs_at = distance.get(int(theirs), np.inf)
            tie = abs(theirs_at - ours_at) <= 1e-6 * max(1.0, abs(ours_at))
            wrong += int(ours != theirs and not tie)
    return wrong


def corrected_weight(problem: Problem, outcome: Outcome) -> np.ndarray:
    """The whole classifier after correction, with shape `[C, d]`."""
    weight = problem.dataset.weight.copy()
    weight[problem.dataset.few_classes] = outcome.weight_few[0]
    return weight


def different(
    ours: np.ndarray, recorded: np.ndarray, features: np.ndarray, classifier: Any
) -> tuple[int, int]:
    """Counts predictions that differ, in earnest and for a near-tie."""
    weight, bias = classifier
    rows = np.flatnonzero(ours != recorded)
    logits = np.asarray(features[rows], np.float64) @ weight.T + bias
    margin = np.abs(
        np.take_along_axis(logits, ours[rows, None], 1)
        - np.take_along_axis(logits, recorded[rows, None].astype(int), 1)
    )
    ties = int((margin < NEAR_TIE).sum())
    return len(rows) - ties, ties


def largest(ours: Any, recorded: Any) -> float:
    """Largest absolute deviation; NaN in both is none, in one is infinite."""
    ours, recorded = np.asarray(ours, float), np.asarray(recorded, float)
    if ours.shape != recorded.shape or (np.isnan(ours) != np.isnan(recorded)).any():
        return float("inf")
    return float(np.nanmax(np.abs(ours - recorded), initial=0.0))


def compare_selected(
    prefix: str,
    trace: Mapping[str, np.ndarray],
    problem: Problem,
    outcome: Outcome,
    by_few: np.ndarray,
) -> list[Line]:
    """Compares what was selected and tested."""
    data = problem.dataset
    classifier = (corrected_weight(problem, outcome).astype(np.float64), data.bias)
    wrong, ties = different(
        outcome.test_pred[0],
        trace[f"{prefix}test_pred"],
        data.test.features,
        classifier,
    )
    test = outcome.test
    # A near-tie that fell the other way may move a figure by one sample.
    smallest = np.bincount(data.test.labels, minlength=data.num_classes)
    one_overall = ties / len(data.test.labels)
    one_in_split = ties / min(
        max(1, smallest[classes].sum()) for classes in data.splits.values()
    )
    one_in_class = ties / max(1, smallest[smallest > 0].min(initial=1))
    metrics = [test.accuracy[0], test.top5[0], test.f1[0]]
    lines = [
        Line(
            f"{prefix}best_epoch",
            abs(int(outcome.selected_epoch[0]) - _recorded_epoch(trace, prefix)),
            0,
        ),
        Line(
            f"{prefix}best_alphas",
            largest(outcome.alphas[0], trace[f"{prefix}best_alphas"][by_few]),
            CLOSE,
        ),
        Line(f"{prefix}test_pred", wrong, 0),
        Line(
            f"{prefix}test_metrics",
            largest(metrics, trace[f"{prefix}test_metrics"]),
            SAME + one_overall + one_in_class,
        ),
        Line(
            f"{prefix}test_acc_per_split",
            largest(test.acc_per_split[0], trace[f"{prefix}test_acc_per_split"]),
            SAME + one_in_split,
        ),
    ]
    if f"{prefix}test_acc_per_class" in trace:
        lines.append(
            Line(
                f"{prefix}test_acc_per_class",
                largest(
                    np.nan_to_num(test.acc_per_class[0]),
                    np.nan_to_num(trace[f"{prefix}test_acc_per_class"]),
                ),
                SAME + one_in_class,
            )
        )
    return lines


def _recorded_epoch(trace: Mapping[str, np.ndarray], prefix: str) -> int:
    epoch = int(trace[f"{prefix}best_epoch"])
    # -1 stands for no validation data: the last epoch's weights.
    return epoch if epoch >= 0 else len(trace["epoch_mean_alphas"]) - 1


def compare_templates(
    trace: Mapping[str, np.ndarray], problem: Problem, outcome: Outcome
) -> list[Line]:
    """Compares weights, the corrected classifier and its first logits."""
    data = problem.dataset
    weight = corrected_weight(problem, outcome)
    size = max(1.0, float(np.abs(weight).max()))
    head = np.asarray(data.test.features[:50], np.float32)
    logits = head @ weight.T + data.bias
    recorded = trace["test_logits_head"]
    # The original scales logits while it trains, and not after it reloads a result.
    off_by = min(
        largest(scale * logits, recorded) for scale in (1, problem.settings.pred_scale)
    )
    params = model.params_to_torch(jax.tree.map(lambda x: x[0], outcome.params))
    lines = [
        Line(f"best/{name}", largest(array, trace[f"best/{name}"]), WEIGHTS)
        for name, array in params.items()
    ]
    return [
        *lines,
        Line("best_templates", largest(weight, trace["best_templates"]), CLOSE * size),
        Line(
            "test_logits_head",
            off_by,
            CLOSE * max(1.0, float(np.abs(recorded).max())),
        ),
    ]


def replay(
    data: Dataset, trace: Mapping[str, np.ndarray], case: Mapping[str, Any]
) -> list[Line]:
    """Replays one trace.

    Args:
      data: The dataset of the recording.
      trace: Recorded arrays.
      case: Recorded settings.

    Returns:
      A line for every quantity.
    """
    settings = settings_from_case(case)
    settings = dataclasses.replace(
        settings, train_epochs=len(trace["epoch_mean_alphas"])
    )
    by_few = np.argsort(trace["few_class_order"])
    recorded = trace["neighbors"][by_few].astype(np.int32)
    lines = []
    if settings.nn_dist != "random":
        found = problem_lib.find_neighbors(data, settings)
        more = min(len(data.base_classes) - 1, settings.n_neighbors + 10)
        others = problem_lib.find_neighbors(
            data, dataclasses.replace(settings, n_neighbors=more)
        )
        wrong = neighbor_mismatches(found, recorded, others)
        lines.append(Line("neighbors", wrong, 0))
    # Ties in the recorded order, since the order of the network's input is theirs.
    neighbors = nn_search.Neighbors(jnp.asarray(recorded), jnp.zeros(recorded.shape))
    params = model.params_from_torch(
        {n.removeprefix("init/"): a for n, a in trace.items() if n.startswith("init/")}
    )
    params = jax.tree.map(lambda x: x[None], params)
    batches = recorded_batches(
        trace, num_epochs=settings.train_epochs, batch_size=settings.train_batch_size
    )

    def run(selection: str) -> tuple[Problem, Outcome]:
        problem = problem_lib.prepare(
            data,
            dataclasses.replace(settings, selection=selection),
            neighbors=neighbors,
        )
        return problem, loop.run(problem, [0], params=params, batches=batches)

    problem, outcome = run("best")
    losses = np.concatenate([loss[0] for loss in outcome.step_loss])
    relative = np.abs(losses - trace["losses"]) / np.abs(trace["losses"])
    lines += [
        Line("losses", float(relative.max()), CLOSE),
        Line(
            "epoch_mean_alphas",
            largest(outcome.mean_alphas[0], trace["epoch_mean_alphas"]),
            CLOSE,
        ),
    ]
    if data.val is not None:
        val = outcome.val
        stacked = np.stack([val.accuracy[0], val.top5[0], val.f1[0]], axis=1)
        lines += [
            Line("val_metrics", largest(stacked, trace["val_metrics"]), SAME),
            Line(
                "val_acc_per_split",
                largest(val.acc_per_split[0], trace["val_acc_per_split"]),
                SAME,
            ),
        ]
    lines += compare_selected("", trace, problem, outcome, by_few)
    lines += compare_templates(trace, problem, outcome)
    prefix = "reference_selection/"
    if f"{prefix}best_alphas" in trace:
        lines += compare_selected(prefix, trace, *run("reference"), by_few)
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the tool; returns the exit status."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", type=Path, required=True)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--case", type=Path, help="by default beside the trace")
    args = parser.parse_args(argv)
    try:
        case_file = args.case or args.trace.with_suffix(".json")
        case = json.loads(case_file.read_text(encoding="utf-8"))
        path = args.registry
        if not path.exists():
            path = args.data_root / path
        data = loading.load_dataset(
            registry.get_entry(path, case["dataset"]),
            args.data_root,
            train_group=case.get("train", "train"),
            val_group=case.get("val", "val") or "",
            test_group=case.get("test", "test"),
            report=lambda line: print(line, file=sys.stderr),
        )
        with np.load(args.trace, allow_pickle=False) as archive:
            trace = {name: archive[name] for name in archive.files}
        lines = replay(data, trace, case)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, lines)))
    return int(any(not line.value <= line.limit for line in lines))


if __name__ == "__main__":
    sys.exit(main())
