"""A result of the original's, turned into a `result.npz` of ours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from alphanet_jax.errors import UserError
from alphanet_jax.results import pytorch, recorded, schema, sets
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.pytorch import LazyArrays
from alphanet_jax.results.recomputed import Recomputation
from alphanet_jax.results.sets import ResultFile

__all__ = ["import_result"]

# What an import has beside what is recorded, wherever its data is at hand.
_OF_DATA = ("test_labels", "test_pred", "baseline_test_pred", "class_means")
_ALWAYS = ("alphas", "weight_few", "proper_name", "label_names")
_MEASURED = (
    *("test_accuracy", "test_acc_per_split", "test_acc_per_class"),
    *(f"baseline_test_{name}" for name in ("accuracy", "top5", "f1")),
    *("baseline_test_acc_per_split", "baseline_test_acc_per_class"),
)


def import_result(
    path: Path,
    *,
    finder: DataFinder | None = None,
    baseline: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, np.ndarray]:
    """Turns a result of the original's into arrays of ours.

    Args:
      path: Its `result.pth`, or a `checkpoint_<n>.pt`: the network of that epoch, with
        what was recorded until then.
      finder: Finds its data, with which predictions, labels and names are made anew.
      baseline: File with the result of the unchanged classifier; by default that of the
        registry, or else what the data gives.
      report: Takes lines of text: what is not in the result, and why.

    Returns:
      The arrays, as `schema.SCHEMA` lists them. What the original did not record, and
      cannot be made of it and its data, is not among them.

    Raises:
      UserError: If the file is no result, or of other data.
    """
    finder = finder or DataFinder(report=report)
    recompute = Recomputation(finder, baseline=baseline, report=report)
    record = pytorch.load_record(path, checkpoint=True)
    file = sets.with_makers(path, pytorch.open_arrays(record), recompute)
    assert isinstance(file.arrays, LazyArrays)
    if record.is_checkpoint:
        report(f"{path} is a checkpoint, after epoch {record.epochs.count}")
    reason = _why_no_data(file, finder)
    if reason and "test_acc_per_split" not in file.arrays.recorded:
        raise UserError(f"{path} was not tested, and cannot be now: {reason}")
    names = [*_ALWAYS, *_MEASURED, *(() if reason else _OF_DATA)]
    made = dict(file.arrays.recorded)
    missing = []
    for name in names:
        try:
            made[name] = np.asarray(file.arrays[name])
        except UserError:
            missing.append(name)
    if not made["label_names"].size:
        del made["label_names"]
    if reason:
        report(f"note: what needs the data is not in the result: {reason}")
        missing = [*_OF_DATA, *missing]
    else:
        hashes = dict(finder.dataset(file).file_hashes)
        made["file_hashes"] = pytorch.json_array(hashes)
    made["config"] = pytorch.json_array(_config(file, finder))
    if missing:
        report(f"not in the result: {', '.join(missing)}")
    if wrong := schema.find_misfit(made) or recorded.find_wrong(made):
        raise UserError(f"{path}: {wrong}")
    return made


def _why_no_data(file: ResultFile, finder: DataFinder) -> str | None:
    """Tries whether the data of a result is at hand.

    Raises:
      UserError: If it is, and its test samples are others.
    """
    try:
        finder.dataset(file)
    except UserError as error:
        return str(error)
    file.array("test_pred")
    return None


def _config(file: ResultFile, finder: DataFinder) -> dict[str, object]:
    """Returns the settings, with the places where the data was found."""
    return dict(file.config) | finder.places(file)
