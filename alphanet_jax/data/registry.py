"""The registry of datasets: which files make up each, in a TOML file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphanet_jax import bundled, files, parsing
from alphanet_jax.data.contents import brief
from alphanet_jax.errors import UserError, did_you_mean, printable

__all__ = [
    "LINEAR",
    "LOADERS",
    "READINGS",
    "DatasetEntry",
    "check_reading",
    "find_entry",
    "format_entry",
    "get_entry",
    "load_registry",
]

# The names of the original for a linear classifier, and for several experts as one.
LINEAR = "LinearClassifierLoader"
LOADERS = (LINEAR, "CombinedClassifierLoader")
# By row, labels[i] is the label of feats[i]; by idxs, that of feats[idxs[i]].
READINGS = ("row", "idxs")

_FILES_OF_GROUPS = ("feature_files", "label_files")
_REQUIRED = ("feature_files_dir", "classifier_file")
_THRESHOLDS = ("few_below", "many_above")
_SWITCHES = ("classifier_normalize",)
_COUNTED = (*_THRESHOLDS, "counts_file")


@dataclasses.dataclass(frozen=True)
class DatasetEntry:
    """Where the files of one dataset are; paths are relative to the data root.

    Attributes:
      name: Key in the registry.
      feature_files_dir: Directory of the feature files of every group.
      classifier_file: File of the classifier.
      split_files_dir: Directory of `few.txt`, `medium.txt` and `many.txt`; None where
        splits follow from the number of training samples.
      classifier_loader: One of `LOADERS`.
      classifier_key: Key of the weight in the classifier's file, through nested dicts,
        or what is enough of it; empty where one tensor alone can be it.
      classifier_normalize: Whether the row of every class is normalized.
      nn_files_dir: Directory for neighbor files.
      baseline_eval_file: File for the evaluation of the unchanged classifier.
      label_names_file: File with one class name a line, if there is one.
      synsets_file: File with the WordNet 3.0 synset of one class a line, if there is
        one. Training does not read it.
      datagrps: Names of the groups.
      proper_name: Display name.
      feature_files: By group, the names of its files in `feature_files_dir`, where
        they are not to be found by the name of the group.
      label_files: By group, the files of labels beside those, one for each.
      labels_by: 'row' or 'idxs': how labels and `idxs` of a file belong together;
        empty for the reading that fits the classifier.
      few_below: Classes with fewer training samples are 'few': a number, or a
        quantile such as '25%'.
      many_above: Classes with more training samples are 'many'.
      counts_file: List of the training samples with their labels, or of the number of
        samples of every class, to be counted instead of the training group.
    """

    name: str
    feature_files_dir: str
    classifier_file: str
    split_files_dir: str | None = None
    classifier_loader: str = LINEAR
    classifier_key: str = ""
    classifier_normalize: bool = False
    nn_files_dir: str | None = None
    baseline_eval_file: str | None = None
    label_names_file: str | None = None
    synsets_file: str | None = None
    datagrps: tuple[str, ...] = ("train", "val", "test")
    proper_name: str = ""
    feature_files: Mapping[str, tuple[str, ...]] = dataclasses.field(
        default_factory=dict
    )
    label_files: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    labels_by: str = ""
    few_below: str = ""
    many_above: str = ""
    counts_file: str | None = None


def check_reading(labels_by: str, where: str) -> str:
    """Checks the name of a reading of labels; empty is one, too.

    Args:
      labels_by: The name.
      where: The key or flag to name.

    Returns:
      The name.

    Raises:
      UserError: If there is no such reading.
    """
    if labels_by and labels_by not in READINGS:
        raise UserError(
            f"{where} must be one of {', '.join(READINGS)}, got {labels_by!r}"
        )
    return labels_by


def format_entry(entry: DatasetEntry) -> str:
    """Writes an entry as a registry that has it alone; `get_entry` reads it.

    Args:
      entry: The entry.

    Returns:
      TOML.

    Examples:
      >>> print(format_entry(DatasetEntry("mine", "feats", "head.npz")), end="")
      ["mine"]
      feature_files_dir = "feats"
      classifier_file = "head.npz"
    """
    lines = [f"[{_quoted(entry.name)}]"]
    for field in dataclasses.fields(entry)[1:]:
        value = getattr(entry, field.name)
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if value != default:
            lines.append(f"{field.name} = {_as_toml(value)}")
    return "\n".join(lines) + "\n"


def _as_toml(value: str | bool | tuple[str, ...] | Mapping[str, Any]) -> str:
    """Writes a value of an entry."""
    if isinstance(value, Mapping):
        items = (f"{_quoted(key)} = {_as_toml(one)}" for key, one in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_quoted, value))}]"
    return _quoted(value)


def _quoted(value: str | bool) -> str:
    """Writes a value of TOML, whose strings JSON's are but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _make_entry(path: Path, name: str, table: dict[str, Any]) -> DatasetEntry:
    """Checks the table of a dataset, and makes an entry of it."""
    where = f"{path}: dataset {name!r}"
    fields = [field.name for field in dataclasses.fields(DatasetEntry)][1:]
    arguments: dict[str, Any] = {"proper_name": name, **table}
    for key, value in table.items():
        if key not in fields:
            hint = did_you_mean(key, fields, most_listed=len(fields))
            raise UserError(f"{where}: unknown key {brief(key)}; {hint}")
        if key == "datagrps":
            if not isinstance(value, list) or not all(
                isinstance(group, str) and group for group in value
            ):
                raise UserError(
                    f"{where}: datagrps must be a list of names: {brief(value)}"
                )
        elif key in _FILES_OF_GROUPS:
            arguments[key] = _files_of_groups(f"{where}: {key}", value)
        elif key in _SWITCHES:
            if not isinstance(value, bool):
                raise UserError(
                    f"{where}: {key} must be true or false, got {brief(value)}"
                )
        elif key in _THRESHOLDS and type(value) in (int, float):
            arguments[key] = str(value)
        elif key in _THRESHOLDS and (not isinstance(value, str) or not value):
            raise UserError(
                f"{where}: {key} must be a number of samples or a quantile such as "
                f"'25%', got {brief(value)}"
            )
        elif not isinstance(value, str) or not value:
            raise UserError(
                f"{where}: {key} must be a non-empty string, got {brief(value)}"
            )
        elif "\0" in value:
            raise UserError(
                f"{where}: {key} must be without a zero byte, got {brief(value)}"
            )
    for key in fields:
        if key in _REQUIRED and key not in table:
            raise UserError(f"{where}: {key} is missing")
    loader = table.get("classifier_loader", LINEAR)
    if loader not in LOADERS:
        raise UserError(
            f"{where}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {brief(loader)}"
        )
    if "split_files_dir" in table and any(key in table for key in _COUNTED):
        raise UserError(
            f"{where}: split_files_dir has lists of classes, {', '.join(_COUNTED)} "
            "make splits of counts; give one or the other"
        )
    if "labels_by" in table:
        check_reading(table["labels_by"], f"{where}: labels_by")
    if "datagrps" in arguments:
        arguments["datagrps"] = tuple(arguments["datagrps"])
    return DatasetEntry(name=name, **arguments)


