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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alphanet_jax import files, stages, staging, streaming
from alphanet_jax.data import agreement, checks, hints, records
from alphanet_jax.data.class_files import (
    read_counts,
    read_label_names,
    read_splits,
    split_paths,
    synsets_path,
)
from alphanet_jax.data.classifiers import (
    Classifier,
    ClassifierChoice,
    choose,
    read_classifier,
)
from alphanet_jax.data.feature_files import FeatureFile, read_feature_file
from alphanet_jax.data.group_files import (
    expected_names,
    find_feature_files,
    found_instead,
)
from alphanet_jax.data.paths import (
    array_paths,
    find_path,
    inside,
    plain_classifier,
)
from alphanet_jax.data.registry import DatasetEntry
from alphanet_jax.errors import UserError
from alphanet_jax.splits import SPLITS
from alphanet_jax.stages import stage

__all__ = [
    "FEATURE_DTYPES",
    "MissingGroup",
    "Report",
    "convert_dataset",
]

FEATURE_DTYPES = ("source", "float32", "float16")

Report = Callable[[str], None]


class MissingGroup(UserError):  # noqa: N818 (callers add which option names it)
    """A dataset has no features of a group."""

    def __init__(self, message: str, *, group: str) -> None:
        super().__init__(message)
        self.group = group


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
      choice: What is the classifier in its file.
      train_group: The group that tells its sides.
      report: Takes a line of text about progress.
      warns_for: The group on whose rows a classifier near chance is reported.
      place: Takes where a file belongs and returns where to write it for now.
    """

    entry: DatasetEntry
    data_root: Path
    out_root: Path
    feature_dtype: str
    labels_by: str
    choice: ClassifierChoice
    train_group: str
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
        forms: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Writes a record, as `records.write_record` does, and reports it."""
        size = sum(file.stat().st_size for file in (*sources, *outputs)) / 1e6
        with stage(self.report, "  hashing", total=size, unit="MB"):
            noted = records.write_record(
                self.place(path),
                outputs=outputs,
                sources=sources,
                options=options,
                notes=notes,
                labels_read=labels_read,
                forms=forms,
            )
        for item, (source, dtype) in zip(noted, sources.items(), strict=True):
            self.report(
                f"  {self.shown(source)}: {dtype or 'list'}, {item['size']:,} bytes, "
                f"sha256 {item['sha256'][:12]}"
            )


def _write_features(path: Path, parts: Sequence[FeatureFile], dtype: np.dtype) -> bool:
    """Copies parts into one `.npy` by chunks; returns whether digits were lost."""
    num_samples = sum(len(part.features) for part in parts)
    header = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (num_samples, parts[0].features.shape[1]),
    }
    lossy = False
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            for start, chunk in streaming.row_chunks(part.features):
                checks.check_finite(str(part.path), chunk, dtype=dtype, first_row=start)
                cast = np.ascontiguousarray(chunk, dtype)
                if not lossy and not np.can_cast(chunk.dtype, dtype):
                    lossy = not np.array_equal(cast.astype(chunk.dtype), chunk)
                file.write(cast.data)
                stages.done(len(chunk), "samples")
    return lossy


