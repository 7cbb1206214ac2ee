"""From the original's files to plain arrays.

What is read, for every group of samples: all files `<group>*.pkl` of the feature
directory, stacked in the order of their names (or one `<group>.npz` or
`<group>.safetensors`); and one classifier file, linear or combined.

What is written, at the same relative paths under another root:

    <feature_files_dir>/<group>.npy           (n, d) float32 or float16, to be mapped
    <feature_files_dir>/<group>_labels.npy    (n,) int32
    <classifier_file less its suffix>.npz     weight (C, d), bias (C,), float32
    <split_files_dir>/*.txt, <label_names_file>   as they are

and beside the arrays a `.json` that records the files they were made of. The same
registry therefore serves both roots. Converting again does nothing while sources and
outputs are unchanged, and either all files are written or none.
"""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from alphanet_jax import checks, files, torch_files
from alphanet_jax.errors import UserError
from alphanet_jax.registry import LOADERS, DatasetEntry

__all__ = [
    "CACHE_NAME",
    "FEATURE_DTYPES",
    "ArrayPaths",
    "Report",
    "array_paths",
    "convert_dataset",
    "ensure_converted",
    "load_classifier",
    "read_label_names",
    "read_splits",
]

FEATURE_DTYPES = ("source", "float32", "float16")
CACHE_NAME = "alphanet_jax_cache"

Report = Callable[[str], None]

_PATHS = ("_dir", "_file")  # how the names of path fields end
_FORMAT = 1  # of the records
_MAX_NESTING = 8  # of combined classifiers
_PROGRESS_SECONDS = 2.0


# --- Where things are -----------------------------------------------------------------


class ArrayPaths(NamedTuple):
    """The converted files of one group, or of the classifier."""

    data: Path  # <group>.npy, or the classifier's .npz
    labels: Path | None  # <group>_labels.npy
    record: Path


def _mirrored(entry: DatasetEntry) -> DatasetEntry:
    """Makes absolute paths and those with `..` relative, to stay below a new root."""

    def inside(relative: str | None) -> str | None:
        if relative is None:
            return None
        path = Path(relative)
        return str(Path(*(p for p in path.parts if p not in ("..", path.anchor))))

    paths = [name for name in entry.__dataclass_fields__ if name.endswith(_PATHS)]
    changes: dict[str, Any] = {name: inside(getattr(entry, name)) for name in paths}
    return dataclasses.replace(entry, **changes)


def array_paths(entry: DatasetEntry, root: Path, group: str | None) -> ArrayPaths:
    """Names the converted files of a group, or of the classifier (`None`)."""
    if group is None:
        base = root / entry.classifier_file
        return ArrayPaths(base.with_suffix(".npz"), None, base.with_suffix(".json"))
    directory = root / entry.feature_files_dir
    return ArrayPaths(
        directory / f"{group}.npy",
        directory / f"{group}_labels.npy",
        directory / f"{group}.json",
    )


def _group_sources(entry: DatasetEntry, data_root: Path, group: str) -> list[Path]:
    directory = data_root / entry.feature_files_dir
    if shards := sorted(directory.glob(f"{group}*.pkl")):
        return shards
    single = [directory / f"{group}{suffix}" for suffix in (".npz", ".safetensors")]
    return [path for path in single if path.exists()][:1]


# --- Reading --------------------------------------------------------------------------


def read_splits(entry: DatasetEntry, data_root: Path) -> dict[str, np.ndarray]:
    """Reads the class ids of 'few', 'medium' and 'many', in ascending order.

    Raises:
      UserError: If a file is missing or a line is not a number.
    """
    splits = {}
    for split in ("few", "medium", "many"):
        path = data_root / entry.split_files_dir / f"{split}.txt"
        classes = []
        for number, line in enumerate(_read_lines(path), start=1):
            if not line.strip():
                continue
            try:
                classes.append(int(line))
            except ValueError:
                raise UserError(
                    f"{path}:{number}: expected one class number a line, "
                    f"got {line.strip()!r}"
                ) from None
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
    path = data_root / entry.label_names_file
    names = tuple(line.strip() for line in _read_lines(path) if line.strip())
    if len(names) != num_classes:
        raise UserError(f"{path}: {len(names)} names for {num_classes} classes")
    return names


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a UTF-8 text file") from None


