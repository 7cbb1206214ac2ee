"""A copy of the user's own checkpoint with another head in it.

The checkpoint is one file, the index of a sharded one, the list of expert classifiers,
or several files of one expert each. What was stored of the head is put back as it was
stored, by `put_back`, where it lies, by `patching`.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphanet_jax import staging
from alphanet_jax.data import patching, put_back
from alphanet_jax.data.heads import FoundHead, is_index, read_head
from alphanet_jax.data.heads.contents import read_contents
from alphanet_jax.data.heads.keys import is_of_training, shown
from alphanet_jax.data.heads.reading import mean_of_experts
from alphanet_jax.data.put_back import Change, Part
from alphanet_jax.errors import UserError, count_of

__all__ = ["Checkpoint", "check_new", "open_checkpoint", "save_copy"]

# Whose arrays are found by the ending of the file's name.
_BY_ENDING = (".npz", ".npy", ".safetensors")
_MOST_LISTED = 5


class Checkpoint(NamedTuple):
    """A head in the user's own file or files.

    Attributes:
      paths: The files named: one, or one of each expert.
      key: The key that it was named by; empty where it was found.
      parts: The head as it is stored, or its experts in order.
      head: What it reads as.
    """

    paths: tuple[Path, ...]
    key: str
    parts: tuple[Part, ...]
    head: FoundHead


def open_checkpoint(
    paths: Sequence[Path],
    *,
    key: str = "",
    num_features: int | None = None,
    num_classes: int | None = None,
    fits: Callable[[FoundHead], bool] = lambda head: True,
) -> Checkpoint | None:
    """Reads the head of a checkpoint, as it is stored and as it is used.

    Args:
      paths: The file, or those of several experts in order.
      key: Key or prefix of the head in each; by default it is found.
      num_features: Number of feature dimensions, of all experts together.
      num_classes: Number of classes.
      fits: Whether a head is the right one. Where it is not as it is stored, it is
        tried with its rows normalized.

    Returns:
      The head; None if it does not fit.

    Raises:
      UserError: If a file cannot be read, or no head is found.
    """
    for normalize in (False, True):
        checkpoint = _open(tuple(paths), key, num_features, num_classes, normalize)
        if fits(checkpoint.head):
            return checkpoint
    return None


def _open(
    paths: tuple[Path, ...],
    key: str,
    num_features: int | None,
    num_classes: int | None,
    normalize: bool,
) -> Checkpoint:
    if len(paths) == 1:
        (path,) = paths
        head = read_head(
            path,
            key=key,
            num_features=num_features,
            num_classes=num_classes,
            normalize=normalize,
        )
        if not head.forms:
            raise UserError(
                f"{path}: lists experts that are lists themselves, which are not "
                "written; give the files of all experts"
            )
        parts = [Part(path.parent / f.file if f.file else path, f) for f in head.forms]
        return Checkpoint(paths, key, tuple(parts), head)
    experts = [
        read_head(path, key=key, num_classes=num_classes, normalize=normalize)
        for path in paths
    ]
    for path, expert in zip(paths, experts, strict=True):
        if len(expert.weight) != len(experts[0].weight):
            raise UserError(
                f"{path}: {len(expert.weight)} classes, but {len(experts[0].weight)} "
                f"in {paths[0]}"
            )
        if len(expert.forms) > 1:
            raise UserError(f"{path}: has experts itself; give a file for each expert")
    shares = num_features == experts[0].weight.shape[1]
    head = mean_of_experts(experts, shares_features=shares, what="one a file")
    parts = [
        Part(path, dataclasses.replace(expert.forms[0], shares_features=shares))
        for path, expert in zip(paths, experts, strict=True)
    ]
    return Checkpoint(paths, key, tuple(parts), head)


def save_copy(
    checkpoint: Checkpoint,
    change: Change,
    out: Path,
    *,
    check: Callable[[FoundHead], Sequence[str]] = lambda head: (),
) -> list[str]:
    """Writes a copy of a checkpoint in which rows of its head are others.

    Args:
      checkpoint: The checkpoint.
      change: The rows.
      out: The copy: a file; or, where each expert is a file of its own, the copy of
        their list, or a directory. All that is written is whole, or not there.
      check: Looks at the head as it is read from the copy, before that is in its
        place. It may raise, and then nothing is written.

    Returns:
      Lines about what was written, and what else there is to know.

    Raises:
      UserError: If something is there already, cannot be written, or such rows cannot
        be stored in that way.
    """
    targets = _targets(checkpoint, out)
    for source, target in targets.items():
        check_new(target, source)
    values = put_back.stored_arrays(checkpoint.parts, change)
    changed = {path: ", ".join(map(shown, arrays)) for path, arrays in values.items()}
    several = len(checkpoint.paths) > 1
    lines = _remarks(checkpoint)
    first = next(iter(targets))
    if is_index(first):
        # All of the head, also where the bias is in another file than the weight.
        values[first] = _rest_of_head(checkpoint) | values[first]
        lines.append(
            f"note: of the files that {first} lists, those with the classifier are "
            "written; the others stay as they were: put them beside"
        )
    try:
        with staging.staged(out if several else out.parent) as place:
            for source, target in targets.items():
                if source in values:
                    lines += patching.patch(source, values[source], place, out=target)
                else:
                    shutil.copyfile(source, place(target))
            staged = [place(targets[path]) for path in checkpoint.paths]
            lines += check(_read_again(checkpoint, staged))
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    for source, target in targets.items():
        what = f", with other rows in {changed[source]}" if source in changed else ""
        lines.append(f"saved {target}: a copy of {source}{what}")
    return lines


def _rest_of_head(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Loads the arrays of a head that need not change."""
    tensors = read_contents(checkpoint.paths[0]).tensors
    keys = {
        key
        for part in checkpoint.parts
        for key in (part.form.bias_key, part.form.scales_key, part.form.gain_key)
        if key is not None
    }
    return {key: tensors[key].load() for key in sorted(keys)}


