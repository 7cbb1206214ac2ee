"""The registry of datasets: which files make up each, in a TOML file."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from alphanet_jax.errors import UserError, did_you_mean

__all__ = ["LINEAR", "LOADERS", "DatasetEntry", "get_entry", "load_registry"]

# The names of the original for a linear classifier, and for several experts as one.
LINEAR = "LinearClassifierLoader"
LOADERS = (LINEAR, "CombinedClassifierLoader")


@dataclasses.dataclass(frozen=True)
class DatasetEntry:
    """Where the files of one dataset are; paths are relative to the data root.

    Attributes:
      name: Key in the registry.
      split_files_dir: Directory of `few.txt`, `medium.txt` and `many.txt`.
      feature_files_dir: Directory of the feature files of every group.
      classifier_file: File of the classifier.
      classifier_loader: One of `LOADERS`.
      nn_files_dir: Directory for neighbor files.
      baseline_eval_file: File for the evaluation of the unchanged classifier.
      label_names_file: File with one class name a line, if there is one.
      synsets_file: File with the WordNet 3.0 synset of one class a line, if there is
        one. Training does not read it.
      datagrps: Names of the groups.
      proper_name: Display name.
    """

    name: str
    split_files_dir: str
    feature_files_dir: str
    classifier_file: str
    classifier_loader: str = LINEAR
    nn_files_dir: str | None = None
    baseline_eval_file: str | None = None
    label_names_file: str | None = None
    synsets_file: str | None = None
    datagrps: tuple[str, ...] = ("train", "val", "test")
    proper_name: str = ""


def _make_entry(path: Path, name: str, table: dict[str, Any]) -> DatasetEntry:
    """Checks the table of a dataset, and makes an entry of it."""
    where = f"{path}: dataset {name!r}"
    fields = {field.name: field for field in dataclasses.fields(DatasetEntry)}
    del fields["name"]
    for key, value in table.items():
        if key not in fields:
            raise UserError(
                f"{where}: unknown key {key!r}; {did_you_mean(key, fields)}"
            )
        if key == "datagrps":
            if not isinstance(value, list) or not all(
                isinstance(group, str) and group for group in value
            ):
                raise UserError(f"{where}: datagrps must be a list of names: {value!r}")
        elif not isinstance(value, str) or not value:
            raise UserError(f"{where}: {key} must be a non-empty string, got {value!r}")
    for key, field in fields.items():
        if field.default is dataclasses.MISSING and key not in table:
            raise UserError(f"{where}: {key} is missing")
    loader = table.get("classifier_loader", LINEAR)
    if loader not in LOADERS:
        raise UserError(
            f"{where}: classifier_loader must be one of {', '.join(LOADERS)}, "
            f"got {loader!r}"
        )
    arguments = {"proper_name": name, **table}
    if "datagrps" in arguments:
        arguments["datagrps"] = tuple(arguments["datagrps"])
    return DatasetEntry(name=name, **arguments)


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
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise UserError(f"{path}: cannot read registry: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a TOML file: {error}") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(f"{path}: {name!r} is not a table; write it as [{name}]")
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
    if name not in tables:
        raise UserError(
            f"unknown dataset {name!r} in {path}; {did_you_mean(name, tables)}"
        )
    return _make_entry(path, name, tables[name])
