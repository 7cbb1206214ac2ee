r"""Measures what classes that come later get, on the embedded data.

    python benchmarks/new_classes.py --json=new_classes.json

A third of the few classes is held out: AlphaNet and alphanet+ know nothing of them, and
the rows of the given classifier for them are taken away. Then they are added, with
their training samples. Every few class is held out once; figures are means over the
three thirds, in percent, of the test samples. Rows that the given classifier has for
the held-out classes were trained together with all others, which is more than a class
that comes later can have.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import format_grid, heading, new_record, say, write_record

import alphanet_jax
from alphanet_jax import bundled
from alphanet_jax.correction import Correction
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.posthoc.gaussian import feature_statistics
from alphanet_jax.posthoc.linear import Linear
from alphanet_jax.posthoc.means import nearest_class_mean
from alphanet_jax.posthoc.new_rows import fit_new_rows, level_bias, rows_from_means
from alphanet_jax.posthoc.plus import AlphaNetPlus, alphanet_plus

PARTS = ("new", "few", "base", "overall")
_OFFSETS = np.arange(-8, 8.01, 0.1)  # of new classes' logits, to level methods by
_COST = 2.0  # points of base accuracy


class Fold(NamedTuple):
    """A dataset without some of its few classes, which come later."""

    data: Dataset  # without
    new_train: tuple[np.ndarray, np.ndarray]  # labels from 0
    test: tuple[np.ndarray, np.ndarray]  # of all, new classes last
    given: Linear  # rows that the given classifier has for them


def make_fold(whole: Dataset, new: np.ndarray) -> Fold:
    """Takes classes out of a dataset, and numbers them after all others."""
    kept = np.setdiff1d(np.arange(whole.num_classes), new)
    place = np.empty(whole.num_classes, np.int32)
    place[np.concatenate([kept, new])] = np.arange(whole.num_classes)

    def old(group: Any) -> tuple[np.ndarray, np.ndarray]:
        rows = np.isin(group.labels, kept)
        return np.asarray(group.features)[rows], place[group.labels[rows]]

    rows = np.isin(whole.train.labels, new)
    data = Dataset.from_arrays(
        train=old(whole.train),
        val=None if whole.val is None else old(whole.val),
        test=old(whole.test),
        weight=whole.weight[kept],
        bias=whole.bias[kept],
        splits={
            name: place[np.setdiff1d(classes, new)]
            for name, classes in whole.splits.items()
        },
        name="embedded data, some classes held out",
    )
    return Fold(
        data,
        (
            np.asarray(whole.train.features)[rows],
            place[whole.train.labels[rows]] - len(kept),
        ),
        (np.asarray(whole.test.features), place[whole.test.labels]),
        Linear(whole.weight[new], whole.bias[new]),
    )


def folds(whole: Dataset, number: int = 3) -> Iterator[Fold]:
    """Holds every few class out once."""
    for first in range(number):
        yield make_fold(whole, whole.few_classes[first::number])


def class_mean_rows(fold: Fold, head: Linear) -> Linear:
    """Makes the rows that a nearest class mean would: the usual thing to do.

    They are made as long as rows of base classes, and their mean logits are level with
    those: with less the two kinds of rows could not be told by one argmax.
    """
    features, labels = fold.new_train
    number = len(fold.given.weight)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(number)])
    base = fold.data.base_classes
    rows = np.asarray(
        nearest_class_mean(
            features, labels, num_classes=number, variant="cosine"
        ).weight
    )
    weight = rows * np.linalg.norm(head.weight[base], axis=1).mean()
    known = fold.data.class_means()
    return Linear(weight, level_bias(head, known, weight, means, base))


def accuracy(fold: Fold, head: Linear, new: Linear | None) -> np.ndarray:
    """Computes accuracy in percent: new, few, base, overall; by offset where new."""
    features, truth = fold.test
    num_classes = fold.data.num_classes
    is_new = truth >= num_classes
    is_few = np.isin(truth, fold.data.few_classes)
    logits = features @ head.weight.T + head.bias
    right, best = logits.argmax(axis=1) == truth, logits.max(axis=1)
    known = [~is_new & is_few, ~is_new & ~is_few, ~is_new]
    if new is None:
        return np.array([np.nan, *(100 * right[part].mean() for part in known)])
    scores = features @ new.weight.T + new.bias
    new_right = scores.argmax(axis=1) + num_classes == truth
    highest = scores.max(axis=1)
    parts = [is_new, *known[:2], np.ones(len(truth), bool)]
    return np.array(
        [
            [100 * np.where(highest + g > best, new_right, right)[p].mean()
             for p in parts]
            for g in _OFFSETS
        ]
    )  # fmt: skip


def rows_of(extended: Any, num_classes: int) -> Linear:
    return Linear(extended.head.weight[num_classes:], extended.head.bias[num_classes:])


def of_alphanet(fold: Fold, correction: Correction) -> dict[str, Linear]:
    """Makes rows for a corrected classifier in every way."""

    def add(**options: Any) -> Linear:
        extended = alphanet_jax.add_classes(correction, *fold.new_train, **options)
        return rows_of(extended, fold.data.num_classes)

    given = dict(zip(("weight", "bias"), fold.given, strict=True))
    head = Linear(*correction.head())
    features, labels = fold.new_train
    number = len(fold.given.weight)
    means = np.stack([features[labels == c].mean(axis=0) for c in range(number)])
    data = fold.data
    of_means = rows_from_means(head, data.class_means(), means, data.base_classes)
    return {
        "class means, scaled": class_mean_rows(fold, head),
        "given rows": add(**given, combine=False),
        "given rows, combined by the network": add(**given),
        "rows made of means": of_means,
        "fitted rows": add(),
        "fitted rows, combined by the network": add(combine=True),
    }


def of_plus(fold: Fold, plus: AlphaNetPlus) -> dict[str, Linear]:
    """Makes rows for alphanet+, and fits all of it again."""
    features, labels = fold.new_train
    number, data = len(fold.given.weight), fold.data
    train = data.train.features, data.train.labels
    means = np.stack([features[labels == c].mean(axis=0) for c in range(number)])
    head = Linear(*map(np.asarray, plus.head))
    fitted = fit_new_rows(
        head,
        *train,
        features,
        labels,
        num_new=number,
        statistics=feature_statistics(*train, num_classes=data.num_classes),
        covariance_shrinkage=plus.covariance_shrinkage,
        kappa=plus.kappa,
        l2=plus.l2,
        tau=plus.tau,
    )
    return {
        "class means, scaled": class_mean_rows(fold, head),
        "rows made of means": rows_from_means(
            head, data.class_means(), means, data.base_classes
        ),
        "fitted rows": fitted.head,
    }


def refit(fold: Fold, plus: AlphaNetPlus) -> np.ndarray:
    """Fits alphanet+ to old and new classes together: what there is to reach."""
    data, (features, labels) = fold.data, fold.new_train
    whole = alphanet_plus(
        np.concatenate([data.train.features, features]),
        np.concatenate([data.train.labels, labels + data.num_classes]),
        num_classes=data.num_classes + len(fold.given.weight),
        covariance_shrinkage=plus.covariance_shrinkage,
        l2=plus.l2,
        tau=plus.tau,
    )
    old = Linear(*(np.asarray(part)[: data.num_classes] for part in whole.head))
    new = Linear(*(np.asarray(part)[data.num_classes :] for part in whole.head))
    return accuracy(fold, old, new)


def measure(
    whole: Dataset, *, seeds: int, number: int = 3, limit: int | None = None
) -> dict[str, Any]:
    """Measures all ways on all folds, or some; gives accuracies by way, by offset."""
    found: dict[str, dict[str, list[np.ndarray]]] = {"AlphaNet": {}, "alphanet+": {}}

    def note(method: str, way: str, values: np.ndarray) -> None:
        found[method].setdefault(way, []).append(values)

    parts = itertools.islice(folds(whole, number), limit)
    for index, fold in enumerate(parts, start=1):
        say(f"part {index} of {number}: {len(fold.given.weight)} classes come later")
        data = fold.data
        assert data.val is not None
        train = data.train.features, data.train.labels
        val = data.val.features, data.val.labels
        correction = alphanet_jax.fit(
            *train, data.weight, data.bias, val=val, splits=data.splits, seeds=seeds
        )
        head = Linear(*correction.head())
        note("AlphaNet", "before", accuracy(fold, head, None))
        for way, rows in of_alphanet(fold, correction).items():
            note("AlphaNet", way, accuracy(fold, head, rows))
        plus = alphanet_plus(
            *train,
            num_classes=data.num_classes,
            val=val,
            classifier=Linear(data.weight, data.bias),
        )
        head = Linear(*map(np.asarray, plus.head))
        note("alphanet+", "before", accuracy(fold, head, None))
        for way, rows in of_plus(fold, plus).items():
            note("alphanet+", way, accuracy(fold, head, rows))
        note("alphanet+", "all fitted again", refit(fold, plus))
    return {
        method: {way: np.mean(each, axis=0).tolist() for way, each in ways.items()}
        for method, ways in found.items()
    }


def summary(ways: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, float]]:
    """Takes of every way its accuracies, and those of new and few at a base cost."""
    before = dict(zip(PARTS, ways["before"], strict=True))
    rows = {"before": {name: before[name] for name in PARTS[1:]}}
    plain = int(np.abs(_OFFSETS).argmin())
    for way, values in ways.items():
        if way == "before":
            continue
        curve = np.asarray(values)
        rows[way] = dict(zip(PARTS, curve[plain].tolist(), strict=True))
        if way != "all fitted again":  # whose other rows moved, too
            level = np.flatnonzero(curve[:, 2] >= before["base"] - _COST).max()
            rows[way]["new, level"] = float(curve[level, 0])
            rows[way]["few, level"] = float(curve[level, 1])
    return rows


def report(record: Mapping[str, Any]) -> str:
    """Formats a record as tables."""
    columns = (*PARTS, "new, level", "few, level")
    tables = [heading("Classes that come later", record["machine"])]
    for method, rows in record["new_classes"].items():
        cells = [
            (way, *("-" if (x := row.get(name, np.nan)) != x else f"{x:.1f}"
                    for name in columns))
            for way, row in rows.items()
        ]  # fmt: skip
        tables += [format_grid((method, *columns), cells), ""]
    tables.append(
        f"level: with an offset of new logits that costs base classes {_COST:g} points"
    )
    return "\n".join(tables)


def embedded() -> Dataset:
    """Loads the embedded data."""
    settings = alphanet_jax.Settings(
        dataset="cifar100lt_effnetlite0_crt",
        registry=str(bundled.root() / bundled.REGISTRY),
        data_root=str(bundled.root()),
    )
    return alphanet_jax.load_data(settings)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="of AlphaNet")
    parser.add_argument("--limit", type=int, help="parts of the three to measure")
    parser.add_argument("--json", type=Path, help="write the record here")
    args = parser.parse_args(argv)
    record = new_record(vars(args))
    found = measure(embedded(), seeds=args.seeds, limit=args.limit)
    record["new_classes"] = {method: summary(ways) for method, ways in found.items()}
    print(report(record))
    write_record(record, args.json)


if __name__ == "__main__":
    main(sys.argv[1:])
