"""Rare classes that came later: a corrected classifier gets rows for them.

All other rows stay, byte for byte. Rows that a model has learned for the new classes
are combined with those of their nearest base classes by the trained networks; where
there are none, rows are made.

Notation: n samples, d feature dimensions, C classes before, m new classes, S seeds,
k neighbors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import applying, model, posthoc, streaming
from alphanet_jax.config import nested
from alphanet_jax.correction import Correction, Head, Which
from alphanet_jax.data import checks
from alphanet_jax.data.dataset import classifier_of_arrays
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, count_of
from alphanet_jax.experiment import programs
from alphanet_jax.posthoc import new_rows
from alphanet_jax.posthoc.gaussian import feature_statistics
from alphanet_jax.posthoc.lbfgs import Step
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.results import corrected
from alphanet_jax.results.extended import Extended, ExtendedReport
from alphanet_jax.results.schema import NETWORK
from alphanet_jax.stages import Report, stage

__all__ = ["Extended", "ExtendedReport", "add_classes"]


def add_classes(
    correction: Correction,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    seed: Which = "best",
    train: tuple[ArrayLike, ArrayLike] | None = None,
    combine: bool | None = None,
    offset: float = 0.0,
    report: Report = lambda line: None,
) -> Extended:
    """Adds rare classes that came later to a corrected classifier.

    Args:
      correction: What `fit` returned or `load_correction` loaded.
      features: Features of a few samples of each new class, with shape `[n, d]`.
      labels: Their classes: 0 to m - 1; or C to C + m - 1, as they will be.
      weight: Rows of the new classes that a model has learned, with shape `[m, d]`;
        None where there are none, and rows are made.
      bias: Biases of those, with shape `[m]`; None for zeros.
      names: Names of the new classes; None for their numbers.
      seed: Whose classifier, as `Correction.head` takes it.
      train: Training features and labels that the correction was made with; by default
        those that it has in memory. With them rows that are made are fitted.
      combine: Whether the networks of AlphaNet combine the rows with those of nearest
        base classes; by default those that are given, for rows that are made are
        better without.
      offset: Added to the logits of new classes: more, and they gain while others
        lose.
      report: Takes lines of text about progress.

    Returns:
      The extended classifier. The corrected one's rows are in it as they were.

    Raises:
      UserError: If an argument is not right, or the result lacks what is needed.

    Examples:
      >>> import alphanet_jax
      >>> rng = np.random.default_rng(0)
      >>> centers = rng.normal(size=(7, 8))
      >>> y = np.repeat(np.arange(7), [120, 110, 60, 50, 9, 8, 5])
      >>> x = centers[y] + 0.5 * rng.normal(size=(len(y), 8))
      >>> old = y < 6
      >>> correction = alphanet_jax.fit(
      ...     x[old], y[old], centers[:6], n_neighbors=2, seeds=2, train_epochs=3
      ... )
      >>> extended = add_classes(correction, x[~old], y[~old], names=["new one"])
      >>> extended.head.weight.shape, extended.rows
      ((7, 8), 'fitted')
    """
    before = correction.head(seed)
    new = _check_samples(before, features, labels, weight, names)
    own = None if weight is None else _check_rows(before, new, weight, bias)
    if own is None and bias is not None:
        raise UserError("bias is given, but no weight; give both, or none of them")
    with np.errstate(over="ignore"):
        shift = np.float32(offset)
    if not np.isfinite(shift):
        raise UserError(f"offset must be a finite number in float32, got {offset}")
    known = _Known.of(correction, before, train, report)
    if combine is None:
        combine = own is not None and known.has_network
    made = _make_rows(correction, before, new, own, known, report)
    if combine:
        made = _combine(correction, before, new, made, known, seed)
    old_names = correction.result["label_names"].tolist()
    old_names = old_names or [str(label) for label in range(len(before.weight))]
    return Extended(
        before=before,
        head=Head(
            np.concatenate([before.weight, made.head.weight]),
            np.concatenate([before.bias, made.head.bias + shift]),
        ),
        splits={**correction.splits, "new": new.ids},
        names=(*old_names, *new.names),
        counts=new.counts,
        rows=made.rows,
        combined=combine,
        neighbors=made.neighbors,
        coefficients=made.coefficients,
    )


class _New(NamedTuple):
    """Samples of new classes, checked."""

    features: np.ndarray
    labels: np.ndarray  # from 0
    counts: np.ndarray
    means: np.ndarray
    names: tuple[str, ...]
    ids: np.ndarray


def _check_samples(
    before: Head,
    features: ArrayLike,
    labels: ArrayLike,
    weight: ArrayLike | None,
    names: Sequence[str] | None,
) -> _New:
    num_classes, num_features = before.weight.shape
    rows = np.asarray(as_numpy(features))
    checks.check_feature_shape("features", rows, num_features=num_features)
    checks.check_finite("features", rows)
    limit = np.iinfo(np.int32).max
    truth = checks.check_labels(
        "labels", as_numpy(labels), num_samples=len(rows), num_classes=limit
    )
    if not len(truth):
        raise UserError("features: there are no samples of new classes")
    if truth.min() >= num_classes:
        truth = truth - num_classes
    number = int(truth.max()) + 1
    if names is not None:
        wanted, source = len(names), "name"
    elif weight is not None:
        wanted, source = len(np.asarray(as_numpy(weight))), "row"
    else:
        wanted, source = number, ""
    if number > wanted:
        highest = int(np.asarray(as_numpy(labels)).max())
        raise UserError(
            f"labels: with {count_of(wanted, source)} of new classes they must be 0 to "
            f"{wanted - 1}, or {num_classes} to {num_classes + wanted - 1}; got "
            f"{highest}"
        )
    counts = np.bincount(truth, minlength=wanted)
    if not counts.all():
        missing = int(np.flatnonzero(counts == 0)[0])
        raise UserError(
            f"labels: no sample of new class {missing} (numbered from 0) of {wanted}; "
            "each needs one"
        )
    ids = np.arange(num_classes, num_classes + wanted)
    listed = tuple(map(str, ids if names is None else names))
    twice = sorted({name for name in listed if listed.count(name) > 1})
    if twice:
        raise UserError(f"names: {twice[0]!r} is the name of several new classes")
    means = streaming.class_means(rows, truth, num_classes=wanted)
    return _New(rows, truth, counts, means, listed, ids)


def _check_rows(
    before: Head, new: _New, weight: ArrayLike, bias: ArrayLike | None
) -> Head:
    rows = np.asarray(as_numpy(weight))
    expected = (len(new.counts), before.weight.shape[1])
    if rows.shape != expected:
        raise UserError(
            f"weight: rows of new classes must have shape {expected}, got {rows.shape}"
        )
    biases = None if bias is None else as_numpy(bias)
    return Head(**classifier_of_arrays(rows, biases))


class _Known(NamedTuple):
    """What is known of the data that a correction was made with."""

    train: tuple[np.ndarray, np.ndarray] | None
    means: np.ndarray | None  # shape=(C, d)
    has_network: bool

    @classmethod
    def of(
        cls,
        correction: Correction,
        before: Head,
        train: tuple[ArrayLike, ArrayLike] | None,
        report: Report,
    ) -> "_Known":
        """Takes training data that are given, or those of the correction."""
        result, num_classes = correction.result, len(before.weight)
        has_network = f"{NETWORK}conv_layer.weight" in result
        means: np.ndarray | None = result.get("class_means")
        if train is None and correction.data is None:
            return cls(None, means, has_network)
        if train is None:
            assert correction.data is not None
            pair = correction.data.train.features, correction.data.train.labels
        else:
            rows, labels = as_numpy(train[0]), as_numpy(train[1])
            rows = rows if isinstance(rows, np.memmap) else np.asarray(rows)
            checks.check_feature_shape(
                "train", rows, num_features=before.weight.shape[1]
            )
            checks.check_finite("train", rows)
            labels = checks.check_labels(
                "train", labels, num_samples=len(rows), num_classes=num_classes
            )
            checks.check_covered("train", np.bincount(labels, minlength=num_classes))
            pair = rows, labels
        if means is None:
            count = len(pair[1])
            with stage(report, "averaging", total=count, unit="samples"):
                means = streaming.class_means(*pair, num_classes=num_classes)
        return cls(pair, means, has_network)


class _Made(NamedTuple):
    head: Head
    rows: Literal["given", "fitted", "from means"]
    neighbors: np.ndarray
    coefficients: np.ndarray


def _base_classes(correction: Correction) -> np.ndarray:
    splits = correction.splits
    return np.sort(np.concatenate([splits["medium"], splits["many"]]))


def _make_rows(
    correction: Correction,
    before: Head,
    new: _New,
    own: Head | None,
    known: _Known,
    report: Report,
) -> _Made:
    """Takes the rows that are given; fits them, or makes them of means."""
    head = Linear(*before)
    if own is None and known.train is not None:
        count = len(known.train[1])
        # Two passes over them: means, and what is around these.
        reading = "statistics of features"
        with stage(report, reading, total=2 * count, unit="samples"):
            statistics = feature_statistics(
                *known.train, num_classes=len(before.weight)
            )
        with stage(
            report, "fitting new rows", total=posthoc.USUAL_PASSES, unit="passes"
        ) as fitting:

            def on_step(step: Step) -> None:
                fitting.advance(step.evaluations - fitting.done)

            found = new_rows.fit_new_rows(
                head,
                *known.train,
                new.features,
                new.labels,
                num_new=len(new.counts),
                statistics=statistics,
                tau=_tau(correction),
                on_step=on_step,
            )
        prior = found.prior
        made = Head(np.asarray(found.head.weight), np.asarray(found.head.bias))
        return _Made(made, "fitted", prior.neighbors, prior.coefficients)
    if known.means is None:
        raise UserError(
            "the result has no class means, which new classes find their neighbors by: "
            "it was made by an earlier version, by another correction or with "
            "--brief_result; give the "
            "training features and labels as train"
        )
    base = _base_classes(correction)
    neighbors = _nearest(new.means, known.means, base)
    nothing = np.full(neighbors.shape, np.nan)
    if own is not None:
        return _Made(own, "given", neighbors, nothing)
    weight, bias = new_rows.rows_from_means(head, known.means, new.means, base)
    made = Head(np.asarray(weight), np.asarray(bias))
    return _Made(made, "from means", neighbors, nothing)


def _tau(correction: Correction) -> float:
    """Returns what alphanet+ took of the log prior from its logits."""
    result = correction.result
    if str(result.get("method", "")) != "alphanet_plus" or "knob" not in result:
        return 0.0
    return float(np.ravel(result["knob"])[-1])


def _nearest(new: np.ndarray, means: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Finds the five nearest base classes of new ones, by their means."""
    apart = np.stack([((means[base] - mean) ** 2).sum(axis=1) for mean in new])
    return np.asarray(base[np.argsort(apart, axis=1, kind="stable")[:, :5]])


