"""From features and a checkpoint to a corrected classifier, without a registry."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from alphanet_jax import files
from alphanet_jax.commands import running, train
from alphanet_jax.commands.running import fields
from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.data.registry import DatasetEntry
    from alphanet_jax.experiment.progress import Report
    from alphanet_jax.experiment.training import Trained

__all__ = [
    "DESCRIPTION",
    "define_flags",
    "fields",
    "prepare_arguments",
    "run",
    "what_next",
]

DESCRIPTION = """\
Corrects the rare classes of your own classifier. It reads features and labels, finds
the linear layer in a checkpoint, checks both, trains ten seeds, says what changed, and
writes WORKDIR/result.npz and, with --out, the corrected classifier.

  python main.py fit --features=features --classifier=model.pth --workdir=results/mine
  python main.py fit --features=features --classifier=model.pth \\
      --classifier_key=state_dict.fc --few_below=20 --workdir=results/mine \\
      --out=head.npz

In --features are the samples of train and, if there are any, of val and test:
train.npy with train_labels.npy, or train.npz, .pt, .pth, .pkl, .safetensors. Without
val the last epoch is taken, and the mean of the seeds; without test, accuracies are
those of val or train, which is said. All fields of the config may be set, and several
values make a sweep, of which the best by validation accuracy is taken:

  python main.py fit --features=features --classifier=model.pth \\
      --workdir=results/rhos --config.rho="(0.1, 0.25, 0.5, 1.0)"

