"""From the original's files to plain arrays.

What is read, for every group of samples: all files `<group>*.pkl` of the feature
directory, stacked in the order of their names (or one `<group>.npz` or
`<group>.safetensors`); and one classifier file, linear or combined.

What is written, at the same relative paths under another root:

    <feature_files_dir>/<group>.npy           (n, d) float32 or float16, to be mapped
    <feature_files_dir>/<group>_labels.npy    (n,) int32
    <classifier_file less its suffix>.npz     weight (C, d), bias (C,), float32
    <split_files_dir>/*.txt, <label_names_file>, <synsets_file>   as they are

and beside the arrays a `.json` that records the files they were made of. The same
registry therefore serves both roots. Converting again does nothing while sources and
outputs are unchanged, and either all files are written or none.
"""

import dataclasses
import glob
import hashlib
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax import files
from alphanet_jax.data import checks, safetensors, torch_files
from alphanet_jax.data.registry import LOADERS, DatasetEntry
from alphanet_jax.errors import UserError

__all__ = [
    "CACHE_NAME",
    "FEATURE_DTYPES",
    "ArrayPaths",
    "Classifier",
    "Report",
    "cache_roots",
    "convert_dataset",
    "ensure_converted",
    "find_path",
    "known_hashes",
    "load_classifier",
    "read_classifier",
    "read_label_names",
    "read_splits",
    "split_paths",
    "synsets_path",
]

FEATURE_DTYPES = ("source", "float32", "float16")
CACHE_NAME = "alphanet_jax_cache"

Report = Callable[[str], None]

_LINEAR = "LinearClassifierLoader"
_SPLITS = ("few", "medium", "many")
_CLASS_NUMBER = re.compile("-?[0-9]{1,18}", re.ASCII)
_FORMAT = 1  # of the records
_MAX_CLASSIFIERS = 256  # files of a combined classifier
_PROGRESS_SECONDS = 2.0


# --- Where things are -----------------------------------------------------------------


class ArrayPaths(NamedTuple):
    """The converted files of one group of samples."""

    features: Path
    labels: Path
    record: Path


def _inside(name: str) -> Path:
    """Makes a path of the registry one that stays below any root."""
    path = Path(name)
    return Path(*(part for part in path.parts if part not in ("..", path.anchor)))


def find_path(root: Path, name: str) -> Path:
    """Follows a path of the registry: as it is, or to where it was converted to."""
    path, inside = root / name, root / _inside(name)
    return inside if os.path.exists(inside) and not os.path.exists(path) else path


def _array_paths(directory: Path, group: str) -> ArrayPaths:
    return ArrayPaths(
        directory / f"{group}.npy",
        directory / f"{group}_labels.npy",
        directory / f"{group}.json",
    )


def _group_sources(entry: DatasetEntry, data_root: Path, group: str) -> list[Path]:
    """Lists the original's files of a group, in the order of their rows."""
    if not group or Path(group).name != group:
        raise UserError(f"groups of samples must have plain names, got {group!r}")
    directory = data_root / entry.feature_files_dir
    if shards := sorted(directory.glob(f"{glob.escape(group)}*.pkl")):
        return shards
    single = [directory / f"{group}{suffix}" for suffix in (".npz", ".safetensors")]
    return [path for path in single if os.path.exists(path)][:1]


def synsets_path(entry: DatasetEntry, data_root: Path) -> Path | None:
    """Names the file of the classes' WordNet ids; None where the entry has none."""
    return find_path(data_root, entry.synsets_file) if entry.synsets_file else None


def split_paths(entry: DatasetEntry, data_root: Path) -> dict[str, Path]:
    """Names the files of the class ids of 'few', 'medium' and 'many'."""
    directory = find_path(data_root, entry.split_files_dir)
    return {split: directory / f"{split}.txt" for split in _SPLITS}


# --- Reading --------------------------------------------------------------------------


def read_splits(entry: DatasetEntry, data_root: Path) -> dict[str, np.ndarray]:
    """Reads the class ids of 'few', 'medium' and 'many', in ascending order.

    Raises:
      UserError: If a file is missing or a line is not a number.
    """
    splits = {}
    for split, path in split_paths(entry, data_root).items():
        classes = []
        for number, line in enumerate(files.read_lines(path), start=1):
            if not line.strip():
                continue
            if not _CLASS_NUMBER.fullmatch(line.strip()):
                raise UserError(
                    f"{path}:{number}: expected one class number a line, "
                    f"got {_quote(line.strip())}"
                )
            classes.append(int(line))
        splits[split] = np.sort(np.asarray(classes, np.int64))
    return splits


