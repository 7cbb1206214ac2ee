"""What a call comes to: the corrected classifier, and all that it can say of itself.

Notation: n samples, d feature dimensions, C classes, F 'few' classes, S seeds,
k neighbors.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alphanet_jax import splits
from alphanet_jax.data import checks
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.data.in_memory import as_numpy
from alphanet_jax.errors import UserError, count_of
from alphanet_jax.figures import one_file
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.results import (
    accuracy,
    combo_reports,
    combos,
    corrected,
    originals,
    predictions,
    recorded,
    saved_heads,
)
from alphanet_jax.results.accuracy_tables import AccuracyReport
from alphanet_jax.results.corrected import Head, Which
from alphanet_jax.results.recomputed import Recomputation
from alphanet_jax.results.sets import ALPHANET, ResultFile, ResultSet

__all__ = ["ORIGINAL_FILE", "Correction", "load_correction"]

# What the seeds were corrected from, beside the result.
ORIGINAL_FILE = "original_head.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Correction:
    """What `fit` returns: the corrected classifiers of all seeds, and what was learned.

    Attributes:
      original: The classifier as it was.
      result: Arrays of a result file, which `alphanet_jax.results.schema` lists.
      config: The settings that it was made with, as a config holds them.
      has_validation: Whether epochs and the best seed were chosen by validation data.
      data: What it was made with, where that is in memory.
      remarks: What a person should know of it, a line each.
    """

    original: Head
    result: Mapping[str, np.ndarray]
    config: Mapping[str, Any]
    has_validation: bool
    data: Dataset | None = None
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        few, total = len(self.splits["few"]), len(self.original.weight)
        how = (
            count_of(len(self.result["seeds"]), "seed")
            if self.method == ALPHANET
            else f"by {self.method}"
        )
        first = (
            f"Correction of {str(self.result['proper_name'])!r}: {few} few of {total} "
            f"classes, {how}"
        )
        return "\n".join([first, *self.remarks])

    @property
    def method(self) -> str:
        """Name of the correction; where it was chosen, of the chosen one."""
        return str(self.result.get("method", ALPHANET))

    @property
    def knob(self) -> float | None:
        """Value of the method's knob; None of AlphaNet."""
        return float(self.result["knob"]) if "knob" in self.result else None

    @property
    def options(self) -> dict[str, Any]:
        """Further options of the method; `chosen` has the reasons, three lines."""
        return recorded.options_of(str(self.result.get("method_options", "{}")))

    @property
    def splits(self) -> dict[str, np.ndarray]:
        """Class ids of 'few', 'medium' and 'many'."""
        return {name: self.result[f"{name}_classes"] for name in splits.SPLITS}

    @property
    def alphas(self) -> np.ndarray:
        """Coefficients of the sources of every few class, shape `[S, F, k + 1]`.

        Raises:
          UserError: If the correction is not AlphaNet.
        """
        if "alphas" not in self.result:
            raise UserError(f"{self.method} learns no coefficients as AlphaNet does")
        return self.result["alphas"]

    @property
    def neighbors(self) -> np.ndarray:
        """Neighbors of every few class, nearest first, with shape `[F, k]`.

        Where each seed has its own, the shape is `[S, F, k]`.
        """
        return self.result["neighbors"]

    @property
    def weight(self) -> np.ndarray:
        """Weights of the best seed's classifier, with shape `[C, d]`."""
        return self.head().weight

    @property
    def bias(self) -> np.ndarray:
        """Biases of the classifier, with shape `[C]`; AlphaNet leaves them."""
        return self.head().bias

    def val_accuracy(self) -> np.ndarray:
        """Computes each seed's overall validation accuracy at its selected epoch.

        Returns:
          Fractions, with shape `[S]`; NaN without validation data.
        """
        if not self.has_validation:
            return np.full(len(self.result["seeds"]), np.nan)
        return corrected.val_accuracy(self.result)

    def head(self, seed: Which = "best") -> Head:
        """Builds a corrected classifier.

        Args:
          seed: 'best': the seed with the highest validation accuracy, the first of
            equals, or the mean where there is no validation data; 'mean': the mean of
            all seeds' classifiers; or one of the seeds.

        Returns:
          The classifier; AlphaNet's differs from the original's in the weights of few
          classes alone.

        Raises:
          ValueError: If there is no such seed.
        """
        return corrected.corrected_head(self.original, self.result, seed)

    def logits(self, features: ArrayLike, *, seed: Which = "best") -> np.ndarray:
        """Computes the logits of features.

        Args:
          features: Features, with shape `[n, d]`.
          seed: As `head` takes it.

        Returns:
          Logits, with shape `[n, C]`, float32.
        """
        return predictions.logits(self.head(seed), features)

    def predict(self, features: ArrayLike, *, seed: Which = "best") -> np.ndarray:
        """Predicts the classes of features, with shape `[n]`."""
        return predictions.predict(self.head(seed), features)

    def report(
        self, features: ArrayLike, labels: ArrayLike, *, seed: Which = "best"
    ) -> AccuracyReport:
        """Computes accuracy before and after on some samples.

        Args:
          features: Features, with shape `[n, d]`.
          labels: Classes of the rows, with shape `[n]`.
          seed: As `head` takes it.

        Returns:
          The accuracies, which print as a table.

        Raises:
          UserError: If labels are not right.
        """
        rows = as_numpy(features)
        truth = checks.check_labels(
            "labels",
            as_numpy(labels),
            num_samples=len(rows),
            num_classes=len(self.original.weight),
        )
        heads = (self.original, self.head(seed))
        predicted = np.stack([predictions.predict(head, rows) for head in heads])
        fractions = accuracy.per_split(predicted == truth, truth, self.splits)
        first, second = (
            dict(zip(accuracy.PARTS, row.tolist(), strict=True)) for row in fractions
        )
        name = "AlphaNet" if self.method == ALPHANET else self.method
        return AccuracyReport(first, second, str(self.result["proper_name"]), name)

    def explain(self, label: int | str, *, mistakes: int | None = 3) -> str:
        """Explains what was learned for a few class, and what that changed.

        Of AlphaNet that is the combination of classifiers; of alphanet+, from which
        classes it borrowed, and how much.

        Args:
          label: The class's number or name.
          mistakes: How many misclassifications to list; None for all.

        Returns:
          Text: the combination of classifiers, mean and deviation over seeds, and
          mistakes before and after.

        Raises:
          UserError: If there is no such few class.
        """
        runs = self._as_set()
        (found,) = combos.find_classes(runs, [str(label)], what="class")
        shown = combos.combination(runs, found, combos.common_neighbors(runs))
        return combo_reports.format_text([shown], mistake_n=mistakes)

    def plot(
        self, kind: str, file: Path | str | os.PathLike[str], **options: Any
    ) -> list[Path]:
        """Draws a figure, and writes the numbers that it draws as CSV beside it.

        Args:
          kind: A kind of figure of `alphanet plot`, such as 'class_changes'; see
            `alphanet_jax.figures.KINDS`.
          file: Where to write it. Its ending, .png, .svg, .pdf or .pgf, is the format.
          **options: The options that `alphanet plot KIND --help` lists, such as
            `width="full"`; and `style`, one of its styles of that format.

        Returns:
          The files that were written.

        Raises:
          UserError: If there is no such kind or option, or it needs data that are not
            there, or matplotlib; nothing is written then.
        """
        runs = self._as_set()
        sources = Sources([runs], originals.data_finder(runs.files[0], self.data))
        return one_file.draw_file(kind, sources, file, options)

    def _as_set(self) -> ResultSet:
        file = ResultFile(Path("the correction"), self.result, self.config)
        name = "AlphaNet" if self.method == ALPHANET else self.method
        return ResultSet(name, (file,))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        weight: ArrayLike | None = None,
        bias: ArrayLike | None = None,
    ) -> "Correction":
        """Does what `load_correction` does."""
        return load_correction(path, weight=weight, bias=bias)

    def save(
        self,
        path: Path | str,
        *,
        seed: Which = "best",
        into: Path | str | Sequence[Path | str] | None = None,
        key: str = "",
    ) -> tuple[str, ...]:
        """Writes a corrected classifier, whole or not at all.

        Args:
          path: The file: `weight` and `bias` in `.npz`, `.safetensors` or, where
            PyTorch is installed, `.pth`; or the copy of `into`.
          seed: As `head` takes it.
          into: Checkpoint that the classifier is from, or the files of its experts in
            order, which then `path` is a directory for copies of. In a copy all but
            the changed rows is byte for byte as it was. PyTorch is not needed.
          key: Key of the classifier in it, such as `state_dict.fc`; by default it is
            found.

        Returns:
          Lines about what was written.

        Raises:
          UserError: If it has another ending, cannot be written, or is there already
            and not a `.npz` of a classifier alone; or if the checkpoint has another
            classifier than `original`.
        """
        path, head = Path(path), self.head(seed)
        if into is None:
            # A checkpoint of the user's own may have any of the other endings.
            overwrite = path.suffix == ".npz"
            return tuple(saved_heads.save_alone(head, path, overwrite=overwrite))
        given = [into] if isinstance(into, str | Path) else into
        paths = [Path(one) for one in given]
        checkpoint = saved_heads.open_original(paths, original=self.original, key=key)
        return tuple(
            saved_heads.save_into(checkpoint, head, path, original=self.original)
        )


