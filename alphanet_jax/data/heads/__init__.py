"""Finds the linear head in a checkpoint, as people of this field have them.

`read_head` takes files of `torch.save` in all formats, pickles, `.npz`, safetensors
(also in parts, with an index) and lists of experts. It finds the weight by itself where
one tensor can be it, or takes it by its key. What a head consists of is folded into a
weight `(C, d)` and a bias `(C,)`: learned scales of the logits, weights that are stored
transposed, normalized or as directions with norms, several experts, no bias. A
`HeadForm` keeps how that was stored, for the way back.

`contents` lists what is in a file, `keys` knows names that belong together,
`candidates` are tensors that may be a weight, `finding` chooses, `reading` folds, and
`files` reads experts in files of their own.

Notation: C classes, d feature dimensions.
"""

from alphanet_jax.data.heads.contents import INDEX_ENDING, is_index
from alphanet_jax.data.heads.files import HeadFile, list_tensors, read_head, read_path
from alphanet_jax.data.heads.forms import FoundHead, HeadForm, Sides, TensorInfo

__all__ = [
    "INDEX_ENDING",
    "FoundHead",
    "HeadFile",
    "HeadForm",
    "Sides",
    "TensorInfo",
    "is_index",
    "list_tensors",
    "read_head",
    "read_path",
]