def read_label_names(
    entry: DatasetEntry, data_root: Path, *, num_classes: int
) -> tuple[str, ...] | None:
    """Reads the class names in label order; None if the dataset has no such file.

    Raises:
      UserError: If there is not one name for every class.
    """
    if entry.label_names_file is None:
        return None
    path = find_path(data_root, entry.label_names_file)
    names = tuple(line.strip() for line in files.read_lines(path) if line.strip())
    if len(names) != num_classes:
        raise UserError(f"{path}: {len(names)} names for {num_classes} classes")
    return names


def _load_content(path: Path) -> Any:
    if path.suffix == ".npz":
        return files.open_npz(path)
    if path.suffix == ".safetensors":
        return safetensors.load(path)
    return torch_files.load(path)


class Classifier(NamedTuple):
    """A linear classifier in float32."""

    weight: np.ndarray  # shape=(C, d)
    bias: np.ndarray  # shape=(C,)
    sources: dict[Path, str | None]  # files read, with dtypes; a list of files: None


def read_classifier(entry: DatasetEntry, data_root: Path) -> Classifier:
    """Reads the classifier of a dataset, or what it was converted to.

    Raises:
      UserError: If a file is missing, not of the loader's form or not finite.
    """
    path = find_path(data_root, entry.classifier_file)
    converted = find_path(data_root, str(_plain_classifier(entry.classifier_file)))
    if os.path.exists(converted) and not os.path.exists(path):
        return load_classifier(converted, _LINEAR)
    return load_classifier(path, entry.classifier_loader)


def _plain_classifier(name: str) -> Path:
    path = Path(name)
    return path.parent / f"{path.stem}.npz"


def load_classifier(path: Path, loader: str) -> Classifier:
    """Reads a classifier; several experts become the one that equals their mean.

    Experts see their own features, side by side, so the mean of their logits is that
    of the weights `[W_1 .. W_m] / m` with the mean bias.

    Args:
      path: File of a dict `weight`, `bias`; or, for the combined loader, of a list
        of dicts `classifier_loader`, `classifier_file` with paths relative to it.
      loader: Name in `registry.LOADERS`.

    Returns:
      The classifier.

    Raises:
      UserError: If a file is missing, not of the loader's form or not finite.
    """
    return _load_classifier(path, loader, (), itertools.count(1))


def _load_classifier(
    path: Path, loader: str, above: tuple[Path, ...], numbers: Iterator[int]
) -> Classifier:
    """Does what `load_classifier` does, and finds lists without end.

    Args:
      path: The file.
      loader: Name in `registry.LOADERS`.
      above: The combined classifiers that this one is part of.
      numbers: Counts the files.

    Returns:
      The classifier.
    """
    if loader not in LOADERS:
        raise UserError(
            f"{path}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {_quote(loader)}"
        )
    if path.resolve() in above:
        raise UserError(f"{path}: combined classifier lists itself")
    if next(numbers) > _MAX_CLASSIFIERS:
        raise UserError(
            f"{path}: a combined classifier may have {_MAX_CLASSIFIERS} files at most"
        )
    content = _load_content(path)
    if loader == _LINEAR:
        return _linear_classifier(path, content)
    experts: list[Classifier] = []
    for expert_loader, name in _listed(path, content):
        expert = _load_classifier(
            path.parent / name, expert_loader, (*above, path.resolve()), numbers
        )
        if experts and len(expert.weight) != len(experts[0].weight):
            raise UserError(
                f"{path.parent / name}: {len(expert.weight)} classes, but "
                f"{len(experts[0].weight)} in the first classifier of {path}"
            )
        experts.append(expert)
    weights, biases, sources = zip(*experts, strict=True)
    return Classifier(
        np.concatenate(weights, axis=1) / len(experts),
        np.mean(biases, axis=0),
        {path: None, **{p: dtype for read in sources for p, dtype in read.items()}},
    )


