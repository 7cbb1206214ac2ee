"""What a linear head looked like in its file, and what was made of it."""

import dataclasses
from typing import NamedTuple

import numpy as np

__all__ = ["FoundHead", "HeadForm", "Sides", "TensorInfo"]


@dataclasses.dataclass(frozen=True)
class HeadForm:
    """How one linear head was stored: what is needed to put it back.

    Keys are full paths in the file, joined by dots, such as
    `state_dict_best.classifier.module.fc.weight`.

    Attributes:
      weight_key: Where the weight is.
      bias_key: Where the bias is; None where there is none, which reads as zeros.
      scales_key: Where the factors of the logits are, which multiply the bias too
        (`scales` or `learned_norm` of learnable weight scaling); None without.
      transposed: Whether the weight is stored as (features, classes).
      normalized: Whether it was read with the row of every class normalized.
      dtype: The dtype of the stored weight, such as 'float16'.
      gain_key: Where the norms of the rows are, if the weight is stored as directions
        and norms (weight normalization): the row of a class is its norm times the
        normalized row at `weight_key`.
      shares_features: Of several experts, whether all take the same features, so that
        the head is the mean of theirs. Otherwise their features are side by side.
      file: Of experts in files of their own, the file, relative to that which lists
        them; empty where all is in one.
    """

    weight_key: str
    bias_key: str | None
    scales_key: str | None
    transposed: bool
    normalized: bool
    dtype: str
    gain_key: str | None = None
    shares_features: bool = False
    file: str = ""


class FoundHead(NamedTuple):
    """A linear head, as it is used: logits are `x @ weight.T + bias`."""

    weight: np.ndarray  # shape=(C, d), dtype=np.float32
    bias: np.ndarray  # shape=(C,), dtype=np.float32
    forms: tuple[HeadForm, ...]  # one for each expert, in order
    remarks: tuple[str, ...]  # what was done to it, a line each, to be said


class TensorInfo(NamedTuple):
    """A tensor in a file."""

    key: str  # full path, joined by dots; empty for a file that is one array
    shape: tuple[int, ...]
    dtype: str


class Sides(NamedTuple):
    """The sides of the weight that is looked for; None where one is not known."""

    num_features: int | None
    num_classes: int | None

    def __str__(self) -> str:
        """Describes what is known of them."""
        known = [
            f"{number} {name}"
            for number, name in zip(self, ("features", "classes"), strict=True)
            if number is not None
        ]
        return f" for {' and '.join(known)}" if known else ""