def _wanted_dtype(name: str, parts: Sequence[FeatureFile]) -> np.dtype:
    """Chooses the dtype to write; 'source' keeps float16 and no other."""
    if name != "source":
        return np.dtype(name)
    all_half = all(part.features.dtype == np.float16 for part in parts)
    return np.dtype(np.float16 if all_half else np.float32)


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
        directory = job.data_root / job.entry.feature_files_dir
        raise MissingGroup(
            f"{directory}: nothing to convert for group {group!r}; expected "
            f"{expected_names(group)}; {found_instead(directory)}",
            group=group,
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
    with stage(job.report, f"  {group}: reading labels and a part of the features"):
        read = agreement.read_labels(
            parts,
            where=job.shown(parts[0].path),
            weight=classifier.weight,
            bias=classifier.bias,
            labels_by=job.labels_by,
            usual=usual,
        )
    dtype = _wanted_dtype(job.feature_dtype, parts)
    outputs = [job.place(paths.features), job.place(paths.labels)]
    count = sum(len(part.features) for part in parts)
    with stage(job.report, f"  {group}: copying", total=count, unit="samples"):
        lossy = _write_features(outputs[0], parts, dtype)
    np.save(outputs[1], read.labels, allow_pickle=False)
    notes = _notes_on_group(job, group, parts, read.note, found.left_out)
    if lossy:
        notes.append(f"values were rounded to {dtype}")
    job.write_record(
        paths.record,
        outputs=outputs,
        sources={path: dtype for part in parts for path, dtype in part.sources.items()},
        options=options,
        notes=notes,
        labels_read=read.name,
    )
    shape = f"{len(read.labels)} x {num_features}"
    job.report(f"  -> {job.shown(paths.features)}: {shape} {dtype}")
    for note in notes:
        job.report(f"  note: {note}")
    if group == job.warns_for:
        _warn_of_chance(job, outputs[0], read.labels, classifier)
    return read.name


def _notes_on_group(
    job: _Job,
    group: str,
    parts: Sequence[FeatureFile],
    note: str | None,
    left_out: Sequence[Path],
) -> list[str]:
    """Says what a person should know of how the files of a group were read."""
    notes = [
        f"{job.shown(part.path)}: {part.note}"
        for part in parts
        if part.note and job.labels_by != "row"
    ]
    if note:
        notes.append(f"{job.shown(parts[0].path)}: {note}")
    if left_out:
        names = ", ".join(job.shown(path) for path in left_out)
        notes.append(f"{group}: not part of it, as one file has its name: {names}")
    return notes


def _warn_of_chance(
    job: _Job, features: Path, labels: np.ndarray, classifier: Classifier
) -> None:
    """Says so where the classifier gets hardly a sample right."""
    warning = agreement.near_chance(
        files.open_npy(features),
        labels,
        weight=classifier.weight,
        bias=classifier.bias,
    )
    if warning:
        job.report(warning)


def _convert_classifier(job: _Job) -> Classifier:
    """Writes the classifier in plain form, and returns it."""
    classifier = read_classifier(
        job.entry,
        job.data_root,
        job.choice,
        sides=lambda: hints.sides_of_files(job.entry, job.data_root, job.train_group),
    )
    weight, bias, sources, forms, remarks = classifier
    options = job.choice.options()
    path = job.out_root / inside(str(plain_classifier(job.entry.classifier_file)))
    record = path.with_suffix(".json")
    num_classes, num_features = weight.shape
    if path.exists() and any(path.samefile(source) for source in sources):
        job.report(f"  classifier: {job.shown(path)} is in plain form")
    elif records.is_fresh(record, [path], list(sources), options):
        job.report(f"  classifier: unchanged, {job.shown(path)}")
    else:
        if job.warns_for:
            _check_not_of_another(record, path, list(sources))
        output = job.place(path)
        files.write_npz(output, {"weight": weight, "bias": bias})
        job.write_record(
            record,
            outputs=[output],
            sources=sources,
            options=options,
            notes=remarks,
            forms=list(map(dataclasses.asdict, forms)),
        )
        shape = f"{num_classes} classes x {num_features}"
        job.report(f"  -> {job.shown(path)}: {shape}")
        for remark in remarks if job.warns_for else ():  # loading says it, too
            job.report(f"  note: {remark}")
    return classifier


def _check_not_of_another(record: Path, path: Path, sources: Sequence[Path]) -> None:
    """Checks that a conversion does not take the place of that of another file.

    Raises:
      UserError: If there is one, and the file that it was made of is still there.
    """
    made_of = records.recorded_sources(record, [path]) or set()
    others = made_of - {source.name for source in sources}
    for name in sorted(others):
        if (sources[0].parent / name).is_file():
            raise UserError(
                f"{path}: was made of {name}, which is still there, and "
                f"{sources[0].name} would be converted to the same file; give one of "
                "them another name, or remove what is old"
            )


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


def _check_outputs(entry: DatasetEntry, groups: Sequence[str]) -> None:
    """Checks that no two files of a dataset would be converted to one.

    Raises:
      UserError: If two would be; names both.
    """
    classifier = inside(str(plain_classifier(entry.classifier_file)))
    outputs = {
        classifier: "classifier_file",
        classifier.with_suffix(".json"): "the record of classifier_file",
    }
    texts = {
        inside(entry.split_files_dir or "") / f"{split}.txt": f"the split {split!r}"
        for split in (SPLITS if entry.split_files_dir is not None else ())
    }
    for key in ("label_names_file", "counts_file", "synsets_file"):
        if name := getattr(entry, key):
            # One list may serve as two.
            texts.setdefault(inside(name), key)
    made = list(texts.items())
    for group in groups:
        paths = array_paths(inside(entry.feature_files_dir), group)
        made += [(path, f"group {group!r}") for path in paths]
    for path, what in made:
        if path in outputs and outputs[path] != what:
            raise UserError(
                f"dataset {entry.name!r}: {what} and {outputs[path]} would both be "
                f"converted to {path}; give one of them another name"
            )
        outputs[path] = what


def convert_dataset(
    entry: DatasetEntry,
    data_root: Path,
    out_root: Path,
    *,
    groups: Sequence[str] | None = None,
    feature_dtype: str = "source",
    labels_by: str = "",
    choice: ClassifierChoice | None = None,
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
      choice: What is the classifier in its file; by default what the registry says, or
        the one tensor that can be it.
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
    _check_outputs(entry, groups)
    if not groups:
        raise UserError(f"dataset {entry.name!r}: no groups of samples to convert")
    report(f"{entry.name}: {data_root} -> {out_root}")
    staging.recover(out_root)  # also where this conversion is to fail
    try:
        splits = read_splits(entry, data_root)
        with staging.staged(out_root) as place:
            job = _Job(
                entry,
                data_root,
                out_root,
                feature_dtype,
                labels_by,
                choose(entry, "", False) if choice is None else choice,
                train_group,
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