def load_correction(
    path: Path | str,
    *,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    recompute: Recomputation | None = None,
) -> Correction:
    """Loads a correction from its result.

    Args:
      path: What `workdir` was of `fit`, or of the commands `fit` and `train`; or the
        `result.npz` in it.
      weight: Weights of the classifier as it was, with shape `[C, d]`; by default
        those that `fit` kept beside the result, or those of the dataset that it names.
      bias: Its biases, with shape `[C]`; where `weight` is given, None is for zeros.
      recompute: Makes what a result of the original's lacks; by default with the data
        where the result says.

    Returns:
      The correction, without its data.

    Raises:
      UserError: If there is no result, or no such classifier, or it is not the one
        that the result was made with.
    """
    file = originals.open_result(Path(path), recompute)
    if weight is None and bias is not None:
        raise UserError("bias is given, but no weight; give both, or none of them")
    original = (
        originals.find(file, file.path.with_name(ORIGINAL_FILE))
        if weight is None
        else originals.check(file, as_numpy(weight), as_numpy(bias))
    )
    harm = corrected.remark_on_harm(file.arrays)
    return Correction(
        original=original,
        result=file.arrays,
        config=file.config,
        has_validation=corrected.has_validation(file.arrays),
        remarks=() if harm is None else (harm,),
    )