def _linear_classifier(path: Path, content: Any) -> Classifier:
    if not isinstance(content, dict) or not {"weight", "bias"} <= content.keys():
        raise UserError(
            f"{path}: expected a dict of 'weight' and 'bias', got {_describe(content)}"
        )
    weight, bias = content["weight"], content["bias"]
    if bias is None:
        bias = np.zeros(np.shape(weight)[:1], np.float32)
    for name, array in (("weight", weight), ("bias", bias)):
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"{path}: {name} must be a tensor or array, got {_describe(array)}"
            )
        if not checks.is_float(array.dtype):
            raise UserError(f"{path}: {name} must hold floats, got {array.dtype}")
    checks.check_classifier(str(path), weight, bias)
    return Classifier(
        np.asarray(weight, np.float32),
        np.asarray(bias, np.float32),
        {path: str(weight.dtype)},
    )


def _listed(path: Path, content: Any) -> list[tuple[str, str]]:
    """Reads the loaders and file names that a combined classifier lists."""
    if not isinstance(content, list | tuple) or not content:
        raise UserError(
            f"{path}: expected a list of dicts of 'classifier_loader' and "
            f"'classifier_file', got {_describe(content)}"
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
                f"'classifier_file', both text, got {_describe(item)}"
            )
        if not name.isprintable():
            raise UserError(f"{path}: item {index} has {_quote(name)} for a file name")
        listed.append((loader, name))
    return listed


def _describe(content: Any) -> str:
    """Says in a few words what was found where something else was expected."""
    if isinstance(content, dict):
        keys = [_quote(key) for key in list(content)[:6]]
        more = ", ..." if len(content) > len(keys) else ""
        return f"a dict of {', '.join(keys)}{more}" if keys else "an empty dict"
    if isinstance(content, list | tuple) and not content:
        return f"an empty {type(content).__name__}"
    return "None" if content is None else f"a {type(content).__name__}"