What the files are is written to WORKDIR/dataset.toml, a registry by which other
commands find them."""

# Names of `correction.METHODS`, which needs JAX.
METHODS = ("alphanet",)
_REGISTRY = "dataset.toml"
# Fields of the config that follow from the command's own flags.
_DECIDED = {
    "dataset": "--workdir",
    "registry": "--features",
    "data_root": "--features",
    "classifier_key": "--classifier_key",
    "classifier_normalize": "--normalize",
    "labels_by": "--labels_by",
    "few_below": "--few_below",
    "many_above": "--many_above",
}
_RHO = 0.5


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Adds what a config would have to set.

    Raises:
      UserError: If a field is unknown, or follows from other flags.
    """
    given = {argument.partition("=")[0].lstrip("-") for argument in arguments}
    for name, flag in _DECIDED.items():
        if f"config.{name}" in given:
            raise UserError(f"fit takes {flag} instead of --config.{name}")
    added = []
    if "config" not in given:
        added.append("--config=default")
        if "config.rho" not in given:
            added.append(f"--config.rho={_RHO}")
    # Set again when the files are known; a config has to have one.
    return running.prepare_arguments([*added, *arguments, "--config.dataset=fit"])


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
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
        ("method", f"how to correct: {', '.join(METHODS)} [{METHODS[0]}]"),
        ("out", "file for the corrected classifier: .npz, .safetensors or .pth"),
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
    train.define_flags(values, argv)
    values["workdir"].help = "directory for the result and the names of the files"


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag, a file or the data is not right; nothing is written.
    """
    _check_flags(values)
    points = running.points(values)
    workdir, out = _places(values)
    running.start_jax(values)

    from alphanet_jax.data import registry
    from alphanet_jax.experiment import devices, training

    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    entry = _make_entry(values, workdir.name)
    groups = _find_groups(entry, Path(entry.feature_files_dir), points, report)
    entry = dataclasses.replace(
        entry, datagrps=tuple(dict.fromkeys(filter(None, groups.values())))
    )
    registry_file = workdir.resolve() / _REGISTRY
    points = [_place(point, entry, registry_file, groups) for point in points]
    data = training.load_data(points[0].settings, entry=entry, report=report)
    if speaks:
        with files.replacing(registry_file) as temporary:
            temporary.write_text(registry.format_entry(entry), encoding="utf-8")
    trained = train.train_points(values, points, data, workdir, report)
    if not speaks:
        return
    train.conclude(trained, report)
    _conclude(_best(trained, report), data, out, report)


def _check_flags(values: flags.FlagValues) -> None:
    for name in ("features", "classifier", "workdir"):
        if not values[name].value:
            example = "fit --features=DIR --classifier=FILE --workdir=DIR"
            raise UserError(f"--{name} is missing; {example}")
    if values.method is not None and values.method not in METHODS:
        hint = did_you_mean(values.method, METHODS)
        raise UserError(f"--method: unknown method {values.method!r}; {hint}")
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
        if path.is_dir() != (kind == "directory"):
            raise UserError(f"--{name}: {text} is not a {kind}")


def _places(values: flags.FlagValues) -> tuple[Path, Path | None]:
    """Returns the directory for results, and the file for the classifier."""
    from alphanet_jax.data import checkpoint_copies
    from alphanet_jax.results import saved_heads

    workdir = running.workdir(values)
    if not values.out:
        return workdir, None
    out = Path(values.out)
    saved_heads.check_ending(out)
    checkpoint_copies.check_new(out)
    return workdir, out


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
    entry: "DatasetEntry", root: Path, points: Sequence[Point], report: "Report"
) -> dict[str, str]:
    """Finds which group is for what; says what takes the place of missing ones."""
    from alphanet_jax.data.group_files import find_feature_files

    settings = points[0].settings
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
        )
    return wanted


def _place(
    point: Point, entry: "DatasetEntry", registry_file: Path, groups: dict[str, str]
) -> Point:
    """Puts a point on the files."""
    settings = dataclasses.replace(
        point.settings,
        dataset=entry.name,
        registry=str(registry_file),
        data_root=entry.feature_files_dir,
        train_datagrp=groups["train"],
        val_datagrp=groups["val"],
        test_datagrp=groups["test"],
    )
    return dataclasses.replace(point, settings=settings)


def _default(attribute: str) -> Any:
    return {f.name: f.default for f in dataclasses.fields(Settings)}[attribute]


def _best(trained: "Sequence[Trained]", report: "Report") -> "Trained":
    """Chooses the point with the best validation accuracy, mean over seeds."""
    from alphanet_jax.results import corrected

    if len(trained) == 1:
        return trained[0]
    names = ("selected_epoch", "val_accuracy")
    found = [corrected.val_accuracy(one.arrays(names)).mean() for one in trained]
    index = max(range(len(found)), key=lambda i: (found[i] == found[i], found[i]))
    title = trained[index].point.title
    if found[index] != found[index]:  # NaN: nothing to choose by
        index, title = 0, trained[0].point.title
        report(
            f"note: without val samples there is no best of {len(trained)} points; "
            f"what follows is of the first, {title}"
        )
    else:
        report(
            f"best by validation accuracy, {100 * found[index]:.1f} overall as the "
            f"mean of seeds: {title}; what follows is of it"
        )
    return trained[index]


def _conclude(
    trained: "Trained", data: "Dataset", out: Path | None, report: "Report"
) -> None:
    """Says what changed, and writes the classifier."""
    from alphanet_jax.results import changes, corrected, export
    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.sets import load_file

    arrays = trained.arrays()
    print(f"\n{changes.describe_changes(arrays)}")
    if out is None:
        return
    assert trained.path is not None  # there is a work directory
    file = load_file(trained.path)
    said = corrected.remark_on_harm(arrays)  # below the table
    export.export_result(
        file,
        out,
        finder=DataFinder(data=data),
        report=lambda line: None if line == said else report(line),
    )


def what_next(values: flags.FlagValues, program: str) -> str:
    """Returns commands to go on with, fit to be copied."""
    below = f"--base_res_dir={values.workdir}"
    combos = shlex.join(["combos", below, "--select_n=1", "--mistake_n=3"])
    copy = shlex.join(
        [
            "export",
            f"--result={values.workdir}",
            f"--into={values.classifier}",
            f"--out={_copy_name(Path(values.classifier))}",
        ]
    )
    return f"""
Next, the classifier in a copy of its checkpoint (of a sweep, name one point's
directory), and what was learned for the class that gained most:
  {program} {copy}
  {program} {combos}"""


def _copy_name(path: Path) -> str:
    """Names a copy beside no one's file: model_corrected.pth for model.pth."""
    stem, dot, ending = path.name.partition(".")
    return f"{stem}_corrected{dot}{ending}"
