"""Corrected classifiers in models of PyTorch, which is not imported here.

    correction = alphanet_jax.fit(x, y, model.fc.weight, model.fc.bias)
    alphanet_jax.patch_torch(model, "fc", correction)

Notation: C classes, d feature dimensions.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax.correction import Correction
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.results.corrected import Head, Which

__all__ = ["patch_torch"]

# Names of the factors of logits in learnable weight scaling.
_SCALES = ("scales", "learned_norm")
# How far stored rows may be from the original ones, relative to their size.
_SAME = 1e-4
_HALF = 2**-7  # the rounding of bfloat16


class _Layer(NamedTuple):
    """A linear layer, and the tensors that make it up."""

    name: str
    weight: Any  # torch.Tensor, shape=(C, d), or (C, d, 1, 1)
    bias: Any  # torch.Tensor, shape=(C,), or None
    scales: Any  # torch.Tensor, shape=(C,), or None


def patch_torch(
    model: Any, name: str, correction: Correction, *, seed: Which = "best"
) -> Any:
    """Gives a layer of a PyTorch model the corrected rows of the rare classes.

    The rows are set in place, in the dtype and on the device of the layer; all others,
    and the biases, stay. Where learned scales multiply the logits (`scales` beside or
    in the layer), the rows are divided by them.

    Args:
      model: A `torch.nn.Module`.
      name: The layer's name in it, such as 'fc' or 'classifier.module.fc'; empty for
        the model itself.
      correction: What `alphanet_jax.fit` returned for the weight and bias of the layer.
      seed: As `Correction.head` takes it.

    Returns:
      The model.

    Raises:
      UserError: If there is no such layer, or its weight is not the one that was
        corrected; the model is as it was then.
    """
    layer = _find_layer(model, name)
    before, head = correction.original, correction.head(seed)
    changed = np.flatnonzero((head.weight != before.weight).any(axis=1))
    # Also rows that are the original's: the model may have those of another seed.
    rows = np.union1d(changed, correction.result["few_classes"].astype(int))
    if not np.array_equal(head.bias, before.bias):
        raise UserError(
            f"{layer.name}: the correction has other biases, and only weights are set; "
            "assign weight and bias of correction.head() yourself"
        )
    scales = _fitting_scales(layer, correction, before)
    new = (head.weight[rows] / scales[rows, None]).astype(np.float32)
    # Tensors are made by those of the model, on its device and of its dtype. `data`
    # is not seen by autograd.
    data = layer.weight.data
    for row, values in zip(rows.tolist(), new, strict=True):
        data[row].copy_(data.new_tensor(values.tolist()).reshape(data[row].shape))
    return model


def _find_layer(model: Any, name: str) -> _Layer:
    """Finds a layer by its dotted name."""
    node, above = model, None
    for part in name.split(".") if name else ():
        children = dict(node.named_children())
        if part not in children:
            raise UserError(
                f"the model has no layer {name!r}: {did_you_mean(part, children)}"
            )
        node, above = children[part], node
    shown = repr(name) if name else "the model"
    weight = getattr(node, "weight", None)
    if not _is_tensor(weight):
        inner = [key.removesuffix(".weight") for key in _weights(node)]
        hint = f"; in it are {', '.join(map(repr, inner[:6]))}" if inner else ""
        raise UserError(f"{shown} has no weight, so it is no linear layer{hint}")
    if hasattr(node, "parametrizations") or hasattr(node, "weight_g"):
        raise UserError(
            f"{shown} makes its weight of other tensors (weight norm or another "
            "parametrization); remove that first, with "
            "torch.nn.utils.parametrize.remove_parametrizations or remove_weight_norm"
        )
    bias = getattr(node, "bias", None)
    scales = next(
        (
            tensor
            for owner in (node, above)
            for key in _SCALES
            if _is_tensor(tensor := getattr(owner, key, None))
        ),
        None,
    )
    return _Layer(shown, weight, bias if _is_tensor(bias) else None, scales)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "data") and hasattr(value, "new_tensor")


def _weights(module: Any) -> Sequence[str]:
    """Lists the names of weights in a module that are matrices."""
    return [
        key
        for key, value in module.named_parameters()
        if key.endswith(".weight") and value.ndim == 2
    ]


def _as_numpy(tensor: Any) -> np.ndarray:
    """Copies a tensor to float32 in memory of its own."""
    return np.array(tensor.detach().float().cpu().numpy())


def _fitting_scales(
    layer: _Layer, correction: Correction, original: Head
) -> np.ndarray:
    """Checks that a layer is the one that was corrected; returns its factors.

    Only rows that no correction changes are compared, so a model may be patched again.
    """
    shape = tuple(layer.weight.shape)
    num_classes, num_features = original.weight.shape
    ones = (1,) * (len(shape) - 2)
    if shape != (num_classes, num_features, *ones):
        turned = shape == (num_features, num_classes)
        hint = ": such layers normalize it, and take no rows as they are" * turned
        raise UserError(
            f"{layer.name} has a weight of shape {shape}, and the correction is of "
            f"{(num_classes, num_features)} (classes, features){hint}"
        )
    weight = _as_numpy(layer.weight).reshape(num_classes, num_features)
    bias = np.zeros(num_classes) if layer.bias is None else _as_numpy(layer.bias)
    base = np.ones(num_classes, bool)
    base[correction.result["few_classes"]] = False
    eps = _HALF if layer.weight.element_size() < 4 else 0.0
    choices = [np.ones(num_classes)]
    if layer.scales is not None:
        choices.insert(0, np.ravel(_as_numpy(layer.scales)) * np.ones(num_classes))
    for scales in choices:
        if len(scales) == num_classes and all(
            _is_near(found[base], wanted[base], eps)
            for found, wanted in (
                (weight * scales[:, None], original.weight),
                (bias * scales, original.bias),
            )
        ):
            return scales
    raise UserError(
        f"{layer.name} is not the layer that was corrected: its weight or bias differs "
        "from what the correction began with"
    )


def _is_near(found: np.ndarray, wanted: np.ndarray, eps: float) -> bool:
    size = float(np.abs(wanted).max(initial=0))
    return bool((np.abs(found - wanted) <= (_SAME + eps) * size + 1e-12).all())
