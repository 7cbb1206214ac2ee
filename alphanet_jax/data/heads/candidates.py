"""Tensors that may be the weight of a linear head, with what belongs to each.

Notation: C classes, d feature dimensions.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from alphanet_jax.data import checks
from alphanet_jax.data.heads import keys
from alphanet_jax.data.heads.contents import NONE, Contents, Tensor
from alphanet_jax.data.heads.forms import Sides
from alphanet_jax.errors import UserError

__all__ = [
    "Candidate",
    "Experts",
    "expert_groups",
    "is_matrix",
    "is_reparametrized",
    "is_vector",
    "make_candidate",
    "matrix_shape",
    "scales_of",
]

# Files of strangers may have very many.
_MAX_SCALES: Final = 64
_MAX_MATRICES: Final = 4096
# What pruning and spectral norm keep of a weight is not what the layer uses.
_REPARAMETRIZED: Final = ("weight_orig", "parametrizations.weight.original")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A tensor that may be the weight of a linear head.

    Attributes:
      weight: The tensor.
      transposed: Whether it is (features, classes).
      bias: The bias beside it, if there is one.
      gain: The norms of its rows, if they are stored apart.
      is_guess: Whether it might be transposed as well.
    """

    weight: Tensor
    transposed: bool
    bias: Tensor | None = None
    gain: Tensor | None = None
    is_guess: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return matrix_shape(self.weight)[self.transposed]

    @property
    def num_features(self) -> int:
        """Number of feature dimensions d."""
        return matrix_shape(self.weight)[not self.transposed]


@dataclasses.dataclass(frozen=True)
class Experts:
    """Candidates that differ in one number of their keys, in its order."""

    key: str  # with a star for the number
    members: tuple[Candidate, ...]

    @property
    def num_features(self) -> int:
        """Number of features of all, side by side."""
        return sum(member.num_features for member in self.members)


def matrix_shape(tensor: Tensor) -> tuple[int, ...]:
    """Returns the shape of a matrix; a 1 x 1 convolution is one, too."""
    shape = tensor.shape
    return shape[:2] if len(shape) > 2 and set(shape[2:]) == {1} else shape


def is_matrix(tensor: Tensor, *, convolutions: bool = False) -> bool:
    """Returns whether a tensor is a matrix of floats, with more than one row."""
    shape = matrix_shape(tensor) if convolutions else tensor.shape
    return len(shape) == 2 and min(shape) > 1 and checks.is_float(tensor.dtype)


def is_reparametrized(tensor: Tensor) -> bool:
    """Returns whether a layer makes its weight of this tensor in ways not known."""
    return tensor.key.endswith(_REPARAMETRIZED)


def is_vector(tensor: Tensor | None, size: int | None = None) -> bool:
    """Returns whether a tensor is a vector of floats, also as a row or column."""
    return (
        tensor is not None
        and checks.is_float(tensor.dtype)
        and sum(side != 1 for side in tensor.shape) <= 1
        and (size is None or tensor.size == size)
    )


def make_candidate(
    tensor: Tensor,
    contents: Contents,
    sides: Sides,
    *,
    transposed: bool | None = None,
) -> Candidate | None:
    """Makes a candidate of a matrix, if it fits.

    Args:
      tensor: The matrix.
      contents: What else is in the file.
      sides: Numbers of features and classes, as far as they are known.
      transposed: Whether it must be transposed; None where its sides tell, or the bias.

    Returns:
      The candidate; None if the matrix is no weight of such a head.
    """
    if is_reparametrized(tensor):
        return None
    bias_key = _bias_key(tensor, contents)
    bias = None if bias_key is None else contents.tensors.get(bias_key)
    if bias_key is not None and (bias is None or bias.shape != (bias.size,)):
        return None
    gain_key = keys.gain_key(tensor.key)
    gain = None if gain_key is None else contents.tensors.get(gain_key)
    if gain_key is not None and gain is None:
        return None
    fits = []
    for turned in (False, True) if transposed is None else (transposed,):
        made = Candidate(tensor, turned, bias, gain)
        if (
            sides.num_features in (None, made.num_features)
            and sides.num_classes in (None, made.num_classes)
            and (bias is None or is_vector(bias, made.num_classes))
            and (gain is None or (not turned and is_vector(gain, made.num_classes)))
        ):
            fits.append(made)
    if len(fits) == 2 and tensor.key.lower().endswith("kernel"):
        return fits[1]  # as Flax and Keras store weights
    if len(fits) == 2:
        return dataclasses.replace(fits[0], is_guess=True)
    return fits[0] if fits else None