def _quote(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


class _Shard(NamedTuple):
    path: Path
    features: np.ndarray
    labels: np.ndarray
    note: str | None


def _read_shard(
    path: Path, *, num_classes: int, num_features: int, use_idxs: bool
) -> _Shard:
    content = _load_content(path)
    if not isinstance(content, dict) or not {"feats", "labels"} <= content.keys():
        raise UserError(
            f"{path}: expected a dict of 'feats' and 'labels', got {_describe(content)}"
        )
    features = content["feats"]
    if not isinstance(features, np.ndarray):
        raise UserError(
            f"{path}: feats must be a tensor or array, got {_describe(features)}"
        )
    checks.check_feature_shape(str(path), features, num_features=num_features)
    steps = zip(features.shape, features.strides, strict=True)
    if any(size > 1 and stride == 0 for size, stride in steps):
        # A small file could fill the disk.
        raise UserError(f"{path}: feats must not be an expanded tensor: clone it")
    labels = _as_array(content["labels"])
    checks.check_labels(
        str(path), labels, num_samples=len(features), num_classes=num_classes
    )
    labels, note = labels.astype(np.int32), None
    if use_idxs and content.get("idxs") is not None:
        labels, note = _apply_idxs(labels, _as_array(content["idxs"]))
    return _Shard(path, features, labels, note)


def _as_array(values: Any) -> np.ndarray:
    """Makes an array of a sequence; of one that is none, an array of no use."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        return np.asarray(None)


def _apply_idxs(labels: np.ndarray, idxs: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Follows the documented meaning: labels[i] is the label of feats[idxs[i]]."""
    in_order = np.arange(len(labels))
    if idxs.dtype.kind in "iu" and idxs.shape == labels.shape:
        if np.array_equal(idxs, in_order):
            return labels, None
        if np.array_equal(np.sort(idxs), in_order):
            reordered = np.empty_like(labels)
            reordered[idxs] = labels
            return reordered, (
                "idxs is not in order: labels[i] was given to feats[idxs[i]]; "
                "--ignore_idxs takes labels row by row"
            )
    return labels, (
        f"idxs does not number the {len(labels)} rows of this file: labels were taken "
        "row by row"
    )


# --- Records --------------------------------------------------------------------------


def _note_files(
    paths: Sequence[Path], hashes: Mapping[Path, str]
) -> list[dict[str, Any]]:
    """Notes of files what tells later whether they are still the same."""
    stats = [path.stat() for path in paths]
    return [
        {
            # Further files of a combined classifier may be in other directories.
            "name": os.path.relpath(path, paths[0].parent),
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
            "sha256": hashes[path],
        }
        for path, stat in zip(paths, stats, strict=True)
    ]


class _Record(NamedTuple):
    """What was noted of a conversion."""

    options: dict[str, Any]
    outputs: list[dict[str, Any]]
    sources: list[dict[str, Any]]


def _read_record(path: Path) -> _Record:
    """Reads a record; one that cannot be read says nothing."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise ValueError
        outputs, sources = (
            [dict(x) for x in record[k]] for k in ("outputs", "sources")
        )
        return _Record(dict(record["options"]), outputs, sources)
    except (OSError, ValueError, TypeError, KeyError):
        return _Record({}, [], [])


def _known_hash(path: Path, noted: Mapping[str, Any]) -> str | None:
    """Takes a file's hash from what was noted, if size and time are still the same."""
    if not path.is_file():
        return None
    stat = path.stat()
    same = (stat.st_size, stat.st_mtime_ns) == (
        noted.get("size"),
        noted.get("mtime_ns"),
    )
    return noted.get("sha256") if same else None


def _unchanged(paths: Sequence[Path], noted: Sequence[Mapping[str, Any]]) -> bool:
    """Tells whether files have the names and the content that were noted."""
    return len(paths) == len(noted) and all(
        path.is_file()
        and item.get("name") == os.path.relpath(path, paths[0].parent)
        and item.get("size") == path.stat().st_size
        # Same size and time: not read again. Otherwise the content decides.
        and item.get("sha256") == (_known_hash(path, item) or files.file_sha256(path))
        for path, item in zip(paths, noted, strict=True)
    )


def _is_fresh(
    record_path: Path,
    outputs: Sequence[Path],
    sources: Sequence[Path],
    options: dict[str, Any] | None = None,
) -> bool:
    """Tells whether outputs exist that were made of just these sources.

    Args:
      record_path: Where the conversion was recorded.
      outputs: The files made.
      sources: The files they should be made of.
      options: What the conversion should have been told; None accepts any.
    """
    record = _read_record(record_path)
    return (
        (options is None or record.options == options)
        and _unchanged(outputs, record.outputs)
        and _unchanged(sources, record.sources)
    )


def known_hashes(paths: ArrayPaths) -> dict[Path, str]:
    """Takes the hashes of converted files from their record.

    Returns:
      SHA-256 by path, of those files that were not touched since they were recorded.
    """
    noted = {item.get("name"): item for item in _read_record(paths.record).outputs}
    hashes = {
        path: _known_hash(path, noted.get(path.name, {}))
        for path in (paths.features, paths.labels)
    }
    return {path: sha256 for path, sha256 in hashes.items() if sha256}


# --- Converting -----------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Job:
    """One conversion of a dataset: what it reads, where it writes, what it says."""

    entry: DatasetEntry
    data_root: Path
    out_root: Path
    feature_dtype: str
    use_idxs: bool
    report: Report
    place: Callable[[Path], Path]

    def shown(self, path: Path) -> str:
        """Names a path as a person would, from the root it is under."""
        for root in (self.data_root, self.out_root):
            if path.is_relative_to(root):
                return str(path.relative_to(root))
        return str(path)

    def write_record(
        self,
        path: Path,
        *,
        outputs: Sequence[Path],
        sources: Mapping[Path, str | None],
        options: dict[str, Any],
        notes: Sequence[str],
    ) -> None:
        """Writes the record of a conversion, and reports it.

        Args:
          path: Where the record goes.
          outputs: The files made, where they are now.
          sources: The files they were made of, with their dtypes.
          options: What the conversion was told.
          notes: What a person should know.
        """
        hashes = files.file_hashes([*sources, *outputs])
        noted = _note_files(list(sources), hashes)
        for item, (source, dtype) in zip(noted, sources.items(), strict=True):
            item["dtype"] = dtype
            self.report(
                f"  {self.shown(source)}: {dtype or 'list'}, {item['size']:,} bytes, "
                f"sha256 {item['sha256'][:12]}"
            )
        record = {
            "format": _FORMAT,
            "options": options,
            "outputs": _note_files(outputs, hashes),
            "sources": noted,
            "notes": list(notes),
        }
        text = json.dumps(record, indent=1) + "\n"
        self.place(path).write_text(text, encoding="utf-8")


def _write_features(
    path: Path, shards: Sequence[_Shard], dtype: np.dtype, job: _Job
) -> bool:
    """Copies shards into one `.npy`, a chunk at a time; tells if digits were lost."""
    num_samples = sum(len(shard.features) for shard in shards)
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (num_samples, shards[0].features.shape[1]),
    }
    lossy = False
    written = 0
    spoken = time.monotonic()
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for shard in shards:
            for start, chunk in checks.row_chunks(shard.features):
                checks.check_finite(
                    str(shard.path), chunk, dtype=dtype, first_row=start
                )
                cast = np.ascontiguousarray(chunk, dtype)
                if not lossy and not np.can_cast(chunk.dtype, dtype):
                    lossy = not np.array_equal(cast.astype(chunk.dtype), chunk)
                file.write(cast.data)
                written += len(chunk)
                if time.monotonic() - spoken > _PROGRESS_SECONDS:
                    spoken = time.monotonic()
                    job.report(
                        f"  {job.shown(shard.path)}: {100 * written // num_samples}%"
                    )
    return lossy


