"""Rare classes that came later: a corrected classifier gets rows for them.

All other rows stay, byte for byte. Rows that a model has learned for the new classes
are combined with those of their nearest base classes by the trained networks; where
there are none, rows are made.

Notation: n samples, d feature dimensions, C classes before, m new classes, S seeds,
k neighbors.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import applying, model, streaming
from alphanet_jax.config import nested
from alphanet_jax.correction import Correction, Head, Which
from alphanet_jax.data import checks
from alphanet_jax.data.dataset import classifier_of_arrays
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, count_of
from alphanet_jax.experiment import programs
from alphanet_jax.posthoc import new_rows
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.results import corrected, predictions, saved_heads
from alphanet_jax.results.schema import NETWORK
from alphanet_jax.results.tables import format_table

__all__ = ["Extended", "ExtendedReport", "add_classes"]

_ROWS = {
    "given": "as given",
    "fitted": "fitted",
    "from means": "made of class means",
}


class ExtendedReport(NamedTuple):
    """Accuracy before and after, of new classes and of others; prints as a table."""

    before: Mapping[str, float]  # fractions by 'new', 'few', 'base', 'overall'
    after: Mapping[str, float]

    def __str__(self) -> str:
        def cells(row: Mapping[str, float]) -> list[str]:
            return ["-" if v != v else f"{100 * v:.1f}" for v in row.values()]

        return format_table(
            ["Accuracy (%)", *(name.capitalize() for name in self.before)],
            [["Before", *cells(self.before)], ["Extended", *cells(self.after)]],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Extended:
    """What `add_classes` returns: a classifier of C + m classes, and how it was made.

    Attributes:
      before: The corrected classifier, of C classes.
      head: The extended one; its first C rows are those of `before`.
      splits: Class ids of 'few', 'medium' and 'many', and of 'new'.
      names: Names of all classes; numbers where they have none.
      counts: Samples of each new class, with shape `[m]`.
      rows: What own rows of new classes are: 'given'; 'fitted' to all samples; or made
        'from means' of classes.
      combined: Whether networks combined them with those of neighbors.
      neighbors: Classes that new ones borrow from, nearest first, with shape `[m, k]`.
      coefficients: How much they do: the network's, mean over seeds; or those of the
        prior of fitted rows; NaN where nothing is borrowed. Shape `[m, k]`.
    """

    before: Head
    head: Head
    splits: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    counts: np.ndarray
    rows: Literal["given", "fitted", "from means"]
    combined: bool
    neighbors: np.ndarray
    coefficients: np.ndarray

    def __repr__(self) -> str:
        how = _ROWS[self.rows] + ", combined by the network" * self.combined
        return (
            f"{count_of(len(self.counts), 'new row')} of {len(self.head.weight)}, {how}"
        )

    def table(self, *, most: int = 5) -> str:
        """Lists new classes: number, name, samples, and what they borrow from whom.

        Args:
          most: How many neighbors to list.
        """
        first = len(self.before.weight)
        lines = []
        for index, (count, classes, shares) in enumerate(
            zip(self.counts, self.neighbors, self.coefficients, strict=True)
        ):
            listed = [
                self.names[label] + ("" if share != share else f" {share:+.2f}")
                for label, share in zip(classes[:most], shares[:most], strict=True)
            ]
            name = self.names[first + index]
            lines.append([name, str(first + index), str(count), ", ".join(listed)])
        # The last column is text: to the left, as the first.
        widest = max(len(line[-1]) for line in lines)
        heading = (
            "Nearest classes" if np.isnan(self.coefficients).all() else "Borrows from"
        )
        rows = [[*line[:-1], line[-1].ljust(widest)] for line in lines]
        return format_table(["New class", "Id", "Samples", heading.ljust(widest)], rows)

    def explain(self, label: int | str) -> str:
        """Explains the row of a new class.

        Args:
          label: The class's number or name.

        Raises:
          UserError: If there is no such new class.
        """
        first = len(self.before.weight)
        known = {str(first + i): i for i in range(len(self.counts))}
        known |= {self.names[first + i]: i for i in range(len(self.counts))}
        if str(label) not in known:
            raise UserError(
                f"no new class {str(label)!r}; new are {', '.join(self.names[first:])}"
            )
        index = known[str(label)]
        how = _ROWS[self.rows]
        if self.combined:
            how += ", combined with rows of its nearest base classes by the network"
        lines = [
            f"{self.names[first + index]} (class {first + index}, "
            f"{count_of(int(self.counts[index]), 'sample')}): row {how}"
        ]
        width = max(len(self.names[near]) for near in self.neighbors[index])
        for near, share in zip(
            self.neighbors[index], self.coefficients[index], strict=True
        ):
            shown = "" if share != share else f"  {share:+.3f}"
            lines.append(f"  {self.names[near]:<{width}}{shown}".rstrip())
        return "\n".join(lines)

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Predicts the classes of features, with shape `[n]`."""
        return predictions.predict(self.head, features)

    def report(self, features: ArrayLike, labels: ArrayLike) -> ExtendedReport:
        """Computes accuracy of new, few and base classes on some samples.

        Args:
          features: Features, with shape `[n, d]`.
          labels: Their classes; new ones are C, C + 1, ...

        Returns:
          The accuracies before, without samples of new classes, and after; NaN where
          there are no samples.

        Raises:
          UserError: If labels are not right.
        """
        rows = as_numpy(features)
        truth = checks.check_labels(
            "labels",
            as_numpy(labels),
            num_samples=len(rows),
            num_classes=len(self.head.weight),
        )
        base = np.concatenate([self.splits["medium"], self.splits["many"]])
        parts = {
            "new": truth >= len(self.before.weight),
            "few": np.isin(truth, self.splits["few"]),
            "base": np.isin(truth, base),
        }
        old = ~parts["new"]

        def fractions(head: Head, known: np.ndarray) -> dict[str, float]:
            right = predictions.predict(head, rows) == truth
            every = {name: part & known for name, part in parts.items()}
            every["overall"] = known
            return {
                name: float(right[part].mean()) if part.any() else float("nan")
                for name, part in every.items()
            }

        return ExtendedReport(
            fractions(self.before, old), fractions(self.head, old | ~old)
        )

    def save(self, path: Path | str) -> tuple[str, ...]:
        """Writes the extended classifier, whole or not at all.

        Args:
          path: The file: `weight` and `bias` in `.npz`, `.safetensors` or, where
            PyTorch is installed, `.pth`.

        Returns:
          A line about what was written.

        Raises:
          UserError: If it has another ending, cannot be written or is there already.
        """
        return tuple(saved_heads.save_alone(self.head, Path(path)))


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
    if not np.isfinite(offset):
        raise UserError(f"offset must be a finite number, got {offset}")
    known = _Known.of(correction, before, train)
    if combine is None:
        combine = own is not None and known.has_network
    made = _make_rows(correction, before, new, own, known)
    if combine:
        made = _combine(correction, before, new, made, known, seed)
    old_names = correction.result["label_names"].tolist()
    old_names = old_names or [str(label) for label in range(len(before.weight))]
    return Extended(
        before=before,
        head=Head(
            np.concatenate([before.weight, made.head.weight]),
            np.concatenate([before.bias, made.head.bias + np.float32(offset)]),
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
            f"{wanted - 1}, or {num_classes} to {num_classes + wanted - 1}; got {highest}"
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
    ) -> "_Known":
        """Takes training data that are given, or those of the correction."""
        result, num_classes = correction.result, len(before.weight)
        has_network = f"{NETWORK}conv_layer.weight" in result
        if train is not None:
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
        elif correction.data is not None:
            pair = correction.data.train.features, correction.data.train.labels
        else:
            return cls(None, result.get("class_means"), has_network)
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
    correction: Correction, before: Head, new: _New, own: Head | None, known: _Known
) -> _Made:
    """Takes the rows that are given; fits them, or makes them of means."""
    head = Linear(*before)
    if own is None and known.train is not None:
        found = new_rows.fit_new_rows(
            head,
            *known.train,
            new.features,
            new.labels,
            num_new=len(new.counts),
            tau=_tau(correction),
        )
        prior = found.prior
        made = Head(np.asarray(found.head.weight), np.asarray(found.head.bias))
        return _Made(made, "fitted", prior.neighbors, prior.coefficients)
    if known.means is None:
        raise UserError(
            "the result has no class means, which new classes find their neighbors by: "
            "it was made by an earlier version or by another correction; give the "
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
            "another correction or without training; train again, or take combine=False"
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
