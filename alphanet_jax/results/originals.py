"""What a correction was made with, found again and checked: classifier and data.

Notation: C classes, d feature dimensions.
"""

import dataclasses
from pathlib import Path

from numpy.typing import ArrayLike

from alphanet_jax import files, hashing
from alphanet_jax.data import classifiers, dataset
from alphanet_jax.data.classifiers import Classifier
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.data.heads import Sides
from alphanet_jax.errors import UserError
from alphanet_jax.results import corrected, sets
from alphanet_jax.results.corrected import Head
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.file import FILE_NAME, load_result
from alphanet_jax.results.recomputed import Recomputation
from alphanet_jax.results.sets import ResultFile

__all__ = ["check", "data_finder", "find", "is_of_arrays", "open_result"]


class _NoData(DataFinder):
    """Finds nothing: arrays in memory are gone."""

    def dataset(self, file: ResultFile) -> Dataset:
        """Raises `UserError`: there are no features and labels."""
        raise UserError(
            "this figure needs features and labels, which are not stored with a "
            "correction of arrays; draw it from what fit returns"
        )


def data_finder(file: ResultFile, data: Dataset | None) -> DataFinder:
    """Returns what finds the dataset of a result.

    Args:
      file: The result.
      data: The dataset, where it is in memory.
    """
    if data is None and is_of_arrays(file):
        return _NoData()
    return DataFinder(data=data)


def open_result(path: Path, recompute: Recomputation | None = None) -> ResultFile:
    """Loads a result with all of its arrays.

    Args:
      path: The file, or the directory that it is in.
      recompute: Makes what a result of the original's lacks; by default with the data
        where the result says.

    Raises:
      UserError: If it is missing, damaged or no result; of a directory with several
        below, names some.
    """
    if path.is_dir():
        directory, path = path, path / FILE_NAME
        if not path.exists():
            below = sorted(directory.glob(sets.PATTERN))
            some = ", ".join(str(found.parent) for found in below[:3])
            hint = f"; there are results in {some}" if below else ""
            raise UserError(f"{directory}: has no {FILE_NAME}{hint}")
    file = sets.load_file(path, recompute=recompute or Recomputation())
    if file.is_original:
        return file
    others = sorted(files.list_npz(path).keys() - file.arrays.keys())
    later = load_result(path, others) if others else {}
    return dataclasses.replace(file, arrays={**file.arrays, **later})


def is_of_arrays(file: ResultFile) -> bool:
    """Returns whether a result is of arrays that were in memory, not of files."""
    return file.file_hashes.keys() >= {*Head._fields}


def check(file: ResultFile, weight: ArrayLike, bias: ArrayLike | None) -> Head:
    """Checks that a classifier is the one that a result was made with.

    Results of other corrections have it. Results of arrays in memory have hashes of
    them. Of others the new rows tell, which are combinations of rows of few classes and
    their neighbors; not the biases.

    Args:
      file: The result, with all of its arrays.
      weight: Weights of the classifier, with shape `[C, d]`.
      bias: Its biases, with shape `[C]`; None for zeros.

    Returns:
      The classifier.

    Raises:
      UserError: If it is another, or none.
    """
    arrays = dataset.classifier_of_arrays(weight, bias)
    head = Head(**arrays)
    if not corrected.fits_classifier(file.arrays, head.weight):
        expected = corrected.classifier_shape(file.arrays)
        reason = (
            "the new rows of that are no combinations of its rows"
            if file.method == sets.ALPHANET
            else "weights differ"
        )
        if head.weight.shape != expected:
            reason = f"weight has shape {head.weight.shape}, and must have {expected}"
        raise UserError(
            f"the classifier is not the one that {file.path} was made with: {reason}"
        )
    # Where a file may hold several classifiers, the weight taken is recorded.
    hashes = file.file_hashes
    known = {"classifier.weight": "weight"}
    if is_of_arrays(file):
        known |= {name: name for name in arrays}
    for recorded, name in known.items():
        if recorded in hashes and hashes[recorded] != dataset.array_sha256(
            arrays[name]
        ):
            raise UserError(
                f"the classifier is not the one that {file.path} was made with: its "
                f"{name} differs"
            )
    return head


def find(file: ResultFile, kept: Path) -> Head:
    """Finds the classifier that a result was made with.

    Args:
      file: The result, with all of its arrays.
      kept: File of `weight` and `bias` where it may have been kept. Without it, it is
        that of the dataset of the result.

    Returns:
      The classifier.

    Raises:
      UserError: If it is nowhere, or has changed since.
    """
    if file.method != sets.ALPHANET or file.is_original:
        names = ("original_weight", "original_bias")
        return Head(*(file.array(name) for name in names))
    if kept.exists():
        try:
            return check(file, **files.open_npz(kept, Head._fields))
        except (UserError, TypeError):  # of another result that was here before
            pass
    try:
        read = _read_dataset(file)
    except UserError as error:
        raise UserError(
            f"the classifier that {file.path} was made with is needed: {error}; give "
            "it as weight and bias"
        ) from None
    head = check(file, read.weight, read.bias)
    known = set(file.file_hashes.values())
    for path in read.sources:
        if hashing.file_sha256(path) not in known:
            raise UserError(f"{path} has changed since {file.path} was made with it")
    return head


def _read_dataset(file: ResultFile) -> Classifier:
    """Reads the classifier of the dataset that a result names."""
    finder = DataFinder()
    entry, root = finder.entry(file), finder.root(file)
    choice = classifiers.choose(
        entry,
        str(file.config.get("classifier_key", "")),
        bool(file.config.get("classifier_normalize", False)),
    )
    num_classes, num_features = corrected.classifier_shape(file.arrays)
    sides = Sides(num_features, num_classes)
    return classifiers.read_classifier(entry, root, choice, sides=lambda: sides)
