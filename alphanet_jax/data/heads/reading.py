"""Makes a linear head of candidates: everything that is folded into it, and said.

Notation: C classes, d feature dimensions, m experts.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np

from alphanet_jax.data import checks
from alphanet_jax.data.heads import keys
from alphanet_jax.data.heads.candidates import Candidate, is_vector, scales_of
from alphanet_jax.data.heads.contents import NONE, Contents, Tensor, load_tensor
from alphanet_jax.data.heads.forms import FoundHead, HeadForm
from alphanet_jax.errors import UserError

__all__ = ["mean_of_experts", "read_candidate"]

_EPSILON: Final = 1e-12  # as torch.nn.functional.normalize has it


def _read(tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Reads a tensor in float32.

    Raises:
      UserError: If a number is not finite, or too large.
    """
    stored = load_tensor(tensor)
    with np.errstate(over="ignore"):
        values = np.asarray(stored, np.float32)
    if not np.isfinite(values).all():
        first = np.unravel_index(np.argmax(~np.isfinite(values)), values.shape)
        raise UserError(
            f"{tensor.source}: {keys.shown(tensor.key)} must be finite in float32, got "
            f"{stored[first]} at {tuple(map(int, first))}"
        )
    return values.reshape(shape)


def _unit_rows(matrix: np.ndarray) -> np.ndarray:
    """Divides every row by its norm."""
    wide = np.asarray(matrix, np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(wide / np.maximum(norms, _EPSILON), np.float32)


def read_candidate(
    candidate: Candidate,
    contents: Contents,
    *,
    normalize: bool,
    found: bool,
) -> FoundHead:
    """Reads the head that a candidate is the weight of, as it is used.

    Args:
      candidate: The candidate.
      contents: What else is in the file.
      normalize: Whether to normalize the row of every class.
      found: Whether its key is to be said, as it was not plain.

    Returns:
      The head.

    Raises:
      UserError: If it is not finite, or what belongs to it is not clear.
    """
    size = candidate.num_classes
    stored = candidate.weight
    where = str(stored.source)
    scales = scales_of(candidate, contents)
    said = []
    if found:
        said.append(keys.shown(stored.key))
    if len(stored.shape) > 2:
        said.append(f"a 1 x 1 convolution of shape {stored.shape}")
    shape = (size, candidate.num_features)
    weight = _read(stored, shape[::-1] if candidate.transposed else shape)
    if candidate.transposed:
        weight = weight.T
        said.append(f"shape {stored.shape} transposed")
    elif candidate.is_guess and found:
        said.append(f"shape {stored.shape} taken as (classes, features)")
    if candidate.gain is not None:
        weight = _unit_rows(weight) * _read(candidate.gain, (size, 1))
        said.append(f"rows with the norms {keys.shown(candidate.gain.key)}")
    if normalize:
        weight = _unit_rows(weight)
        said.append("rows normalized")
    bias = np.zeros(size, np.float32)
    if candidate.bias is not None:
        bias = _read(candidate.bias, (size,))
    elif contents.others.get("bias") != NONE or stored.key != "weight":
        said.append("no bias (zeros)")
    if scales is not None:
        factors = _read(scales, (size,))
        weight, bias = weight * factors[:, None], bias * factors
        what = "weight and bias" if candidate.bias is not None else "weight"
        said.append(f"{what} multiplied by {keys.shown(scales.key)}")
    checks.check_classifier(where, weight, bias)
    form = HeadForm(
        weight_key=stored.key,
        bias_key=None if candidate.bias is None else candidate.bias.key,
        scales_key=None if scales is None else scales.key,
        transposed=candidate.transposed,
        normalized=normalize,
        dtype=str(stored.dtype),
        gain_key=None if candidate.gain is None else candidate.gain.key,
    )
    remarks = [f"classifier: {', '.join(said)}"] if said else []
    remarks += _beside(candidate, contents, form)
    return FoundHead(np.ascontiguousarray(weight), bias.copy(), (form,), tuple(remarks))


def _beside(candidate: Candidate, contents: Contents, form: HeadForm) -> list[str]:
    """Says which vectors of one number a class lie beside a weight and are not used."""
    used = {form.weight_key, form.bias_key, form.scales_key, form.gain_key}
    prefix = form.weight_key.rpartition(".")[0]
    left = [
        keys.shown(tensor.key)
        for tensor in contents.tensors.values()
        if tensor.key not in used
        and tensor.key.rpartition(".")[0] == prefix
        and is_vector(tensor, candidate.num_classes)
        and not keys.is_of_training(tensor.key)
    ]
    some = ", ".join(left[:5])
    return [f"classifier: not used are {some}, beside its weight"] if left else []


def mean_of_experts(
    heads: Sequence[FoundHead], *, shares_features: bool, what: str
) -> FoundHead:
    """Makes the one head that equals the mean of the logits of several experts.

    Args:
      heads: Those of the experts, in order.
      shares_features: Whether all take the same features; otherwise these are side by
        side.
      what: Which experts, for the remark.

    Returns:
      The head; its parts are divided by the number of experts.
    """
    weights = [head.weight for head in heads]
    if shares_features:
        weight = np.mean(weights, axis=0)
        how = "all of the same features"
    else:
        weight = np.concatenate(weights, axis=1) / len(heads)
        how = f"with their {weight.shape[1]} features side by side"
    forms = tuple(
        dataclasses.replace(form, shares_features=shares_features)
        for head in heads
        for form in head.forms
    )
    remarks = [f"classifier: mean of {len(heads)} experts, {what}, {how}"]
    remarks += [remark for head in heads for remark in head.remarks]
    return FoundHead(
        np.asarray(weight, np.float32),
        np.asarray(np.mean([head.bias for head in heads], axis=0), np.float32),
        forms,
        tuple(remarks),
    )