def _load_mapping(path: Path) -> Any:
    if path.suffix == ".npz":
        return files.open_npz(path)
    if path.suffix == ".safetensors":
        return torch_files.read_safetensors(path)
    return torch_files.load(path)


def load_classifier(
    path: Path, loader: str
) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    """Reads a classifier; several experts become the one that equals their mean.

    Experts see their own features, side by side, so the mean of their logits is that
    of the weights `[W_1 .. W_m] / m` with the mean bias.

    Args:
      path: File of a dict `weight`, `bias`; or, for the combined loader, of a list
        of dicts `classifier_loader`, `classifier_file` with paths relative to it.
      loader: Name in `registry.LOADERS`.

    Returns:
      The weight, with shape `[C, d]`, the bias, with shape `[C]`, and all files read.

    Raises:
      UserError: If a file is not of the loader's form or not finite.
    """
    return _load_classifier(path, loader, _MAX_NESTING)


def _load_classifier(
    path: Path, loader: str, depth: int
) -> tuple[np.ndarray, np.ndarray, list[Path]]:
    if loader not in LOADERS:
        raise UserError(
            f"{path}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {loader!r}"
        )
    if depth == 0:
        raise UserError(
            f"{path}: combined classifiers nest deeper than {_MAX_NESTING} levels"
        )
    content = _load_mapping(path)
    if loader == "LinearClassifierLoader":
        if not isinstance(content, dict) or not {"weight", "bias"} <= content.keys():
            raise UserError(
                f"{path}: expected a dict of 'weight' and 'bias', got "
                f"{_describe(content)}"
            )
        weight = _as_floats(path, "weight", content["weight"])
        # Broadcasting a missing bias would hide a weight of the wrong rank.
        bias = (
            np.zeros(np.shape(weight)[:1], np.float32)
            if content["bias"] is None
            else _as_floats(path, "bias", content["bias"])
        )
        checks.check_classifier(str(path), weight, bias)
        return weight, bias, [path]
    if not isinstance(content, list | tuple) or not content:
        raise UserError(
            f"{path}: expected a list of dicts of 'classifier_loader' and "
            f"'classifier_file', got {_describe(content)}"
        )
    weights: list[np.ndarray] = []
    biases: list[np.ndarray] = []
    sources = [path]
    for index, item in enumerate(content):
        keys = ("classifier_loader", "classifier_file")
        if not isinstance(item, dict) or not all(
            isinstance(item.get(key), str) for key in keys
        ):
            raise UserError(
                f"{path}: item {index} must be a dict of 'classifier_loader' and "
                f"'classifier_file', both text, got {_describe(item)}"
            )
        weight, bias, read = _load_classifier(
            path.parent / item["classifier_file"], item["classifier_loader"], depth - 1
        )
        if weights and len(weight) != len(weights[0]):
            raise UserError(
                f"{read[0]}: {len(weight)} classes, but {len(weights[0])} in the first "
                f"classifier of {path}"
            )
        weights.append(weight)
        biases.append(bias)
        sources += read
    return np.concatenate(weights, axis=1) / len(weights), np.mean(biases, 0), sources


