"""Arrays that people have in memory, as those of NumPy, without copies.

PyTorch is not imported: who has a tensor of it has done so.
"""

import sys
from typing import Any

import ml_dtypes

__all__ = ["as_numpy"]

# What NumPy lacks, by PyTorch's name, and integers of the same size to look at it as.
_VIEWED = {"torch.bfloat16": ("int16", ml_dtypes.bfloat16)}


def as_numpy(array: Any) -> Any:
    """Gives tensors of PyTorch as arrays of NumPy, and leaves all else alone.

    What is in the memory of the host is not copied, be it bfloat16, require gradients
    or not. Arrays of JAX are left as they are: NumPy looks at those of a CPU itself.

    Args:
      array: A tensor of PyTorch, or anything else.

    Returns:
      An array that shares the tensor's memory, if that is the host's.

    Examples:
      >>> as_numpy([1.0, 2.0])
      [1.0, 2.0]
    """
    if type(array).__module__.partition(".")[0] != "torch":
        return array
    tensor = array.detach().cpu()
    name = str(tensor.dtype)
    if name in _VIEWED:
        same_size, dtype = _VIEWED[name]
        integers = getattr(sys.modules["torch"], same_size)
        return tensor.view(integers).numpy().view(dtype)
    if name.startswith("torch.float8"):
        tensor = tensor.float()
    return tensor.numpy()
