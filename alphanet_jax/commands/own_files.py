"""Files of the user's own, named by flags in place of a registry.

A command that takes them defines the flags, makes what a registry would say of the
files, finds the groups, writes that registry where other commands find it, and puts the
points of its config on it.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alphanet_jax import files, outputs
from alphanet_jax.commands import running
from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError
from alphanet_jax.stages import wrap

if TYPE_CHECKING:
    from alphanet_jax.data.registry import DatasetEntry
    from alphanet_jax.experiment.progress import Report

__all__ = [
    "DECIDED",
    "MOST_HELP",
    "TARGET_HELP",
    "OwnFiles",
    "check_flags",
    "check_none",
    "define_flags",
    "fields",
    "find",
    "once",
    "place",
    "prepare_arguments",
    "registered",
]

TARGET_HELP = (
    'what must hold on val: "overall >= -1" or "few >= +5", points against the '
    'unchanged classifier; "few >= 45", percent; may be repeated'
)
MOST_HELP = (
    "most samples of a class that alphanet+ and the balanced-softmax head are fitted "
    "to, each of which then stands for several; less time for large data [all]"
)
_REGISTRY = "dataset.toml"
_RHO = 0.5  # where there is no config
_OF_FILES = ("classifier", "classifier_key", "splits", "few_below", "many_above",
             "label_names", "labels_by", "feature_files", "label_files",
             "normalize")  # fmt: skip
# Fields of the config that follow from these flags.
DECIDED = {
    "dataset": "--workdir",
    "registry": "--features",
    "data_root": "--features",
    "classifier_key": "--classifier_key",
    "classifier_normalize": "--normalize",
    "labels_by": "--labels_by",
    "few_below": "--few_below",
    "many_above": "--many_above",
}


@dataclasses.dataclass(frozen=True)
class OwnFiles:
    """The user's files, as a registry would name them.

    Attributes:
      entry: What the registry says.
      registry_file: Where it is to be written.
      groups: Name of the group, by 'train', 'val' and 'test'; an empty one of none.
    """

    entry: "DatasetEntry"
    registry_file: Path
    groups: Mapping[str, str]


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags that name the files."""
    for name, purpose in (
        ("features", "directory of the features and labels of train, val and test"),
        ("classifier", "file that holds the linear classifier, a checkpoint or arrays"),
        (
            "classifier_key",
            "key of its weight, such as state_dict.fc, where several tensors can be it",
        ),
        (
            "splits",
            "directory of few.txt, medium.txt and many.txt, a class a line; by default "
            "splits follow from the number of training samples",
        ),
        ("few_below", "classes with fewer training samples are few: 20, or 25% [20]"),
        ("many_above", "classes with more are many: 100, or 75% [100]"),
        ("label_names", "file of class names, one a line in the order of class ids"),
        ("labels_by", "row or idxs: how labels and idxs of a file belong together"),
    ):
        flags.DEFINE_string(name, None, purpose, flag_values=values)
    for name, purpose in (
        ("feature_files", "files of groups in --features: train=a.pt,val=b.pt"),
        ("label_files", "files of labels beside those: train=a_y.pt,val=b_y.pt"),
    ):
        flags.DEFINE_list(name, [], f"{purpose} [found by name]", flag_values=values)
    flags.DEFINE_bool(
        "normalize",
        False,
        "normalize the row of every class, as a head that does so itself needs",
        flag_values=values,
    )


def fields() -> list[tuple[str, Any, str]]:
    """Lists name, default and help of what `--config.` takes beside these flags."""
    return [
        (name, _RHO if name == "config.rho" else default, text)
        for name, default, text in running.fields()
        if name.removeprefix("config.") not in DECIDED
    ]


def prepare_arguments(arguments: Sequence[str], command: str) -> list[str]:
    """Adds what a config would have to set.

    Args:
      arguments: Arguments of the command line.
      command: Name of the command, for error messages.

    Raises:
      UserError: If a field is unknown, or follows from other flags.
    """
    given = {argument.partition("=")[0].lstrip("-") for argument in arguments}
    for name, flag in DECIDED.items():
        if f"config.{name}" in given:
            raise UserError(f"{command} takes {flag} instead of --config.{name}")
    added = []
    if "config" not in given:
        added.append("--config=default")
        if "config.rho" not in given:
            added.append(f"--config.rho={_RHO}")
    # Set again when the files are known; a config has to have one.
    return running.prepare_arguments(
        [*added, *arguments, f"--config.dataset={command}"]
    )


def check_flags(values: flags.FlagValues, command: str) -> None:
    """Checks what can be checked before JAX is started.

    Args:
      values: The flags.
      command: Name of the command, for error messages.

    Raises:
      UserError: If a flag is missing, or names no such file.
    """
    for name in ("features", "classifier", "workdir"):
        if not values[name].value:
            example = f"{command} --features=DIR --classifier=FILE --workdir=DIR"
            raise UserError(f"--{name} is missing; {example}")
    limits = [name for name in ("few_below", "many_above") if values[name].value]
    if values.splits and limits:
        raise UserError(
            f"--splits has lists of classes, --{limits[0]} makes splits of counts; "
            "give one or the other"
        )
    for name, kind in (("features", "directory"), ("splits", "directory"),
                       ("classifier", "file"), ("label_names", "file")):  # fmt: skip
        text = values[name].value
        if not text:
            continue
        path = Path(text)
        if not path.exists():
            raise UserError(f"--{name}: there is no {kind} {text}")
        files.check_regular(path)
        if path.is_dir() != (kind == "directory"):
            raise UserError(f"--{name}: {text} is not a {kind}")