def _bias_key(weight: Tensor, contents: Contents) -> str | None:
    """Finds what is named as the bias of a weight, whatever it is."""
    for key in keys.bias_keys(weight.key):
        other = contents.others.get(key, NONE)
        if key in contents.tensors or key in contents.objects or other != NONE:
            return key
    return None


def scales_of(candidate: Candidate, contents: Contents) -> Tensor | None:
    """Finds the factors of the logits of a head.

    They may be beside it, above it, or in a part of the file of their own; those of
    another head, whose key is more like theirs, are not taken.

    Raises:
      UserError: If there are several.
    """
    found = []
    size = candidate.num_classes
    heads = [
        tensor.key
        for tensor in contents.tensors.values()
        if is_matrix(tensor) and size in tensor.shape and keys.is_weight(tensor.key)
    ]
    scales = (
        tensor
        for tensor in contents.tensors.values()
        if keys.is_scales(tensor.key)
        and not keys.is_of_training(tensor.key)
        and is_vector(tensor, size)
    )
    for tensor in itertools.islice(scales, _MAX_SCALES):
        alike = keys.common_parts(tensor.key, candidate.weight.key)
        nearest = max((keys.common_parts(tensor.key, key) for key in heads), default=0)
        if alike >= nearest:
            found.append((alike, tensor))
    most = max((alike for alike, _ in found), default=0)
    best = [tensor for alike, tensor in found if alike == most]
    if len(best) > 1:
        both = " and ".join(keys.shown(tensor.key) for tensor in best[:2])
        raise UserError(
            f"{contents.path}: {both} may both be the scales of "
            f"{keys.shown(candidate.weight.key)}; save a file with one of them"
        )
    return best[0] if best else None


def expert_groups(
    tensors: Iterable[Tensor], contents: Contents, sides: Sides
) -> list[Experts]:
    """Finds experts whose features, side by side, are those of the samples.

    Args:
      tensors: The matrices.
      contents: What else is in the file.
      sides: Numbers of features and classes; without the first, any do.

    Returns:
      The groups of experts that fit.
    """
    groups: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for tensor in itertools.islice(tensors, _MAX_MATRICES):
        for group, number in keys.expert_group(tensor.key):
            groups[group].append((number, tensor))
    found = []
    for group, numbered in groups.items():
        if len(numbered) < 2:
            continue
        ordered = [tensor for _, tensor in sorted(numbered, key=lambda pair: pair[0])]
        for transposed in (False, True):
            members = _members(ordered, contents, sides.num_classes, transposed)
            if not members:
                continue
            experts = Experts(group, members)
            if sides.num_features in (None, experts.num_features):
                found.append(experts)
                break
    return found


def _members(
    tensors: Sequence[Tensor],
    contents: Contents,
    num_classes: int | None,
    transposed: bool,
) -> tuple[Candidate, ...]:
    """Makes candidates of experts, all of the same classes; none if one does not."""
    made = []
    for tensor in tensors:
        candidate = make_candidate(
            tensor, contents, Sides(None, num_classes), transposed=transposed
        )
        if candidate is None:
            return ()
        num_classes = candidate.num_classes
        made.append(candidate)
    return tuple(made)
