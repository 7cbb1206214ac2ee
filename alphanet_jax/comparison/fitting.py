"""A correction chosen, fitted, tested, and put down as a result.

Notation: n samples, d feature dimensions, C classes, F 'few' classes.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax import eval as evaluation
from alphanet_jax import posthoc, scratch, streaming
from alphanet_jax.comparison.announce import Announced
from alphanet_jax.comparison.choosing import Choice, Target, choose
from alphanet_jax.comparison.corrections import Candidates, Judge
from alphanet_jax.comparison.setup import prepare
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.eval import Counts, Metrics
from alphanet_jax.experiment import keeping
from alphanet_jax.experiment import outcome as outcomes
from alphanet_jax.experiment.progress import Report
from alphanet_jax.posthoc import AlphaNetPlus, Linear, PlusFamily
from alphanet_jax.results import file as result_file
from alphanet_jax.results import nearest
from alphanet_jax.results.sets import ALPHANET
from alphanet_jax.results.top_k import count_ahead
from alphanet_jax.stages import stage

__all__ = [
    "ALIASES",
    "AUTO",
    "AUTO_METHODS",
    "Asked",
    "Kept",
    "fit_method",
    "linear_methods",
    "method_name",
    "run",
]

AUTO = "auto"
# What `auto` chooses from: all that take seconds, the simpler first.
AUTO_METHODS = (
    *("unchanged", "few_offset", "logit_adjustment", "prior_from_predictions"),
    *("tau_normalization_bias", "tau_normalization", "nearest_class_mean_cosine"),
    *("gaussian_mix", "balanced_softmax_head", "alphanet_plus"),
)
ALIASES = {"alphanet+": "alphanet_plus"}
_UNCHANGED = "unchanged"
_PLUS = "alphanet_plus"
_IN_MEMORY_BYTES = 2**29


class Asked(NamedTuple):
    """What was asked for, beside the data.

    Attributes:
      method: Name of a method, or 'auto'.
      targets: What must hold.
      refit_on_val: Whether the chosen method is fitted on training and validation
        samples together in the end.
      seed: Of folds, and of methods that are random.
      most_per_class: Most samples of a class that convex heads are fitted to; None for
        all.
    """

    method: str
    targets: tuple[Target, ...] = ()
    refit_on_val: bool = False
    seed: int = 0
    most_per_class: int | None = None

    def as_config(self) -> dict[str, Any]:
        """Lists it for the config of a result."""
        options: dict[str, Any] = {
            "targets": [str(target) for target in self.targets],
            "refit_on_val": self.refit_on_val,
            "seed": self.seed,
        }
        if self.most_per_class is not None:
            options["most_per_class"] = self.most_per_class
        return {"method": self.method, "method_options": options}


class Kept(NamedTuple):
    """A result, and where it is.

    Attributes:
      arrays: The arrays of the result.
      path: Its file; None where there is none.
      unsaved: What is to be said where it could not be saved where it belongs.
    """

    arrays: Mapping[str, np.ndarray]
    path: Path | None = None
    unsaved: str = ""


def linear_methods() -> tuple[str, ...]:
    """Lists the corrections whose outcome is a classifier, the given one left out."""
    methods = posthoc.METHODS.values()
    return tuple(m.name for m in methods if m.linear and m.name != _UNCHANGED)


def method_name(name: str) -> str:
    """Returns the name of a method, 'auto' among them, for one as it may be written.

    Raises:
      UserError: If there is none, or its outcome is no classifier.

    Examples:
      >>> method_name("alphanet+")
      'alphanet_plus'
    """
    found = ALIASES.get(name, name)
    known = (AUTO, *linear_methods())
    if found in posthoc.METHODS and not posthoc.METHODS[found].linear:
        raise UserError(
            f"{name} does not come to a linear classifier, so there is nothing to give "
            "back; see it in compare"
        )
    if found not in known:
        every = (ALPHANET, *known)
        raise UserError(f"unknown method {name!r}; {did_you_mean(name, every)}")
    return found


def run(
    data: Dataset,
    asked: Asked,
    *,
    settings: Settings,
    workdir: Path | str | None = None,
    overwrite: bool = False,
    report: Report = print,
) -> Kept:
    """Does what `fit_method` does, and keeps the result; what is done is read.

    Args:
      data: The dataset.
      asked: What was asked for.
      settings: Settings that name the data, and how neighbors are found.
      workdir: Where `result.npz` is written; None for nowhere.
      overwrite: Whether a result of something else there may be replaced.
      report: Takes lines of text about progress, and what was chosen.

    Returns:
      The result. Where it cannot be written where it belongs it goes elsewhere, which
      is said.

    Raises:
      UserError: If anything is not right; nothing is written.
    """
    if workdir is None:
        return Kept(fit_method(data, asked, settings=settings, report=report))
    path = Path(workdir) / result_file.FILE_NAME
    config = settings.as_config() | asked.as_config()
    if result_file.is_done(
        path,
        config=config,
        file_hashes=data.file_hashes,
        overwrite=overwrite,
        report=report,
    ):
        report(f"done already: {path}")
        return Kept(result_file.load_result(path), path)
    arrays = fit_method(data, asked, settings=settings, report=report)
    place, problem = keeping.save_result(path, arrays, report)
    if place is None and keeping.move_home(path, None, arrays):
        place, problem = path, ""
    if not problem:
        report(f"saved {path}")
    return Kept(arrays, place, problem)


class _Fitted(NamedTuple):
    """A classifier that was chosen, and how it came about."""

    method: str
    knob: float
    options: Mapping[str, Any]
    head: Linear
    plus: AlphaNetPlus | None
    choice: Choice | None


def fit_method(
    data: Dataset,
    asked: Asked,
    *,
    settings: Settings,
    num_folds: int = 5,
    report: Report = print,
) -> dict[str, np.ndarray]:
    """Chooses a correction, fits it and tests it.

    Its knob is chosen on validation data; where there are none, by cross-validation on
    training samples, but for alphanet+ without targets, which has defaults for that.

    Args:
      data: The dataset.
      asked: What was asked for.
      settings: Settings that name the data, and how neighbors are found.
      num_folds: Folds of the cross-validation.
      report: Takes lines of text about progress, and what was chosen.

    Returns:
      The arrays of a result; see `alphanet_jax.results.schema`.

    Raises:
      UserError: If anything is not right, such as targets that nothing keeps.
    """
    name = method_name(asked.method)
    if asked.refit_on_val and data.val is None:
        raise UserError(
            "refit_on_val fits on training and validation samples together, but there "
            "is no validation data"
        )
    try:
        found = _fit(data, name, asked, num_folds=num_folds, report=report)
        last = found
        if asked.refit_on_val and found.method != _UNCHANGED:
            last = _refit(data, found, asked, report=report)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    return _arrays(data, found, last, settings=settings, asked=asked)


def _fit(
    data: Dataset, name: str, asked: Asked, *, num_folds: int, report: Report
) -> _Fitted:
    """Chooses a method and its knob, and fits it on training samples."""
    if data.val is None and name == _PLUS and not asked.targets:
        report("note: without validation data alphanet+ has its defaults: tau 0, a 0.3")
        return _apply(data, name, asked, report=report)
    setup = prepare(
        data, num_folds=num_folds, seed=asked.seed, tests=False, report=report
    )
    for note in setup.notes:
        report(f"note: {note}")
    judge = Judge(
        data,
        val=setup.val,
        test=setup.test,
        fold_of=setup.fold_of,
        products=setup.products,
        seed=asked.seed,
        oracle=False,
        report=report,
        most_per_class=asked.most_per_class,
    )
    unchanged = judge.on_validation(posthoc.METHODS[_UNCHANGED])
    names = AUTO_METHODS[1:] if name == AUTO else (name,)
    curves = [unchanged] if name == AUTO else []
    for number, each in enumerate(names, start=1):
        if name == AUTO:
            report(f"method {number} of {len(names)}: {each}")
        try:
            with stage(report, each):
                curves.append(judge.on_validation(posthoc.METHODS[each]))
        except (ArithmeticError, MemoryError, ValueError) as error:
            if name != AUTO:
                raise
            report(f"note: {each} failed: {str(error).splitlines()[0]}")
    found = choose(
        curves,
        setup.val,
        unchanged=unchanged,
        targets=asked.targets,
        by_tradeoff=name == AUTO,
    )
    for line in found.lines:
        report(line)
    curve = next(each for each in curves if each.name == found.method)
    return _apply(
        data,
        found.method,
        asked,
        knob=found.knob,
        options=found.options,
        family=_family_of(curve, found.index),
        choice=found,
        report=report,
    )


def _family_of(curve: Candidates, index: int) -> posthoc.Family | None:
    return curve.families[index] if curve.families else None


def _apply(
    data: Dataset,
    name: str,
    asked: Asked,
    *,
    knob: float | None = None,
    options: Mapping[str, Any] | None = None,
    family: posthoc.Family | None = None,
    choice: Choice | None = None,
    report: Report,
) -> _Fitted:
    """Fits a method with a knob, unless that is done already."""
    method = posthoc.METHODS[name]
    options = dict(options or method.choices[0])
    value = method.neutral if knob is None else knob
    if family is None:
        inputs = posthoc.make_inputs(
            data.train.features,
            data.train.labels,
            data.weight,
            data.bias,
            few_classes=data.few_classes,
            val=None if data.val is None else (data.val.features, data.val.labels),
            seed=asked.seed,
            most_per_class=asked.most_per_class,
        )
        announced = Announced(method, report, num_choices=1)
        announced.begin(inputs)
        inputs["on_step"] = announced.on_step
        family = posthoc.make_family(method, inputs, **options)
    outcome = family(value)
    assert isinstance(outcome, Linear)
    head = Linear(*(np.asarray(part, np.float32) for part in outcome))
    if not all(np.isfinite(part).all() for part in head):
        raise ValueError("the classifier that came of it is not finite.")
    plus = family.found if isinstance(family, PlusFamily) else None
    return _Fitted(name, value, options, head, plus, choice)


def _refit(data: Dataset, found: _Fitted, asked: Asked, *, report: Report) -> _Fitted:
    """Fits what was chosen on training and validation samples together."""
    assert data.val is not None
    options = dict(found.options)
    if found.plus is not None:
        options["covariance_shrinkage"] = found.plus.covariance_shrinkage
    with _joined(data.train, data.val) as group:
        together = dataclasses.replace(data, train=group, val=None)
        report(
            f"fitting {found.method} on {len(group.labels)} training and validation "
            "samples together"
        )
        last = _apply(
            together,
            found.method,
            asked,
            knob=found.knob,
            options=options,
            choice=found.choice,
            report=report,
        )
    report(
        "note: it was fitted on the validation samples, too: from now on only test "
        "data can judge it"
    )
    return last


@contextlib.contextmanager
def _joined(first: Group, second: Group) -> Iterator[Group]:
    """Yields samples of two groups: in memory, or large ones in a file."""
    labels = np.concatenate([first.labels, second.labels])
    parts = [np.asarray(group.features) for group in (first, second)]
    dtype = np.result_type(*(part.dtype for part in parts))
    if sum(part.nbytes for part in parts) <= _IN_MEMORY_BYTES:
        yield Group(np.concatenate([part.astype(dtype) for part in parts]), labels)
        return
    with scratch.directory() as directory:
        copy = np.lib.format.open_memmap(
            directory / "joined.npy",
            mode="w+",
            dtype=dtype,
            shape=(len(labels), parts[0].shape[1]),
        )
        filled = 0
        for part in parts:
            for start, rows in streaming.row_chunks(part):
                copy[filled + start : filled + start + len(rows)] = rows
            filled += len(part)
        copy.flush()
        yield Group(copy, labels)
        del copy


def _measure(
    head: Linear, group: Group | None, data: Dataset
) -> tuple[Metrics, np.ndarray]:
    """Tests a classifier; returns metrics, and the predictions with shape `[n]`."""
    num_classes = data.num_classes
    if group is None:
        return outcomes.no_metrics((), num_classes), np.zeros(0, np.int32)
    classes, predicted, in_top5 = np.arange(num_classes), [], 0
    start = 0
    for rows in streaming.float_chunks(group.features, width=num_classes):
        labels = group.labels[start : start + len(rows)]
        scores = np.asarray(posthoc.logits(head, rows))
        predicted.append(scores.argmax(axis=1).astype(np.int32))
        target = scores[np.arange(len(rows)), labels]
        in_top5 += int((count_ahead(scores.T, classes, target, labels) < 5).sum())
        start += len(rows)
    chosen = np.concatenate([np.zeros(0, np.int32), *predicted])
    right = chosen[chosen == group.labels]
    counts = Counts(
        correct=np.bincount(right, minlength=num_classes),
        predicted=np.bincount(chosen, minlength=num_classes),
        total=np.bincount(group.labels, minlength=num_classes),
        top5_correct=np.asarray(in_top5),
    )
    return evaluation.metrics_from_counts(counts, data.splits), chosen


def _nearest(data: Dataset, settings: Settings) -> nearest.Nearest:
    """Finds the base classes that are near each few class, which figures count."""
    metric = settings.nn_dist if settings.nn_dist in nearest.METRICS else "euclidean"
    return nearest.nearest_among(
        data.class_means(),
        data.few_classes,
        data.base_classes,
        num_neighbors=min(settings.n_neighbors, len(data.base_classes)),
        metric=metric,
    )


def _arrays(
    data: Dataset, found: _Fitted, last: _Fitted, *, settings: Settings, asked: Asked
) -> dict[str, np.ndarray]:
    """Makes the arrays of a result; validation data judge what did not see them."""
    original = Linear(data.weight, data.bias)
    neighbors = _nearest(data, settings)
    val, _ = _measure(found.head, data.val, data)
    test, predicted = _measure(last.head, data.test, data)
    before_val, _ = _measure(original, data.val, data)
    before_test, before = _measure(original, data.test, data)
    options = dict(last.options)
    if last.plus is not None:
        options["covariance_shrinkage"] = last.plus.covariance_shrinkage
    if last.choice is not None:
        options["chosen"] = list(last.choice.lines)
    arrays: dict[str, Any] = {
        "seeds": np.array([asked.seed], np.int64),
        "dataset": data.name,
        "proper_name": data.proper_name,
        "label_names": np.asarray(data.label_names or (), np.str_),
        **{f"{split}_classes": classes for split, classes in data.splits.items()},
        "class_counts": data.class_counts,
        "class_means": data.class_means(),
        "neighbors": neighbors.classes,
        "neighbor_distances": neighbors.distances,
        "method": last.method,
        "knob": np.float64(last.knob),
        "method_options": json.dumps(options, sort_keys=True),
        "weight": last.head.weight,
        "bias": last.head.bias,
        "original_weight": np.asarray(data.weight, np.float32),
        "original_bias": np.asarray(data.bias, np.float32),
        "selected_epoch": np.zeros(1, np.int64),
        "test_labels": data.test.labels,
        "test_pred": predicted[None],
        "baseline_test_pred": before,
    }
    if last.plus is not None:
        arrays["borrowed_from"] = last.plus.neighborhood.classes
        arrays["borrowed_shares"] = last.plus.neighborhood.coefficients
        arrays["kept"] = last.plus.kept
    for prefix, metrics, lead in (
        ("val", val, 2),
        ("test", test, 1),
        ("baseline_val", before_val, 0),
        ("baseline_test", before_test, 0),
    ):
        for name, array in metrics._asdict().items():
            if not (prefix == "val" and name == "acc_per_class"):
                arrays[f"{prefix}_{name}"] = np.asarray(array)[(None,) * lead]
    config = settings.as_config() | asked.as_config()
    for name, value in (
        ("config", config),
        ("versions", outcomes.versions()),
        ("file_hashes", dict(data.file_hashes)),
    ):
        arrays[name] = json.dumps(value, sort_keys=True)
    return {name: np.asarray(array) for name, array in arrays.items()}
