"""Records of conversions, by which it is known whether these are up to date.

A record is a JSON file beside what was made: name, size, time and SHA-256 of every
output and every source, the dtypes of the sources, and the options.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphanet_jax import hashing, parsing

__all__ = [
    "RecordedHead",
    "is_fresh",
    "labels_read",
    "reading_fits",
    "recorded_head",
    "recorded_sources",
    "write_record",
]

_FORMAT = 1  # of the records
_MAX_BYTES = 16 << 20  # of a record, which lists files


def _note_files(
    paths: Sequence[Path], hashes: Mapping[Path, str]
) -> list[dict[str, Any]]:
    """Records what identifies files later: name, size, time and SHA-256."""
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


def write_record(
    path: Path,
    *,
    outputs: Sequence[Path],
    sources: Mapping[Path, str | None],
    options: Mapping[str, Any],
    notes: Sequence[str],
    labels_read: str | None = None,
    forms: Sequence[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Writes the record of a conversion.

    Args:
      path: Where the record goes.
      outputs: The files made, where they are now.
      sources: The files they were made of, with their dtypes.
      options: The options of the conversion.
      notes: Remarks to be shown.
      labels_read: Which of two readings of the labels was taken; None where there is
        one only.
      forms: Of a classifier, how every expert was stored.

    Returns:
      What was noted of each source.
    """
    hashes = hashing.file_hashes([*sources, *outputs])
    noted = _note_files(list(sources), hashes)
    for item, dtype in zip(noted, sources.values(), strict=True):
        item["dtype"] = dtype
    record = {
        "format": _FORMAT,
        "options": dict(options),
        "outputs": _note_files(outputs, hashes),
        "sources": noted,
        "notes": list(notes),
    }
    if labels_read is not None:
        record["labels_read"] = labels_read
    if forms:
        record["forms"] = list(map(dict, forms))
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return noted


class _Record(NamedTuple):
    """The record of a conversion."""

    options: dict[str, Any]
    outputs: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    labels_read: str | None = None
    forms: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


class RecordedHead(NamedTuple):
    """What the record of a classifier says about it."""

    options: dict[str, Any]
    forms: tuple[dict[str, Any], ...]  # how every expert was stored
    notes: tuple[str, ...]


def _read_record(path: Path) -> _Record:
    """Reads a record; one that cannot be read is empty."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError
        record = parsing.parse_json(path.read_bytes())
        if record["format"] != _FORMAT:
            raise ValueError
        outputs, sources = (
            [dict(x) for x in record[k]] for k in ("outputs", "sources")
        )
        options, read = dict(record["options"]), record.get("labels_read")
        if options.get("use_idxs") and any(
            "is not in order" in n for n in _notes(record)
        ):
            read = "idxs"  # as version 0.1 read them, whatever they were
        forms = tuple(map(dict, record.get("forms", ())))
        notes = tuple(_notes(record))
        return _Record(options, outputs, sources, read, forms, notes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return _Record({}, [], [])


def _notes(record: Mapping[str, Any]) -> list[str]:
    return [str(note) for note in record.get("notes", [])]


def _is_same(path: Path, noted: Mapping[str, Any], *, trusted: bool) -> bool:
    """Returns whether a file has the recorded content.

    Args:
      path: The file.
      noted: What was recorded of it.
      trusted: Whether the same size and time are enough, as for a file that somebody
        else keeps; what this package made is read, once in a process.
    """
    if not path.is_file() or noted.get("size") != (stat := path.stat()).st_size:
        return False
    if trusted and noted.get("mtime_ns") == stat.st_mtime_ns:
        return True
    return bool(noted.get("sha256") == hashing.content_hash(path))


def _unchanged(
    paths: Sequence[Path], noted: Sequence[Mapping[str, Any]], *, trusted: bool = False
) -> bool:
    """Returns whether files have the recorded names and content."""
    return len(paths) == len(noted) and all(
        item.get("name") == os.path.relpath(path, paths[0].parent)
        and _is_same(path, item, trusted=trusted)
        for path, item in zip(paths, noted, strict=True)
    )


def is_fresh(
    record_path: Path,
    outputs: Sequence[Path],
    sources: Sequence[Path],
    options: dict[str, Any] | None = None,
) -> bool:
    """Returns whether outputs exist that were made of just these sources.

    Args:
      record_path: Where the conversion was recorded.
      outputs: The files made.
      sources: The files they should be made of.
      options: The options it should have been made with; None accepts any.

    Returns:
      Whether names and contents of all files are those that were recorded.
    """
    record = _read_record(record_path)
    return (
        (options is None or record.options == options)
        and _unchanged(sources, record.sources, trusted=True)
        and _unchanged(outputs, record.outputs)
    )


def recorded_sources(record_path: Path, outputs: Sequence[Path]) -> set[str] | None:
    """Names the files that others were made of.

    Args:
      record_path: Where the conversion was recorded.
      outputs: The files made.

    Returns:
      Names of the sources, without directories; None where nothing was recorded, or
      the files are no longer what was made.
    """
    record = _read_record(record_path)
    if not record.outputs or not _unchanged(outputs, record.outputs):
        return None
    return {Path(str(item.get("name"))).name for item in record.sources}


def recorded_head(record_path: Path, outputs: Sequence[Path]) -> RecordedHead | None:
    """Returns what is recorded of a classifier that was converted.

    Args:
      record_path: Where the conversion was recorded.
      outputs: The files made.

    Returns:
      It; None where nothing was recorded, or the files are no longer what was made.
    """
    record = _read_record(record_path)
    if not record.outputs or not _unchanged(outputs, record.outputs):
        return None
    return RecordedHead(record.options, record.forms, record.notes)


def reading_fits(record_path: Path, labels_by: str, *, by_choice: bool) -> bool:
    """Tells whether labels were read as they should be.

    Args:
      record_path: Where the conversion was recorded.
      labels_by: 'row' or 'idxs', or empty for the reading that fits the classifier.
      by_choice: Whether a reading that somebody chose counts as such.

    Returns:
      Whether there was one reading only, or it was this one.
    """
    record = _read_record(record_path)
    if record.labels_read is None or labels_by:
        return record.labels_read in (None, labels_by)
    asked = record.options.get("labels_by")
    return asked == "" or (by_choice and asked is not None)


def labels_read(record_path: Path) -> str | None:
    """Returns which of two readings of labels was recorded, if there were two."""
    return _read_record(record_path).labels_read