def _read_again(checkpoint: Checkpoint, paths: Sequence[Path]) -> FoundHead:
    """Reads the head of a copy."""
    num_classes, num_features = checkpoint.head.weight.shape
    normalized = checkpoint.parts[0].form.normalized
    return _open(
        tuple(paths), checkpoint.key, num_features, num_classes, normalized
    ).head


def check_new(target: Path, source: Path | None = None) -> None:
    """Refuses to write where something is.

    Raises:
      UserError: If there is; it says so if it is the source.
    """
    if source is not None and target.exists() and os.path.samefile(source, target):
        raise UserError(
            f"{target}: is the checkpoint itself, which stays as it is; choose another "
            "name for the copy"
        )
    if os.path.lexists(target):
        raise UserError(
            f"{target}: is there already, and nothing is overwritten; choose another "
            "name, or remove it"
        )


def _targets(checkpoint: Checkpoint, out: Path) -> dict[Path, Path]:
    """Names the copies of the files of a checkpoint."""
    paths = checkpoint.paths
    if len(paths) > 1:
        targets = {path: out / path.name for path in paths}
        if len(set(targets.values())) < len(paths):
            raise UserError(
                f"several of the files are called {paths[0].name}; the copies, in "
                f"{out}, would overwrite each other: give them names of their own"
            )
        if out.is_file() or out.suffix:
            raise UserError(
                f"{out}: must be a directory, for copies of {len(paths)} files"
            )
        return targets
    (path,) = paths
    targets = {path: out}
    for part in checkpoint.parts:
        if part.path == path:
            continue
        name = os.path.relpath(part.path, path.parent)
        if name.startswith(os.pardir) or os.path.isabs(name):
            raise UserError(
                f"{path}: lists {part.path}, which is not beside it, so a copy of the "
                "list would not find a copy of that; give the files of the experts "
                "instead, and a directory for the copies"
            )
        targets[part.path] = out.parent / name
    for ending in _BY_ENDING:
        if (path.suffix == ending) != (out.suffix == ending):
            raise UserError(
                f"{out}: a copy of {path} must end in {path.suffix or 'no dot'}, too"
            )
    if is_index(path) != is_index(out):
        raise UserError(f"{out}: a copy of {path} must end in .index.json, too")
    return targets


def _remarks(checkpoint: Checkpoint) -> list[str]:
    """Says what of a checkpoint stays though one may not expect it."""
    lines = []
    changed = {(part.path, part.form.weight_key) for part in checkpoint.parts}
    form = checkpoint.parts[0].form
    for path in dict.fromkeys(part.path for part in checkpoint.parts):
        tensors = read_contents(path).tensors
        key = next(key for where, key in changed if where == path)
        last = key.rpartition(".")[2]
        others = [
            shown(other)
            for other, tensor in tensors.items()
            if (path, other) not in changed
            and other.rpartition(".")[2] == last
            and tensor.shape == tensors[key].shape
            and not is_of_training(other)
        ]
        if others:
            some = ", ".join(others[:_MOST_LISTED])
            more = ", ..." if len(others) > _MOST_LISTED else ""
            lines.append(
                f"note: {path} has {count_of(len(others), 'more weight')} of that "
                f"shape, which stay as they are: {some}{more}; each is changed by its "
                "own key"
            )
    if form.transposed and form.bias_key is None and not form.normalized:
        lines.append(
            f"note: {shown(form.weight_key)} is stored as layers store it that "
            "normalize it when it is used (NormedLinear of LDAM): in such a layer the "
            "corrected rows lose their lengths, and predictions are others"
        )
    return lines