def _files_of_groups(where: str, value: Any) -> dict[str, tuple[str, ...]]:
    """Checks the files of groups: a name for each, or a list of names."""
    error = UserError(
        f'{where} must be a table such as {{train = "train_all.pkl"}}, with a file or '
        f"a list of files for each group, got {brief(value)}"
    )
    if not isinstance(value, dict):
        raise error
    files_of: dict[str, tuple[str, ...]] = {}
    for group, names in value.items():
        listed = [names] if isinstance(names, str) else names
        if not isinstance(listed, list) or not listed:
            raise error
        if not all(isinstance(one, str) and one for one in listed):
            raise error
        files_of[group] = tuple(listed)
    return files_of


def load_registry(path: Path) -> dict[str, dict[str, Any]]:
    """Reads the tables of a registry.

    Args:
      path: Registry file.

    Returns:
      The tables by dataset name, unchecked.

    Raises:
      UserError: If the file is missing or is not TOML with one table a dataset.
    """
    try:
        tables = parsing.parse_toml(files.decode_text(files.read_bytes(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot read registry: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(
                f"{path}: {brief(name)} is not a table; write it as [{printable(name)}]"
            )
    return tables


def get_entry(path: Path, name: str) -> DatasetEntry:
    """Looks a dataset up.

    Args:
      path: Registry file.
      name: Name of the dataset.

    Returns:
      Its entry, checked. Other datasets of the file may be incomplete.

    Raises:
      UserError: If the dataset is unknown or its table is not right.
    """
    tables = load_registry(path)
    if not name:
        raise UserError(
            "dataset must be set to one of those in "
            f"{path}: {', '.join(map(printable, tables)) or 'none'}"
        )
    if name not in tables:
        raise UserError(
            f"unknown dataset {name!r} in {path}; {did_you_mean(name, tables)}"
        )
    return _make_entry(path, name, tables[name])


def find_entry(path: str, name: str, data_root: str) -> tuple[DatasetEntry, Path]:
    """Looks a dataset up, and finds what its paths are relative to.

    The registry and the data that come with the program are found from any directory,
    where `path` and `data_root` are the defaults of the settings and name nothing here.

    Args:
      path: Registry file.
      name: Name of the dataset.
      data_root: Directory that the paths of the registry are relative to.

    Returns:
      Its entry, checked, and that directory.

    Raises:
      UserError: As `get_entry`.
    """
    found = bundled.find(path) if path == bundled.REGISTRY else path
    entry, root = get_entry(Path(found), name), Path(data_root)
    if found != path and root == Path("."):
        root = Path(bundled.root_of(entry.feature_files_dir))
    return entry, root