def _convert_group(
    job: _Job, group: str, *, num_classes: int, num_features: int
) -> None:
    sources = _group_sources(job.entry, job.data_root, group)
    if not sources:
        raise UserError(
            f"{job.data_root / job.entry.feature_files_dir}: nothing to convert for "
            f"group {group!r}; expected {group}*.pkl, {group}.npz or "
            f"{group}.safetensors"
        )
    paths = _array_paths(job.out_root / _inside(job.entry.feature_files_dir), group)
    options = {
        "feature_dtype": job.feature_dtype,
        "use_idxs": job.use_idxs,
        # Another classifier may not fit: check again.
        "num_classes": num_classes,
        "num_features": num_features,
    }
    if _is_fresh(paths.record, [paths.features, paths.labels], sources, options):
        job.report(f"  {group}: unchanged, {job.shown(paths.features)}")
        return
    shards = [
        _read_shard(
            path,
            num_classes=num_classes,
            num_features=num_features,
            use_idxs=job.use_idxs,
        )
        for path in sources
    ]
    if job.feature_dtype == "source":
        all_half = all(shard.features.dtype == np.float16 for shard in shards)
        dtype = np.dtype(np.float16 if all_half else np.float32)
    else:
        dtype = np.dtype(job.feature_dtype)
    outputs = [job.place(paths.features), job.place(paths.labels)]
    lossy = _write_features(outputs[0], shards, dtype, job)
    labels = np.concatenate([shard.labels for shard in shards])
    np.save(outputs[1], labels, allow_pickle=False)
    notes = [f"{job.shown(shard.path)}: {shard.note}" for shard in shards if shard.note]
    if lossy:
        notes.append(f"values were rounded to {dtype}")
    job.write_record(
        paths.record,
        outputs=outputs,
        sources={s.path: str(s.features.dtype) for s in shards},
        options=options,
        notes=notes,
    )
    shape = f"{len(labels)} x {num_features}"
    job.report(f"  -> {job.shown(paths.features)}: {shape} {dtype}")
    for note in notes:
        job.report(f"  note: {note}")


def _convert_classifier(job: _Job) -> tuple[int, int]:
    """Writes the classifier in plain form; returns the shape of its weight."""
    weight, bias, sources = read_classifier(job.entry, job.data_root)
    path = job.out_root / _inside(str(_plain_classifier(job.entry.classifier_file)))
    record = path.with_suffix(".json")
    num_classes, num_features = weight.shape
    if path.exists() and any(path.samefile(source) for source in sources):
        job.report(f"  classifier: {job.shown(path)} is in plain form")
    elif _is_fresh(record, [path], list(sources)):
        job.report(f"  classifier: unchanged, {job.shown(path)}")
    else:
        output = job.place(path)
        files.write_npz(output, {"weight": weight, "bias": bias})
        job.write_record(
            record, outputs=[output], sources=sources, options={}, notes=[]
        )
        shape = f"{num_classes} classes x {num_features}"
        job.report(f"  -> {job.shown(path)}: {shape}")
    return num_classes, num_features


def _copy_texts(job: _Job) -> None:
    copies = {
        path: job.out_root / _inside(job.entry.split_files_dir) / path.name
        for path in split_paths(job.entry, job.data_root).values()
    }
    if name := job.entry.label_names_file:
        copies[find_path(job.data_root, name)] = job.out_root / _inside(name)
    # Reports alone need these ids, and the data may have come without them.
    ids = synsets_path(job.entry, job.data_root)
    if job.entry.synsets_file and ids is not None and ids.is_file():
        copies[ids] = job.out_root / _inside(job.entry.synsets_file)
    for source, path in copies.items():
        content = source.read_bytes()
        if not path.is_file() or path.read_bytes() != content:
            job.place(path).write_bytes(content)
            job.report(f"  -> {job.shown(path)}")


