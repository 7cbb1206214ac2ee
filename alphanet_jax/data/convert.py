"""Converts a dataset to plain arrays, once: whole or not at all.

Written, at the paths of the registry under another root, are

    <feature_files_dir>/<group>.npy           (n, d) float32 or float16, to be mapped
    <feature_files_dir>/<group>_labels.npy    (n,) int32
    <classifier_file less its suffix>.npz     weight (C, d), bias (C,), float32
    <split_files_dir>/*.txt, <label_names_file>, <synsets_file>   as they are

and beside the arrays a `.json`, the record of the files they were made of. The same
registry therefore serves both roots. Converting again does nothing while sources and
outputs are unchanged, and either all files are written or none.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files, streaming
from alphanet_jax.data import checks, records
from alphanet_jax.data.class_files import (
    read_label_names,
    read_splits,
    split_paths,
    synsets_path,
)
from alphanet_jax.data.classifiers import read_classifier
from alphanet_jax.data.feature_files import (
    FeatureFile,
    find_feature_files,
    read_feature_file,
)
from alphanet_jax.data.paths import (
    ArrayPaths,
    array_paths,
    cache_roots,
    find_path,
    inside,
    plain_classifier,
)
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError

__all__ = ["FEATURE_DTYPES", "Report", "convert_dataset", "ensure_converted"]

FEATURE_DTYPES = ("source", "float32", "float16")

Report = Callable[[str], None]

_PROGRESS_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class _Job:
    """One conversion of a dataset.

    Attributes:
      entry: The dataset.
      data_root: What its paths are relative to.
      out_root: The same for the converted files.
      feature_dtype: One of `FEATURE_DTYPES`.
      use_idxs: Whether labels follow `idxs` or rows.
      report: Takes a line of text about progress.
      place: Takes where a file belongs and returns where to write it for now.
    """

    entry: DatasetEntry
    data_root: Path
    out_root: Path
    feature_dtype: str
    use_idxs: bool
    report: Report
    place: Callable[[Path], Path]

    def shown(self, path: Path) -> str:
        """Returns a path relative to the root that it is under."""
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
        """Writes a record, as `records.write_record` does, and reports it."""
        noted = records.write_record(
            self.place(path),
            outputs=outputs,
            sources=sources,
            options=options,
            notes=notes,
        )
        for item, (source, dtype) in zip(noted, sources.items(), strict=True):
            self.report(
                f"  {self.shown(source)}: {dtype or 'list'}, {item['size']:,} bytes, "
                f"sha256 {item['sha256'][:12]}"
            )


def _write_features(
    path: Path, parts: Sequence[FeatureFile], dtype: np.dtype, job: _Job
) -> bool:
    """Copies parts into one `.npy` by chunks; returns whether digits were lost."""
    num_samples = sum(len(part.features) for part in parts)
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (num_samples, parts[0].features.shape[1]),
    }
    lossy = False
    written = 0
    reported = time.monotonic()
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            for start, chunk in streaming.row_chunks(part.features):
                checks.check_finite(str(part.path), chunk, dtype=dtype, first_row=start)
                cast = np.ascontiguousarray(chunk, dtype)
                if not lossy and not np.can_cast(chunk.dtype, dtype):
                    lossy = not np.array_equal(cast.astype(chunk.dtype), chunk)
                file.write(cast.data)
                written += len(chunk)
                if time.monotonic() - reported > _PROGRESS_SECONDS:
                    reported = time.monotonic()
                    job.report(
                        f"  {job.shown(part.path)}: {100 * written // num_samples}%"
                    )
    return lossy


def _convert_group(
    job: _Job, group: str, *, num_classes: int, num_features: int
) -> None:
    """Writes the features, the labels and the record of a group."""
    sources = find_feature_files(job.entry, job.data_root, group)
    if not sources:
        raise UserError(
            f"{job.data_root / job.entry.feature_files_dir}: nothing to convert for "
            f"group {group!r}; expected {group}*.pkl, {group}.npz or "
            f"{group}.safetensors"
        )
    paths = array_paths(job.out_root / inside(job.entry.feature_files_dir), group)
    options = {
        "feature_dtype": job.feature_dtype,
        "use_idxs": job.use_idxs,
        # Another classifier may not fit: check again.
        "num_classes": num_classes,
        "num_features": num_features,
    }
    if records.is_fresh(paths.record, [paths.features, paths.labels], sources, options):
        job.report(f"  {group}: unchanged, {job.shown(paths.features)}")
        return
    parts = [
        read_feature_file(
            path,
            num_classes=num_classes,
            num_features=num_features,
            use_idxs=job.use_idxs,
        )
        for path in sources
    ]
    if job.feature_dtype == "source":
        all_half = all(part.features.dtype == np.float16 for part in parts)
        dtype = np.dtype(np.float16 if all_half else np.float32)
    else:
        dtype = np.dtype(job.feature_dtype)
    outputs = [job.place(paths.features), job.place(paths.labels)]
    lossy = _write_features(outputs[0], parts, dtype, job)
    labels = np.concatenate([part.labels for part in parts])
    np.save(outputs[1], labels, allow_pickle=False)
    notes = [f"{job.shown(part.path)}: {part.note}" for part in parts if part.note]
    if lossy:
        notes.append(f"values were rounded to {dtype}")
    job.write_record(
        paths.record,
        outputs=outputs,
        sources={s.path: str(s.features.dtype) for s in parts},
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
    path = job.out_root / inside(str(plain_classifier(job.entry.classifier_file)))
    record = path.with_suffix(".json")
    num_classes, num_features = weight.shape
    if path.exists() and any(path.samefile(source) for source in sources):
        job.report(f"  classifier: {job.shown(path)} is in plain form")
    elif records.is_fresh(record, [path], list(sources)):
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
    """Copies splits, label names and WordNet ids, where they differ."""
    copies = {
        path: job.out_root / inside(job.entry.split_files_dir) / path.name
        for path in split_paths(job.entry, job.data_root).values()
    }
    if name := job.entry.label_names_file:
        copies[find_path(job.data_root, name)] = job.out_root / inside(name)
    # Reports alone need these ids, and the data may have come without them.
    ids = synsets_path(job.entry, job.data_root)
    if job.entry.synsets_file and ids and ids.is_file():
        copies[ids] = job.out_root / inside(job.entry.synsets_file)
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
    """Converts a dataset to plain arrays; all checks come before any file appears.

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


