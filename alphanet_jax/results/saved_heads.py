"""Heads written to files: of their own, or a copy of the user's checkpoint.

Notation: R changed rows, C classes, d feature dimensions, n samples.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from alphanet_jax import files, staging
from alphanet_jax.data import checkpoint_copies, safetensors
from alphanet_jax.data.checkpoint_copies import Checkpoint
from alphanet_jax.data.heads import FoundHead
from alphanet_jax.data.heads.contents import read_contents
from alphanet_jax.data.put_back import Change
from alphanet_jax.errors import UserError
from alphanet_jax.results.corrected import Head

__all__ = [
    "ENDINGS",
    "Check",
    "check_ending",
    "open_original",
    "rounding",
    "save_alone",
    "save_into",
]

# Looks at a head as it was read again, and returns lines about it.
Check = Callable[[Head], Sequence[str]]

_TORCH = (".pth", ".pt")
ENDINGS = (".npz", ".safetensors", *_TORCH)
# How far rows may be from each other, relative to their size, to be the same.
_SAME = 1e-4


def check_ending(out: Path) -> None:
    """Refuses a name that is none of a file for a head alone.

    Raises:
      UserError: If it has another ending, or one of PyTorch without that.
    """
    if out.suffix not in ENDINGS:
        raise UserError(
            f"{out}: must end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}"
        )
    if out.suffix in _TORCH and importlib.util.find_spec("torch") is None:
        raise UserError(
            f"{out}: PyTorch, which writes {out.suffix} files, is not installed; take "
            ".npz or .safetensors, or a copy of your own checkpoint, which needs no "
            "PyTorch"
        )


def rounding(checkpoint: Checkpoint | None) -> float:
    """Returns the relative error of the coarsest dtype of a stored head."""
    if checkpoint is None:
        return 0.0
    dtypes = {part.form.dtype for part in checkpoint.parts}
    return max(float(ml_dtypes.finfo(dtype).eps) for dtype in dtypes)


def open_original(paths: Sequence[Path], *, original: Head, key: str) -> Checkpoint:
    """Reads a checkpoint whose head must be a given one.

    Args:
      paths: The file, or those of several experts in order.
      original: The head.
      key: Key or prefix of the head; by default it is found.

    Raises:
      UserError: If it has another head, or none.
    """
    num_classes, num_features = original.weight.shape
    scale = max(
        float(np.abs(original.weight).max()), float(np.abs(original.bias).max())
    )

    def fits(found: FoundHead) -> bool:
        eps = max(float(ml_dtypes.finfo(form.dtype).eps) for form in found.forms)
        same = (_SAME + 2 * eps) * scale
        return found.weight.shape == original.weight.shape and all(
            bool((np.abs(one - other) <= same).all())
            for one, other in (
                (found.weight, original.weight),
                (found.bias, original.bias),
            )
        )

    checkpoint = checkpoint_copies.open_checkpoint(
        paths, key=key, num_features=num_features, num_classes=num_classes, fits=fits
    )
    if checkpoint is None:
        raise UserError(
            f"{paths[0]}: its classifier is not the one that was corrected: weights or "
            "biases differ"
        )
    return checkpoint


def save_alone(
    head: Head,
    out: Path,
    *,
    check: Check = lambda head: (),
    overwrite: bool = False,
) -> list[str]:
    """Writes a head to a file of its own, and reads it again.

    Args:
      head: The head.
      out: The file: by its ending `.npz`, `.safetensors`, or of `torch.save`, with
        `weight` and `bias`.
      check: Looks at the head as it can be read again; it may raise, and then nothing
        is written.
      overwrite: Whether the file may be there already.

    Returns:
      The lines of `check`, and one about what was written.

    Raises:
      UserError: If it cannot be written.
    """
    check_ending(out)
    if not overwrite:
        checkpoint_copies.check_new(out)
    arrays = {"weight": np.ascontiguousarray(head.weight), "bias": head.bias}
    try:
        with staging.staged(out.parent) as place:
            staged = place(out)
            if out.suffix == ".npz":
                files.write_npz(staged, arrays)
            elif out.suffix == ".safetensors":
                safetensors.save(staged, arrays)
            else:
                torch: Any = importlib.import_module("torch")
                torch.save({k: torch.from_numpy(a) for k, a in arrays.items()}, staged)
            again = read_contents(staged).tensors
            found = Head(*(again[name].load() for name in Head._fields))
            for name, array in arrays.items():
                if not np.array_equal(getattr(found, name), array):
                    raise UserError(f"{out}: {name} is not what was written")
            lines = [*check(found)]
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    return [*lines, f"saved {out}: weight {head.weight.shape}, bias {head.bias.shape}"]


def save_into(
    checkpoint: Checkpoint,
    head: Head,
    out: Path,
    *,
    original: Head,
    check: Check = lambda head: (),
) -> list[str]:
    """Writes a copy of a checkpoint with another head in it, and reads it again.

    Args:
      checkpoint: The checkpoint.
      head: The head.
      out: The copy, which must not be there.
      original: The head as it was; only rows that differ are changed.
      check: See `save_alone`.

    Returns:
      Lines about what was written, and those of `check`.

    Raises:
      UserError: If it cannot be written, or the head not be stored in that way.
    """
    bias = head.bias.astype(np.float64) - original.bias
    moved = (head.weight != original.weight).any(axis=1) | (bias != 0)
    classes = np.flatnonzero(moved)
    before = checkpoint.head
    wanted = Head(before.weight.copy(), before.bias + bias.astype(np.float32))
    wanted.weight[classes] = head.weight[classes]
    change = Change(
        classes, before.weight[classes], head.weight[classes], bias[classes]
    )
    return checkpoint_copies.save_copy(
        checkpoint,
        change,
        out,
        check=lambda found: [
            *_compare(found, wanted, classes, checkpoint, out),
            *check(Head(found.weight, found.bias)),
        ],
    )


def _compare(
    found: FoundHead,
    wanted: Head,
    classes: np.ndarray,
    checkpoint: Checkpoint,
    out: Path,
) -> list[str]:
    """Compares the head of a copy with what it should be."""
    others = np.ones(len(wanted.weight), bool)
    others[classes] = False
    eps = max(rounding(checkpoint), float(np.finfo(np.float32).eps))
    sizes = np.abs(wanted.weight[classes]).max(axis=1, initial=0)
    apart = np.abs(found.weight[classes] - wanted.weight[classes])
    worst = float(apart.max(initial=0))
    # Parts of experts are divided by their number again, and scales multiplied.
    allowed = 4 * len(checkpoint.parts) * eps * sizes[:, None]
    if not (
        np.array_equal(found.weight[others], wanted.weight[others])
        and (apart <= allowed).all()
        and np.allclose(found.bias, wanted.bias, rtol=4 * eps, atol=4 * eps)
    ):
        raise UserError(
            f"{out}: the classifier cannot be put back as it was stored: read again, "
            f"its rows are off by up to {worst:.2g}"
        )
    dtype = checkpoint.parts[0].form.dtype
    near = f", to {worst:.1g} by the rounding of {dtype}" if worst else ""
    return [
        f"read again from the copy, {len(classes)} rows are the corrected ones{near}, "
        "and all others are as they were"
    ]