def _combine(
    correction: Correction,
    before: Head,
    new: _New,
    made: _Made,
    known: _Known,
    seed: Which,
) -> _Made:
    """Combines rows with those of nearest base classes by the trained networks."""
    result = correction.result
    if not known.has_network:
        raise UserError(
            "the result has no trained network: it was made by an earlier version, by "
            "another correction, without training or with --brief_result; train again, "
            "or take combine=False"
        )
    assert known.means is not None
    index = corrected.choose(result, seed)
    number = len(result["seeds"])
    chosen = range(number) if index is None else [index]
    networks = [
        model.params_from_torch(
            {
                name.removeprefix(NETWORK): array[i]
                for name, array in result.items()
                if name.startswith(NETWORK)
            }
        )
        for i in chosen
    ]
    first = int(result["seeds"][0])
    config = correction.config
    base = _base_classes(correction)
    applied = applying.apply_to_new(
        jax.tree.map(lambda *leaves: np.stack(leaves), *networks),
        correction.original.weight,
        known.means,
        base,
        made.head.weight,
        new.means,
        metric=_setting(config, "training.nn_dist"),
        activation=_setting(config, "alphanet.hact"),
        precision=_setting(config, "precision"),
        key=jax.random.fold_in(jax.random.key(first), programs.NEIGHBOR_BRANCH),
    )
    weight = applied.weight.mean(axis=0, dtype=np.float64).astype(np.float32)
    bias = made.head.bias
    if made.rows != "given":
        bias = new_rows.level_bias(
            Linear(*before), known.means, weight, new.means, base
        )
    return _Made(
        Head(weight, bias),
        made.rows,
        applied.neighbors,
        applied.alphas.mean(axis=0, dtype=np.float64)[:, 1:],
    )


def _setting(config: Mapping[str, Any], name: str) -> str:
    return str(nested.get(config, name))