def ensure_converted(
    entry: DatasetEntry,
    data_root: Path,
    groups: Sequence[str],
    *,
    report: Report = lambda line: None,
) -> dict[str, ArrayPaths]:
    """Finds the converted form of groups, or makes it in a cache.

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
    features_dir = inside(entry.feature_files_dir)
    found: dict[str, ArrayPaths] = {}
    missing = []
    for group in groups:
        if paths := _find_converted(entry, data_root, group, caches):
            found[group] = paths
        else:
            missing.append(group)
    if missing:
        cache = next(filter(files.is_writable, caches), caches[-1])
        report(f"converting on first use, into {cache}")
        convert_dataset(entry, data_root, cache, groups=missing, report=report)
        found |= {group: array_paths(cache / features_dir, group) for group in missing}
    return found


def _find_converted(
    entry: DatasetEntry, data_root: Path, group: str, caches: Sequence[Path]
) -> ArrayPaths | None:
    """Finds the converted form of a group; None where it has to be made."""
    sources = find_feature_files(entry, data_root, group)
    features_dir = inside(entry.feature_files_dir)
    here = [data_root / entry.feature_files_dir, data_root / features_dir]
    if not sources:  # a converted dataset on its own
        for directory in here:
            paths = array_paths(directory, group)
            if os.path.exists(paths.features):
                return paths
        raise UserError(
            f"{here[0]}: no features of group {group!r}; expected {group}*.pkl, "
            f"{group}.npz, {group}.safetensors or {group}.npy"
        )
    for directory in (*here, *(cache / features_dir for cache in caches)):
        paths = array_paths(directory, group)
        if records.is_fresh(paths.record, [paths.features, paths.labels], sources):
            return paths
    return None