def convert_dataset(
    entry: DatasetEntry,
    data_root: Path,
    out_root: Path,
    *,
    groups: Sequence[str] | None = None,
    feature_dtype: str = "source",
    use_idxs: bool = True,
    report: Report = lambda line: None,
) -> None:
    """Turns a dataset into plain arrays; all checks come before any file appears.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to.
      out_root: The same for the converted files.
      groups: Groups to convert; by default all of the entry.
      feature_dtype: One of `FEATURE_DTYPES`; 'source' keeps float16 and makes
        everything else float32.
      use_idxs: Whether labels follow `idxs` (their documented meaning) or rows.
      report: Takes a line of text for each file.

    Raises:
      UserError: If a file is missing, damaged, not right or cannot be written;
        nothing is written then.
    """
    if feature_dtype not in FEATURE_DTYPES:
        raise UserError(
            f"feature_dtype must be one of {', '.join(FEATURE_DTYPES)}, "
            f"got {feature_dtype!r}"
        )
    groups = tuple(dict.fromkeys(entry.datagrps if groups is None else groups))
    if not groups:
        raise UserError(f"dataset {entry.name!r}: no groups of samples to convert")
    report(f"{entry.name}: {data_root} -> {out_root}")
    try:
        splits = read_splits(entry, data_root)
        with files.staging(out_root) as place:
            job = _Job(
                entry, data_root, out_root, feature_dtype, use_idxs, report, place
            )
            num_classes, num_features = _convert_classifier(job)
            checks.check_splits(
                str(find_path(data_root, entry.split_files_dir)),
                splits,
                num_classes=num_classes,
            )
            read_label_names(entry, data_root, num_classes=num_classes)
            for group in groups:
                _convert_group(
                    job, group, num_classes=num_classes, num_features=num_features
                )
            _copy_texts(job)
    except OSError as error:
        path = error.filename2 or error.filename or out_root
        raise UserError(f"{path}: {error.strerror or error}") from None


def cache_roots(data_root: Path) -> list[Path]:
    """Names the places for converted data: beside it, or else the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(str(data_root.resolve()).encode()).hexdigest()[:16]
    return [data_root / CACHE_NAME, Path(home, "alphanet_jax", "converted", digest)]


def ensure_converted(
    entry: DatasetEntry,
    data_root: Path,
    groups: Sequence[str],
    *,
    report: Report = lambda line: None,
) -> dict[str, ArrayPaths]:
    """Finds the converted form of groups of samples, or makes it in a cache.

    The cache is `CACHE_NAME` in `data_root`, or a place in the user's cache if that
    cannot be written to.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to; the original's files, converted
        ones, or both.
      groups: Groups that are needed.
      report: Takes a line of text for each file that is converted.

    Returns:
      The files of each group.

    Raises:
      UserError: If files are missing, damaged or not right.
    """
    caches = cache_roots(data_root)
    inside = _inside(entry.feature_files_dir)

    def find(group: str) -> ArrayPaths | None:
        sources = _group_sources(entry, data_root, group)
        here = [data_root / entry.feature_files_dir, data_root / inside]
        if not sources:  # a converted dataset on its own
            for directory in here:
                paths = _array_paths(directory, group)
                if os.path.exists(paths.features):
                    return paths
            raise UserError(
                f"{here[0]}: no features of group {group!r}; expected {group}*.pkl, "
                f"{group}.npz, {group}.safetensors or {group}.npy"
            )
        for directory in (*here, *(cache / inside for cache in caches)):
            paths = _array_paths(directory, group)
            if _is_fresh(paths.record, [paths.features, paths.labels], sources):
                return paths
        return None

    found: dict[str, ArrayPaths] = {}
    missing = []
    for group in groups:
        if paths := find(group):
            found[group] = paths
        else:
            missing.append(group)
    if missing:
        cache = next(filter(files.is_writable, caches), caches[-1])
        report(f"converting on first use, into {cache}")
        convert_dataset(entry, data_root, cache, groups=missing, report=report)
        found |= {group: _array_paths(cache / inside, group) for group in missing}
    return found
