"""What a file is that is no result, in a few words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files
from alphanet_jax.data.torch_files import Placeholder
from alphanet_jax.data.untrusted import quote
from alphanet_jax.errors import count_of

__all__ = ["RESULT", "tell", "tell_text"]

# What the file of a result cannot lack.
RESULT = (
    "train_data_info",
    "nn_info",
    "alphanet",
    "alphanet_source__mat__seq",
    "fbclass_ordered_idx__vec",
    "training_config",
    "best_alphanet_classifier_state_dict",
)
# Keys that tell other files, and what they are.
_OTHERS = (
    ({"model", "train_result"}, "a checkpoint of the original's training"),
    ({"n_neighbors", "nn_class__seq__per__fclass"}, "the original's file of neighbors"),
    ({"feats", "labels"}, "a file of features and labels"),
    ({"weight", "bias"}, "a classifier: weight and bias"),
    ({"state_dict"}, "a checkpoint with a state_dict"),
    ({"optimizer"}, "a checkpoint of another training"),
)
_MOST_NAMED = 4
_MOST_LETTERS = 64


def tell(root: object) -> str:
    """Says what the content of a file of PyTorch's is, that is no result.

    Args:
      root: What `torch_files.load` returned.

    Returns:
      A clause: 'it is a list of 3 items'.

    Examples:
      >>> tell([1, 2, 3])
      'it is a list of 3 items'
      >>> tell({"weight": np.zeros((2, 3)), "bias": np.zeros(2)})
      'it is a classifier: weight and bias'
    """
    if isinstance(root, np.ndarray):
        return f"it is a tensor of shape {root.shape}"
    if isinstance(root, Placeholder):
        return f"it is an object of {root.name}"
    if isinstance(root, dict):
        return _tell_dict(root)
    if isinstance(root, list | tuple | set | frozenset):
        return f"it is a {type(root).__name__} of {count_of(len(root), 'item')}"
    return f"it is a pickle of {_article(type(root).__name__)}"


def tell_text(path: Path) -> str | None:
    """Says that a file is text, such as the pointer to one that was not fetched.

    Returns:
      A verb and what follows it; None where it is not text.
    """
    files.check_regular(path)
    with path.open("rb") as file:
        head = file.read(_MOST_LETTERS)
    line = (head.decode("utf-8", "ignore").splitlines() or [""])[0]
    is_text = bool(head) and all(b >= 32 or b in b"\t\n\r\f" for b in head)
    return f"is text that begins with {quote(line)}" if is_text else None


def _tell_dict(root: Mapping[Any, Any]) -> str:
    there = [name for name in RESULT if root.get(name) is not None]
    if len(there) >= 2:
        lacking = [name for name in RESULT if name not in there]
        return f"it lacks {', '.join(lacking)}"
    for keys, what in _OTHERS:
        if keys <= root.keys():
            return f"it is {what}"
    if root and all(isinstance(value, np.ndarray) for value in root.values()):
        return f"it is a state dict of {count_of(len(root), 'tensor')}"
    names = [quote(str(key)) for key in list(root)[:_MOST_NAMED]]
    more = ", ..." if len(root) > _MOST_NAMED else ""
    return (
        f"it is a dict of {', '.join(names)}{more}" if names else "it is an empty dict"
    )


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
