"""Results of the original program, `result.pth` and `checkpoint_<n>.pt`, as input.

They are read by `data.torch_files`, which runs nothing of them. `fields` takes values
out of what a stranger may have put there, `record` checks a whole file, `settings`
translates its settings, `arrays` names what it has as `schema` does, and `telling` says
what a file is that is something else. `lazily` makes arrays when they are first used:
the coefficients, which the original does not record, but the network that gives them.
What needs the data, such as predictions, is for `results.recomputed`.
"""

from alphanet_jax.results.pytorch.arrays import (
    LATER,
    NO_SEED,
    ORIGINAL,
    json_array,
    open_arrays,
)
from alphanet_jax.results.pytorch.lazily import LazyArrays, recorded_arrays
from alphanet_jax.results.pytorch.record import (
    Record,
    checkpoint_number,
    load_record,
    newest_checkpoint,
)

__all__ = [
    "LATER",
    "NO_SEED",
    "ORIGINAL",
    "LazyArrays",
    "Record",
    "checkpoint_number",
    "json_array",
    "load_record",
    "newest_checkpoint",
    "open_arrays",
    "recorded_arrays",
]
