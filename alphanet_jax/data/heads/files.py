"""Reads linear heads from files: one, or experts that a file lists.

Notation: C classes, d feature dimensions.
"""

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from alphanet_jax.data.contents import brief, describe
from alphanet_jax.data.heads.contents import Contents, is_index, read_contents
from alphanet_jax.data.heads.finding import find_head
from alphanet_jax.data.heads.forms import FoundHead, Sides, TensorInfo
from alphanet_jax.data.heads.reading import mean_of_experts
from alphanet_jax.data.registry import LINEAR, LOADERS
from alphanet_jax.errors import UserError

__all__ = ["HeadFile", "list_tensors", "read_head", "read_path"]

_MAX_FILES: Final = 256  # of experts


class HeadFile(NamedTuple):
    """A head, and the files that it was read from."""

    head: FoundHead
    sources: dict[Path, str | None]  # with dtypes; a list of files: None


@dataclasses.dataclass(frozen=True)
class _Request:
    """What is looked for in every file."""

    key: str
    sides: Callable[[], Sides]
    normalize: bool
    numbers: Iterator[int]  # counts files


def read_head(
    path: str | os.PathLike[str],
    *,
    key: str = "",
    num_features: int | None = None,
    num_classes: int | None = None,
    normalize: bool = False,
) -> FoundHead:
    """Reads the linear head of a checkpoint.

    Args:
      path: The file.
      key: The key of its weight through nested dicts, joined by dots, or what is enough
        of it: `state_dict_best.classifier.module.fc`, `classifier.fc`. Empty if one
        tensor alone can be it.
      num_features: Number of features d, if it is known.
      num_classes: Number of classes C, if it is known.
      normalize: Whether the row of every class is to be normalized, as heads do that
        normalize their weight when they are used.

    Returns:
      The head.

    Raises:
      UserError: If the file cannot be read, no tensor fits, or several do; these are
        listed then, a line each.

    Examples:
      >>> import tempfile
      >>> import numpy as np
      >>> path = os.path.join(tempfile.mkdtemp(), "probe.npz")
      >>> np.savez(path, coef_=np.eye(3, 4), intercept_=np.ones(3))
      >>> head = read_head(path, num_features=4)
      >>> head.weight.shape, head.bias.tolist(), head.forms[0].weight_key
      ((3, 4), [1.0, 1.0, 1.0], 'coef_')
    """
    sides = Sides(num_features, num_classes)
    return read_path(Path(path), key=key, sides=lambda: sides, normalize=normalize).head


def read_path(
    path: Path,
    *,
    key: str = "",
    sides: Callable[[], Sides] = lambda: Sides(None, None),
    normalize: bool = False,
    loader: str = LINEAR,
) -> HeadFile:
    """Reads a head as `read_head` does, and says from which files.

    Args:
      path: The file; it may list experts in files of their own.
      key: See `read_head`; it is that of every expert.
      sides: Returns the numbers of features and classes, as far as they are known;
        called only where they are needed.
      normalize: See `read_head`.
      loader: Name in `registry.LOADERS`; with the combined one a file without tensors
        must list experts.

    Returns:
      The head and its files.

    Raises:
      UserError: See `read_head`.
    """
    request = _Request(key, functools.cache(sides), normalize, itertools.count(1))
    return _read(path, request, (), loader)


def list_tensors(path: str | os.PathLike[str]) -> list[TensorInfo]:
    """Lists the tensors in a file.

    Args:
      path: A file of any kind that `read_head` takes.

    Returns:
      The tensors in the order of the file, with their full keys.

    Raises:
      UserError: If the file cannot be read.
    """
    return [
        TensorInfo(tensor.key, tensor.shape, str(tensor.dtype))
        for tensor in read_contents(Path(path)).tensors.values()
    ]