def check_none(values: flags.FlagValues) -> None:
    """Checks that no flag names a file, where --features is not given.

    Raises:
      UserError: If one does.
    """
    for name in _OF_FILES:
        if values[name].value:
            raise UserError(f"--{name} needs --features=DIR, the user's own files")


def find(
    values: flags.FlagValues, workdir: Path, settings: Settings, report: "Report"
) -> OwnFiles:
    """Finds the files that the flags name.

    Args:
      values: The flags.
      workdir: Where the registry is to be written; its name is the dataset's.
      settings: Settings, which name the groups.
      report: Takes lines of text: what takes the place of missing groups.

    Raises:
      UserError: If a flag is not right.
    """
    entry = _make_entry(values, workdir.name)
    groups = _find_groups(entry, Path(entry.feature_files_dir), settings, report)
    used = tuple(dict.fromkeys(filter(None, groups.values())))
    entry = dataclasses.replace(entry, datagrps=used)
    return OwnFiles(entry, workdir.resolve() / _REGISTRY, groups)


def once(report: "Report", settings: Settings, found: OwnFiles) -> "Report":
    """Leaves out of a report what `find` has said of missing test samples.

    Args:
      report: Takes lines of text.
      settings: Settings as `find` got them.
      found: What it found.
    """
    from alphanet_jax.experiment.problem import remark_on_one_group

    group = found.groups["test"]
    if group == settings.test_datagrp:
        return report
    kind = "val" if found.groups["val"] == group else "train"
    said = f"note: {remark_on_one_group(f'{kind}_datagrp', 'test_datagrp', group)}"
    return wrap(report, lambda line: None if line == said else report(line))


@contextlib.contextmanager
def registered(found: OwnFiles) -> Iterator[None]:
    """Writes the registry by which other commands find the files.

    Where what follows is refused before there is anything but the registry, such as
    for settings that do not fit the data, it is taken away again.

    Args:
      found: The files.
    """
    from alphanet_jax.data import registry

    path = found.registry_file
    was_there = path.exists()
    with files.replacing(path) as temporary:
        temporary.write_text(registry.format_entry(found.entry), encoding="utf-8")
    try:
        yield
    except UserError:
        others = {other.name for other in path.parent.iterdir()}
        if not was_there and others <= {path.name, outputs.LOCK_NAME}:
            path.unlink()
        raise


def place(points: Sequence[Point], found: OwnFiles) -> list[Point]:
    """Puts points on the files."""
    entry, groups = found.entry, found.groups
    return [
        dataclasses.replace(
            point,
            settings=dataclasses.replace(
                point.settings,
                dataset=entry.name,
                registry=str(found.registry_file),
                data_root=entry.feature_files_dir,
                train_datagrp=groups["train"],
                val_datagrp=groups["val"],
                test_datagrp=groups["test"],
            ),
        )
        for point in points
    ]


def _make_entry(values: flags.FlagValues, name: str) -> "DatasetEntry":
    """Makes what a registry would say of the files."""
    from alphanet_jax.data import registry

    def absolute(flag: str) -> Any:
        text = values[flag].value
        return str(Path(text).resolve()) if text else None

    return registry.DatasetEntry(
        name=name or "fit",
        proper_name=name or "fit",
        feature_files_dir=absolute("features"),
        classifier_file=absolute("classifier"),
        classifier_key=values.classifier_key or "",
        classifier_normalize=values.normalize,
        split_files_dir=absolute("splits"),
        label_names_file=absolute("label_names"),
        labels_by=registry.check_reading(values.labels_by or "", "--labels_by"),
        feature_files=_files_of_groups(values, "feature_files"),
        label_files=_files_of_groups(values, "label_files"),
        few_below=values.few_below or "",
        many_above=values.many_above or "",
    )


def _files_of_groups(values: flags.FlagValues, flag: str) -> dict[str, tuple[str, ...]]:
    """Reads the files of groups; a group that is there again has several."""
    found: dict[str, tuple[str, ...]] = {}
    for text in values[flag].value or ():
        group, equals, name = text.partition("=")
        if not (group and equals and name):
            raise UserError(f"--{flag}: expected GROUP=FILE, got {text!r}")
        found[group] = (*found.get(group, ()), name)
    return found


def _find_groups(
    entry: "DatasetEntry", root: Path, settings: Settings, report: "Report"
) -> dict[str, str]:
    """Finds which group is for what; says what takes the place of missing ones."""
    from alphanet_jax.data.group_files import find_feature_files

    wanted = {
        kind: getattr(settings, f"{kind}_datagrp") for kind in ("train", "val", "test")
    }
    usual = {kind: _default(f"{kind}_datagrp") for kind in wanted}

    def is_missing(kind: str) -> bool:
        # One that was asked for by name must be there.
        return wanted[kind] == usual[kind] and not (
            find_feature_files(entry, root, wanted[kind]).parts
        )

    if wanted["val"] and is_missing("val"):
        report(
            f"note: {root} has no val samples: the last epoch is tested, and the mean "
            "of the seeds is the corrected classifier"
        )
        wanted["val"] = ""
    if is_missing("test"):
        wanted["test"] = wanted["val"] or wanted["train"]
        which = "val" if wanted["val"] else "train"
        report(
            f"note: {root} has no test samples; accuracies are those of {which}, which "
            + ("chose the epoch" if wanted["val"] else "it was trained on")
            + ", and so too high"
        )
    return wanted


def _default(attribute: str) -> Any:
    return {f.name: f.default for f in dataclasses.fields(Settings)}[attribute]
