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
from alphanet_jax.data import agreement, checks, records
from alphanet_jax.data.class_files import (
    read_counts,
    read_label_names,
    read_splits,
    split_paths,
    synsets_path,
)
from alphanet_jax.data.classifiers import Classifier, read_classifier
from alphanet_jax.data.feature_files import (
    FeatureFile,
    expected_names,
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

__all__ = [
    "FEATURE_DTYPES",
    "MissingGroup",
    "Report",
    "convert_dataset",
    "ensure_converted",
]

FEATURE_DTYPES = ("source", "float32", "float16")

Report = Callable[[str], None]

_PROGRESS_SECONDS = 2.0


class MissingGroup(UserError):  # noqa: N818 (callers add which option names it)
    """A dataset has no features of a group."""


@dataclasses.dataclass(frozen=True)
class _Job:
    """One conversion of a dataset.

    Attributes:
      entry: The dataset.
      data_root: What its paths are relative to.
      out_root: The same for the converted files.
      feature_dtype: One of `FEATURE_DTYPES`.
      labels_by: How labels and `idxs` belong together: 'row', 'idxs', or empty for
        the reading that fits the classifier.
      report: Takes a line of text about progress.
      warns_for: The group on whose rows a classifier near chance is reported.
      place: Takes where a file belongs and returns where to write it for now.
    """

    entry: DatasetEntry
    data_root: Path
    out_root: Path
    feature_dtype: str
    labels_by: str
    report: Report
    warns_for: str
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
        labels_read: str | None = None,
    ) -> None:
        """Writes a record, as `records.write_record` does, and reports it."""
        noted = records.write_record(
            self.place(path),
            outputs=outputs,
            sources=sources,
            options=options,
            notes=notes,
            labels_read=labels_read,
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


def _read_labels(
    job: _Job,
    parts: Sequence[FeatureFile],
    classifier: Classifier,
    *,
    usual: str | None,
) -> tuple[np.ndarray, str | None, str | None]:
    """Gives labels the order of rows, by the reading that fits the classifier.

    Args:
      job: The conversion.
      parts: The parts of a group, in order.
      classifier: The classifier.
      usual: The reading of the training group, if that is known: the same program
        wrote both, and small groups tell little.

    Returns:
      The labels; which of two readings was taken, None where there is one; and a note.

    Raises:
      UserError: If neither reading is clearly better, or another than the usual one.
    """
    by_row = np.concatenate([part.labels for part in parts])
    if all(part.idxs is None for part in parts):
        return by_row, None, None
    by_idxs = np.concatenate(
        [
            part.labels
            if part.idxs is None
            else agreement.reorder(part.labels, part.idxs)
            for part in parts
        ]
    )
    readings = {"row": by_row, "idxs": by_idxs}
    if job.labels_by:
        note = "idxs is not in order: labels were taken by it, as asked"
        asked = job.labels_by
        return readings[asked], asked, note if asked == "idxs" else None
    sampled, rows = [], []
    first = 0
    for part in parts:
        some = agreement.sample_rows(
            len(part.labels),
            num_classes=classifier.weight.shape[0],
            num_features=classifier.weight.shape[1],
        )
        sampled.append(
            agreement.predict_sample(
                part.features, some, weight=classifier.weight, bias=classifier.bias
            )
        )
        rows.append(first + some)
        first += len(part.labels)
    predicted, chosen = np.concatenate(sampled), np.concatenate(rows)
    right = {
        name: f"{100 * np.mean(predicted == labels[chosen]):.1f}"
        for name, labels in readings.items()
    }
    found = agreement.choose_reading(predicted, by_row[chosen], by_idxs[chosen])
    where = job.shown(parts[0].path)
    choose = 'choose with labels_by = "row" or "idxs" (in the registry, or the option)'
    if found is None and usual is None:
        raise UserError(
            f"{where}: idxs is not in order, and whose labels are whose is not clear: "
            f"the classifier gets {right['row']} percent right by row and "
            f"{right['idxs']} by idxs; {choose}"
        )
    if found is not None and usual is not None and found != usual:
        raise UserError(
            f"{where}: labels belong together by {found}, but those of the training "
            f"group by {usual}; {choose}"
        )
    taken = found or usual
    assert taken is not None
    note = (
        f"idxs is not in order: labels were taken by {taken}; the classifier gets "
        f"{right['row']} percent right by row, {right['idxs']} by idxs "
        "(--labels_by says otherwise)"
    )
    return readings[taken], taken, note


def _convert_group(
    job: _Job, group: str, classifier: Classifier, *, usual: str | None
) -> str | None:
    """Writes the features, the labels and the record of a group.

    Args:
      job: The conversion.
      group: Name of the group.
      classifier: The classifier.
      usual: How labels of the training group were read, if that is known.

    Returns:
      How labels were read; None where there is one way only.
    """
    num_classes, num_features = classifier.weight.shape
    found = find_feature_files(job.entry, job.data_root, group)
    sources = found.sources
    if not sources:
        raise MissingGroup(
            f"{job.data_root / job.entry.feature_files_dir}: nothing to convert for "
            f"group {group!r}; expected {expected_names(group)}"
        )
    paths = array_paths(job.out_root / inside(job.entry.feature_files_dir), group)
    if paths.features.exists() and any(map(paths.features.samefile, sources)):
        job.report(f"  {group}: {job.shown(paths.features)} is in plain form")
        return None
    options = {
        "feature_dtype": job.feature_dtype,
        "labels_by": job.labels_by,
        # Another classifier may not fit: check again.
        "num_classes": num_classes,
        "num_features": num_features,
    }
    if records.is_fresh(paths.record, [paths.features, paths.labels], sources, options):
        job.report(f"  {group}: unchanged, {job.shown(paths.features)}")
        return records.labels_read(paths.record)
    parts = [
        read_feature_file(part, num_classes=num_classes, num_features=num_features)
        for part in found.parts
    ]
    labels, labels_read, read_note = _read_labels(job, parts, classifier, usual=usual)
    if job.feature_dtype == "source":
        all_half = all(part.features.dtype == np.float16 for part in parts)
        dtype = np.dtype(np.float16 if all_half else np.float32)
    else:
        dtype = np.dtype(job.feature_dtype)
    outputs = [job.place(paths.features), job.place(paths.labels)]
    lossy = _write_features(outputs[0], parts, dtype, job)
    np.save(outputs[1], labels, allow_pickle=False)
    notes = [
        f"{job.shown(part.path)}: {part.note}"
        for part in parts
        if part.note and job.labels_by != "row"
    ]
    if read_note:
        notes.append(f"{job.shown(parts[0].path)}: {read_note}")
    if found.left_out:
        left_out = ", ".join(job.shown(path) for path in found.left_out)
        notes.append(f"{group}: not part of it, as one file has its name: {left_out}")
    if lossy:
        notes.append(f"values were rounded to {dtype}")
    job.write_record(
        paths.record,
        outputs=outputs,
        sources={path: dtype for part in parts for path, dtype in part.sources.items()},
        options=options,
        notes=notes,
        labels_read=labels_read,
    )
    shape = f"{len(labels)} x {num_features}"
    job.report(f"  -> {job.shown(paths.features)}: {shape} {dtype}")
    for note in notes:
        job.report(f"  note: {note}")
    if group == job.warns_for:
        warning = agreement.near_chance(
            files.open_npy(outputs[0]),
            labels,
            weight=classifier.weight,
            bias=classifier.bias,
        )
        if warning:
            job.report(warning)
    return labels_read


def _convert_classifier(job: _Job) -> Classifier:
    """Writes the classifier in plain form, and returns it."""
    classifier = read_classifier(job.entry, job.data_root)
    weight, bias, sources = classifier
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
    return classifier


def _copy_texts(job: _Job) -> None:
    """Copies splits, label names and WordNet ids, where they differ."""
    copies = {
        path: job.out_root / inside(job.entry.split_files_dir or "") / path.name
        for path in split_paths(job.entry, job.data_root).values()
    }
    for name in (job.entry.label_names_file, job.entry.counts_file):
        if name:
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
    labels_by: str = "",
    train_group: str = "train",
    warn: bool = True,
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
      labels_by: How labels and `idxs` of a file belong together: 'row', 'idxs', or
        empty for what the registry says, or else what fits the classifier.
      train_group: The group whose rows the classifier was trained on.
      warn: Whether to report a classifier that is near chance on these.
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
    labels_by = agreement.check_reading("labels_by", labels_by or entry.labels_by)
    groups = tuple(dict.fromkeys(entry.datagrps if groups is None else groups))
    if not groups:
        raise UserError(f"dataset {entry.name!r}: no groups of samples to convert")
    report(f"{entry.name}: {data_root} -> {out_root}")
    try:
        splits = read_splits(entry, data_root)
        with files.staging(out_root) as place:
            job = _Job(
                entry,
                data_root,
                out_root,
                feature_dtype,
                labels_by,
                report,
                train_group if warn else "",
                place,
            )
            classifier = _convert_classifier(job)
            num_classes = len(classifier.weight)
            if entry.split_files_dir is not None:
                checks.check_splits(
                    str(find_path(data_root, entry.split_files_dir)),
                    splits,
                    num_classes=num_classes,
                )
            read_counts(entry, data_root, num_classes=num_classes)
            read_label_names(entry, data_root, num_classes=num_classes)
            usual = None
            # What training rows tell holds for the others.
            for group in sorted(groups, key=lambda group: group != train_group):
                read = _convert_group(job, group, classifier, usual=usual)
                usual = read if group == train_group else usual
            _copy_texts(job)
    except OSError as error:
        path = error.filename2 or error.filename or out_root
        raise UserError(f"{path}: {error.strerror or error}") from None


def ensure_converted(
    entry: DatasetEntry,
    data_root: Path,
    groups: Sequence[str],
    *,
    labels_by: str = "",
    train_group: str = "train",
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
      labels_by: See `convert_dataset`.
      train_group: See `convert_dataset`.
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
        if paths := _find_converted(entry, data_root, group, caches, labels_by):
            found[group] = paths
        else:
            missing.append(group)
    if missing:
        cache = next(filter(files.is_writable, caches), caches[-1])
        report(f"converting on first use, into {cache}")
        convert_dataset(
            entry,
            data_root,
            cache,
            # The training group comes along: what it tells holds for the others.
            groups=[g for g in groups if g in missing or g == train_group],
            labels_by=labels_by,
            train_group=train_group,
            warn=False,  # loading does
            report=report,
        )
        found |= {group: array_paths(cache / features_dir, group) for group in missing}
    return found


def _find_converted(
    entry: DatasetEntry,
    data_root: Path,
    group: str,
    caches: Sequence[Path],
    labels_by: str,
) -> ArrayPaths | None:
    """Finds the converted form of a group; None where it has to be made."""
    found = find_feature_files(entry, data_root, group)
    sources = found.sources
    features_dir = inside(entry.feature_files_dir)
    here = [data_root / entry.feature_files_dir, data_root / features_dir]
    if not sources:  # a converted dataset on its own
        for directory in here:
            paths = array_paths(directory, group)
            if os.path.exists(paths.features):
                return paths
        raise MissingGroup(
            f"{here[0]}: no features of group {group!r}; expected "
            f"{expected_names(group)}"
        )
    plain = array_paths(here[0], group)
    if sources in ([plain.features, plain.labels], [plain.features]):
        return plain
    labels_by = labels_by or entry.labels_by
    for directory in (*here, *(cache / features_dir for cache in caches)):
        paths = array_paths(directory, group)
        by_choice = directory in here
        if records.is_fresh(
            paths.record, [paths.features, paths.labels], sources
        ) and records.reading_fits(paths.record, labels_by, by_choice=by_choice):
            return paths
    return None