def _read(
    path: Path, request: _Request, above: tuple[Path, ...], loader: str
) -> HeadFile:
    """Reads a head that is part of those `above`."""
    if loader not in LOADERS:
        raise UserError(
            f"{path}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {brief(loader)}"
        )
    if path.resolve() in above:
        raise UserError(f"{path}: combined classifier lists itself")
    if next(request.numbers) > _MAX_FILES:
        raise UserError(
            f"{path}: a combined classifier may have {_MAX_FILES} files at most"
        )
    contents = read_contents(path)
    # A checkpoint may hold all the experts itself.
    if _is_list(contents.root) or (loader != LINEAR and not contents.tensors):
        return _read_experts(path, contents.root, request, above)
    head = find_head(
        contents, key=request.key, sides=request.sides, normalize=request.normalize
    )
    return HeadFile(head, _sources(contents, head))


def _sources(contents: Contents, head: FoundHead) -> dict[Path, str | None]:
    """Lists the files that a head was read from."""
    sources: dict[Path, str | None] = {}
    if is_index(contents.path):
        sources[contents.path] = None
    for form in head.forms:
        used = (form.weight_key, form.bias_key, form.scales_key, form.gain_key)
        for key in filter(None, used):
            sources.setdefault(contents.tensors[key].source, form.dtype)
    return sources


def _is_list(root: Any) -> bool:
    """Returns whether an object lists experts in files of their own."""
    return (
        isinstance(root, list | tuple)
        and bool(root)
        and all(isinstance(item, dict) and "classifier_file" in item for item in root)
    )


def _read_experts(
    path: Path, root: Any, request: _Request, above: tuple[Path, ...]
) -> HeadFile:
    """Reads the experts that a file lists."""
    # How many features each takes is not known, only how many all of them do.
    num_features, num_classes = request.sides()
    heads: list[FoundHead] = []

    def sides_of_one() -> Sides:
        return Sides(None, len(heads[0].weight) if heads else num_classes)

    of_one = dataclasses.replace(request, sides=sides_of_one)
    sources: dict[Path, str | None] = {path: None}
    nested = False
    for loader, name in _listed(path, root):
        read = _read(path.parent / name, of_one, (*above, path.resolve()), loader)
        head = read.head
        if heads and len(head.weight) != len(heads[0].weight):
            raise UserError(
                f"{path.parent / name}: {len(head.weight)} classes, but "
                f"{len(heads[0].weight)} in the first classifier of {path}"
            )
        nested |= len(head.forms) != 1
        forms = tuple(dataclasses.replace(form, file=name) for form in head.forms)
        remarks = tuple(f"{name}: {remark}" for remark in head.remarks)
        heads.append(head._replace(forms=forms, remarks=remarks))
        sources |= read.sources
    widths = {head.weight.shape[1] for head in heads}
    shared = len(heads) > 1 and widths == {num_features}
    made = mean_of_experts(heads, shares_features=shared, what=f"those of {path.name}")
    if nested:  # how much of it is whose is not in the forms
        made = made._replace(forms=())
    return HeadFile(made, sources)


def _listed(path: Path, content: Any) -> list[tuple[str, str]]:
    """Reads the loaders and file names that a combined classifier lists."""
    if not isinstance(content, list | tuple) or not content:
        raise UserError(
            f"{path}: expected a list of dicts of 'classifier_loader' and "
            f"'classifier_file', got {describe(content)}"
        )
    listed = []
    for index, item in enumerate(content):
        loader, name = (
            (item.get("classifier_loader"), item.get("classifier_file"))
            if isinstance(item, dict)
            else (None, None)
        )
        if not isinstance(loader, str) or not isinstance(name, str):
            raise UserError(
                f"{path}: item {index} must be a dict of 'classifier_loader' and "
                f"'classifier_file', both text, got {describe(item)}"
            )
        if not name.isprintable():
            raise UserError(f"{path}: item {index} has {brief(name)} for a file name")
        listed.append((loader, name))
    return listed