def _as_floats(path: Path, name: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise UserError(f"{path}: {name} must be a tensor, got {type(value).__name__}")
    try:
        return np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise UserError(
            f"{path}: {name} must hold numbers, got {value.dtype}"
        ) from None


def _describe(content: Any) -> str:
    if isinstance(content, dict):
        keys = [repr(key) for key in content][:6]
        more = ", ..." if len(content) > len(keys) else ""
        return f"a dict of {', '.join(keys)}{more}" if keys else "an empty dict"
    return f"a {type(content).__name__}"


class _Shard(NamedTuple):
    path: Path
    features: np.ndarray
    labels: np.ndarray
    notes: tuple[str, ...]


def _read_shard(
    path: Path, *, num_classes: int, num_features: int, use_idxs: bool
) -> _Shard:
    content = _load_mapping(path)
    if not isinstance(content, dict) or not {"feats", "labels"} <= content.keys():
        raise UserError(
            f"{path}: expected a dict of 'feats' and 'labels', got {_describe(content)}"
        )
    features = content["feats"]
    if not isinstance(features, np.ndarray):
        raise UserError(
            f"{path}: feats must be a tensor or array, got {type(features).__name__}"
        )
    checks.check_feature_shape(str(path), features, num_features=num_features)
    try:
        labels = np.asarray(content["labels"])
    except ValueError:
        raise UserError(f"{path}: labels must be a list of integers") from None
    checks.check_labels(
        str(path), labels, num_samples=len(features), num_classes=num_classes
    )
    labels = labels.astype(np.int32)
    notes: tuple[str, ...] = ()
    if content.get("idxs") is not None and use_idxs:
        labels, note = _apply_idxs(path, labels, content["idxs"])
        notes = (note,) if note else ()
    return _Shard(path, features, labels, notes)


def _apply_idxs(
    path: Path, labels: np.ndarray, idxs: Any
) -> tuple[np.ndarray, str | None]:
    """Follows the documented meaning: labels[i] is the label of feats[idxs[i]]."""
    idxs = np.asarray(idxs)
    if idxs.shape != labels.shape or idxs.dtype.kind not in "iu":
        raise UserError(
            f"{path}: idxs must hold one integer for each of the {len(labels)} labels, "
            f"got {idxs.dtype} of shape {idxs.shape}"
        )
    in_order = np.arange(len(labels))
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


def _source_record(path: Path, dtype: str) -> dict[str, Any]:
    stat = path.stat()
    return {
        "name": path.name,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256": files.file_sha256(path),
        "dtype": dtype,
    }


def _read_record(path: Path) -> dict[str, Any]:
    """Reads a record; one that cannot be read says nothing."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(record, dict) and record.get("format") == _FORMAT
    return record if good else {}


def _same_file(path: Path, recorded: dict[str, Any]) -> bool:
    stat = path.stat()
    if path.name != recorded.get("name") or stat.st_size != recorded.get("size"):
        return False
    # Same size and time: not read again. Otherwise the content decides.
    if stat.st_mtime_ns == recorded.get("mtime_ns"):
        return True
    return files.file_sha256(path) == recorded.get("sha256")


def _is_fresh(
    paths: ArrayPaths, sources: Sequence[Path], options: dict[str, Any] | None
) -> bool:
    """Tells whether outputs exist that were made of just these sources.

    Args:
      paths: The outputs.
      sources: Files of the first level (a combined classifier's own file).
      options: What the conversion was told; None accepts any.
    """
    outputs = [path for path in (paths.data, paths.labels) if path is not None]
    if not all(path.exists() for path in outputs):
        return False
    if not sources:  # a converted dataset on its own
        return True
    record = _read_record(paths.record)
    if options is not None and record.get("options") != options:
        return False
    if record.get("outputs") != {path.name: path.stat().st_size for path in outputs}:
        return False
    recorded = record.get("sources", [])
    # Further files of a combined classifier are named relative to the first.
    known = {item.get("path"): item for item in recorded}
    first = sources[0].parent
    every = [first / item.get("path", "") for item in recorded]
    return (
        {os.path.relpath(path, first) for path in sources} <= known.keys()
        and (len(sources) == 1 or len(sources) == len(recorded))
        and all(
            path.is_file() and _same_file(path, item)
            for path, item in zip(every, recorded, strict=True)
        )
    )


def _write_record(
    path: Path,
    *,
    outputs: Sequence[Path],
    sources: Sequence[tuple[Path, str]],
    options: dict[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    first = sources[0][0].parent
    record = {
        "format": _FORMAT,
        "options": options,
        "outputs": {output.name: output.stat().st_size for output in outputs},
        "sources": [
            {"path": os.path.relpath(source, first), **_source_record(source, dtype)}
            for source, dtype in sources
        ],
        "notes": list(notes),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


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

    def out_paths(self, group: str | None) -> ArrayPaths:
        return array_paths(_mirrored(self.entry), self.out_root, group)

    def group_options(self) -> dict[str, Any]:
        return {"feature_dtype": self.feature_dtype, "use_idxs": self.use_idxs}

    def shown(self, path: Path) -> str:
        """Names a path as a person would, from the root it is under."""
        for root in (self.data_root, self.out_root):
            if path.is_relative_to(root):
                return str(path.relative_to(root))
        return str(path)


def _write_features(
    path: Path, shards: Sequence[_Shard], dtype: np.dtype, job: _Job
) -> bool:
    """Copies shards into one `.npy`, a chunk at a time; tells if digits were lost."""
    num_samples = sum(len(shard.features) for shard in shards)
    shape = (num_samples, shards[0].features.shape[1])
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    lossy = False
    written = 0
    spoken = time.monotonic()
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for shard in shards:
            for start, chunk in checks.row_chunks(shard.features):
                checks.check_finite(str(shard.path), chunk, first_row=start)
                with np.errstate(over="ignore"):
                    cast = np.ascontiguousarray(chunk, dtype)
                if dtype.itemsize < chunk.dtype.itemsize:
                    if not np.isfinite(cast).all():
                        raise UserError(
                            f"{shard.path}: feats has values too large for {dtype}; "
                            "choose a wider --feature_dtype"
                        )
                    lossy = lossy or not np.array_equal(cast.astype(chunk.dtype), chunk)
                file.write(cast.data)
                written += len(chunk)
                if time.monotonic() - spoken > _PROGRESS_SECONDS:
                    spoken = time.monotonic()
                    job.report(
                        f"  {job.shown(shard.path)}: {100 * written // num_samples}%"
                    )
    return lossy


def _convert_group(
    job: _Job,
    group: str,
    place: Callable[[Path], Path],
    *,
    num_classes: int,
    num_features: int,
) -> None:
    sources = _group_sources(job.entry, job.data_root, group)
    paths = job.out_paths(group)
    if not sources:
        raise UserError(
            f"{job.data_root / job.entry.feature_files_dir}: no files for group "
            f"{group!r}; expected {group}*.pkl, {group}.npz or {group}.safetensors"
        )
    if _is_fresh(paths, sources, job.group_options()):
        job.report(f"  {group}: unchanged, {job.shown(paths.data)}")
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
    dtypes = [shard.features.dtype for shard in shards]
    if job.feature_dtype == "source":
        all_half = all(dtype == np.float16 for dtype in dtypes)
        dtype = np.dtype(np.float16 if all_half else np.float32)
    else:
        dtype = np.dtype(job.feature_dtype)
    lossy = _write_features(place(paths.data), shards, dtype, job)
    assert paths.labels is not None
    labels = np.concatenate([shard.labels for shard in shards])
    np.save(place(paths.labels), labels, allow_pickle=False)
    notes = [
        f"{job.shown(shard.path)}: {note}" for shard in shards for note in shard.notes
    ]
    if lossy:
        notes.append(f"values were rounded to {dtype}")
    record = _write_record(
        place(paths.record),
        outputs=[place(paths.data), place(paths.labels)],
        sources=[(s.path, str(d)) for s, d in zip(shards, dtypes, strict=True)],
        options=job.group_options(),
        notes=notes,
    )
    for item, shard in zip(record["sources"], shards, strict=True):
        job.report(
            f"  {job.shown(shard.path)}: {len(shard.features)} x {num_features} "
            f"{item['dtype']}, {item['size']:,} bytes, sha256 {item['sha256'][:12]}"
        )
    job.report(f"  -> {job.shown(paths.data)}: {len(labels)} x {num_features} {dtype}")
    for note in notes:
        job.report(f"  note: {note}")


def _convert_classifier(
    job: _Job, place: Callable[[Path], Path]
) -> tuple[np.ndarray, np.ndarray]:
    source = job.data_root / job.entry.classifier_file
    paths = job.out_paths(None)
    weight, bias, read = load_classifier(source, job.entry.classifier_loader)
    if paths.data == source:
        job.report(f"  classifier: {job.shown(source)} is in plain form")
    elif _is_fresh(paths, [source], {}):
        job.report(f"  classifier: unchanged, {job.shown(paths.data)}")
    else:
        files.write_npz(place(paths.data), {"weight": weight, "bias": bias})
        record = _write_record(
            place(paths.record),
            outputs=[place(paths.data)],
            sources=[(path, "float32") for path in read],
            options={},
            notes=[],
        )
        for item in record["sources"]:
            job.report(
                f"  {item['path']}: {item['size']:,} bytes, "
                f"sha256 {item['sha256'][:12]}"
            )
        experts = f", mean of {len(read) - 1} files" if len(read) > 1 else ""
        classes, dims = weight.shape
        job.report(f"  -> {job.shown(paths.data)}: {classes} classes x {dims}{experts}")
    return weight, bias


def _copy_texts(job: _Job, place: Callable[[Path], Path]) -> None:
    def paths(entry: DatasetEntry, root: Path) -> list[Path]:
        splits = root / entry.split_files_dir
        names = [entry.label_names_file] if entry.label_names_file else []
        return [
            *(splits / f"{split}.txt" for split in ("few", "medium", "many")),
            *(root / name for name in names),
        ]

    for source, out in zip(
        paths(job.entry, job.data_root),
        paths(_mirrored(job.entry), job.out_root),
        strict=True,
    ):
        content = source.read_bytes()
        if not out.exists() or out.read_bytes() != content:
            place(out).write_bytes(content)
            job.report(f"  -> {job.shown(out)}")


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
      UserError: If a file is missing, damaged or not right; nothing is written.
    """
    if feature_dtype not in FEATURE_DTYPES:
        raise UserError(
            f"feature_dtype must be one of {', '.join(FEATURE_DTYPES)}, "
            f"got {feature_dtype!r}"
        )
    job = _Job(entry, data_root, out_root, feature_dtype, use_idxs, report)
    report(f"{entry.name}: {data_root} -> {out_root}")
    splits = read_splits(entry, data_root)
    with files.staging(out_root) as place:
        weight, _ = _convert_classifier(job, place)
        num_classes, num_features = weight.shape
        checks.check_splits(
            str(data_root / entry.split_files_dir), splits, num_classes=num_classes
        )
        read_label_names(entry, data_root, num_classes=num_classes)
        for group in entry.datagrps if groups is None else groups:
            _convert_group(
                job,
                group,
                place,
                num_classes=num_classes,
                num_features=num_features,
            )
        _copy_texts(job, place)


def _cache_roots(data_root: Path) -> list[Path]:
    """Beside the data; for data that cannot be written to, the user's cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    digest = hashlib.sha256(str(data_root.resolve()).encode()).hexdigest()[:16]
    return [data_root / CACHE_NAME, home / "alphanet_jax" / "converted" / digest]


def ensure_converted(
    entry: DatasetEntry,
    data_root: Path,
    groups: Sequence[str],
    *,
    report: Report = lambda line: None,
) -> tuple[DatasetEntry, Path]:
    """Finds the converted form of a dataset, or makes it in a cache.

    Args:
      entry: The dataset.
      data_root: What its paths are relative to; the original's files, converted
        ones, or both.
      groups: Groups that are needed.
      report: Takes a line of text for each file that is converted.

    Returns:
      The entry and the root to load arrays with: the root is `data_root` itself, or
      `CACHE_NAME` in it, or a place in the user's cache if that cannot be written to.

    Raises:
      UserError: If files are missing, damaged or not right.
    """
    directory = data_root / entry.feature_files_dir
    sources: dict[str | None, list[Path]] = {}
    for group in groups:
        sources[group] = _group_sources(entry, data_root, group)
        if (
            not sources[group]
            and not array_paths(entry, data_root, group).data.exists()
        ):
            raise UserError(
                f"{directory}: no features of group {group!r}; expected {group}*.pkl "
                f"or {group}.npy"
            )
    classifier = data_root / entry.classifier_file
    plain = array_paths(entry, data_root, None).data
    sources[None] = [classifier] if classifier.exists() and classifier != plain else []

    def fresh(entry: DatasetEntry, root: Path) -> bool:
        return all(
            _is_fresh(array_paths(entry, root, group), paths, None)
            for group, paths in sources.items()
        )

    if fresh(entry, data_root):
        return entry, data_root
    caches = _cache_roots(data_root)
    for cache in caches:
        # Arrays without sources are in no cache.
        if all(sources.values()) and fresh(_mirrored(entry), cache):
            return _mirrored(entry), cache
    for cache in caches:
        parent = next(p for p in (cache, *cache.parents) if p.exists())
        if os.access(parent, os.W_OK):
            break
    report(f"converting on first use, into {cache}")
    convert_dataset(entry, data_root, cache, groups=groups, report=report)
    return _mirrored(entry), cache
