"""From features and a checkpoint to a corrected classifier, without a registry."""

import contextlib
import itertools
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from alphanet_jax.commands import own_files, running, train
from alphanet_jax.commands.own_files import MOST_HELP, TARGET_HELP, fields
from alphanet_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from alphanet_jax.comparison import fitting
    from alphanet_jax.config.sweep import Point
    from alphanet_jax.data.dataset import Dataset
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

--method=alphanet_plus or another corrects in another way than AlphaNet; auto compares
all that take seconds on val, and chooses by what you need:

  python main.py fit --features=features --classifier=model.pth \\
      --workdir=results/auto --method=auto --target="overall >= -1"

What the files are is written to WORKDIR/dataset.toml, a registry by which other
commands find them."""

_ALIASES = {"alphanet+": "alphanet_plus"}
# Fields of the config that other methods than AlphaNet have a use for.
_OF_ALL = ("seed", "training.n_neighbors", "training.nn_dist",
           "training.train_datagrp", "training.val_datagrp",
           "training.test_datagrp")  # fmt: skip
# Names of `correction.METHODS`, which needs JAX.
METHODS = (
    *("alphanet", "auto", "few_offset", "logit_adjustment", "prior_from_predictions"),
    *("tau_normalization", "tau_normalization_bias", "nearest_class_mean_un"),
    *("nearest_class_mean_cosine", "gaussian_scores", "gaussian_scores_unshrunk"),
    *("gaussian_mix", "balanced_softmax_head", "alphanet_plus", "max_norm", "crt"),
    *("lws", "marc", "drops"),
)


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Adds what a config would have to set.

    Raises:
      UserError: If a field is unknown, or follows from other flags.
    """
    _check_use(arguments)
    return own_files.prepare_arguments(arguments, "fit")


def _check_use(arguments: Sequence[str]) -> None:
    """Checks that a method has a use for the fields of the config that are given."""
    pairs = list(itertools.pairwise([*arguments, ""]))
    given = {}
    for argument, following in pairs:
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-"):
            given[name] = value if equals else following
    method = given.get("method", METHODS[0])
    # One that there is not is another error.
    if method not in (*METHODS[1:], *_ALIASES):
        return
    for name in given:
        field = name.removeprefix("config.")
        if name.startswith("config.") and field not in _OF_ALL:
            raise UserError(
                f"--{name} is of AlphaNet's training, and --method is {method}; other "
                f"methods take {', '.join(f'--config.{each}' for each in _OF_ALL)}"
            )


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the command's flags; those of config fields depend on `argv`."""
    own_files.define_flags(values)
    for name, purpose in (
        ("method", f"how to correct: {', '.join(METHODS)} [{METHODS[0]}]"),
        ("out", "file for the corrected classifier: .npz, .safetensors or .pth"),
    ):
        flags.DEFINE_string(name, None, purpose, flag_values=values)
    flags.DEFINE_multi_string("target", [], TARGET_HELP, flag_values=values)
    flags.DEFINE_bool(
        "refit_on_val",
        False,
        "fit the chosen method on train and val together in the end; then only test "
        "can judge it",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "most_per_class", None, MOST_HELP, lower_bound=1, flag_values=values
    )
    train.define_flags(values, argv)
    values["workdir"].help = "directory for the result and the names of the files"


def run(values: flags.FlagValues) -> None:
    """Runs the command.

    Raises:
      UserError: If a flag, a file or the data is not right; nothing is written.
    """
    method = _check_flags(values)
    points = running.points(values)
    workdir, out = _places(values)
    running.start_jax(values)
    running.hold(values, workdir)

    from alphanet_jax.comparison import fitting
    from alphanet_jax.experiment import devices, training

    asked = _ask(method, values, points)
    speaks = devices.is_first_process()
    report = running.say if speaks else lambda line: None
    given = points[0].settings
    found = own_files.find(values, workdir, given, report)
    points = own_files.place(points, found)
    data = training.load_data(points[0].settings, entry=found.entry, report=report)
    if speaks:
        overwrite = bool(values.overwrite)
        _check_results(points, data, asked, workdir, overwrite=overwrite)
    with own_files.registered(found) if speaks else contextlib.nullcontext():
        if asked is not None:
            done = fitting.run(
                data,
                asked,
                settings=points[0].settings,
                workdir=workdir,
                overwrite=bool(values.overwrite),
                report=report,
            )
        else:
            rest = own_files.once(report, given, found)
            controls = train.make_controls(values, data)
            trained = train.train_points(values, points, data, workdir, rest, controls)
    if not speaks:
        return
    if asked is not None:
        _conclude_other(done, values, data, out, report)
        return
    train.conclude(trained, controls, report)
    _conclude(_best(trained, report), data, out, report)
    training.check_saved(trained)


def _conclude_other(
    done: "fitting.Kept",
    values: flags.FlagValues,
    data: "Dataset",
    out: Path | None,
    report: "Report",
) -> None:
    """Says what another method than AlphaNet changed, and writes the classifier."""
    from alphanet_jax.results import accuracy_tables

    beside = train.find_controls(train.make_controls(values, data), report)
    report("")
    rows = {str(done.arrays["method"]): done.arrays}
    print(accuracy_tables.training_table(rows, controls=beside))
    if done.path is None:  # it could be saved nowhere
        raise UserError(done.unsaved)
    _describe(done.arrays, done.path, data, out, report)
    if done.unsaved:
        raise UserError(done.unsaved)


def _check_results(
    points: "Sequence[Point]",
    data: "Dataset",
    asked: "fitting.Asked | None",
    workdir: Path,
    *,
    overwrite: bool,
) -> None:
    """Checks that no result of something else is replaced, before anything is.

    Raises:
      UserError: If one would be.
    """
    from alphanet_jax.experiment import training
    from alphanet_jax.results import file as result_file

    if asked is None:
        training.find_done(
            points,
            data,
            workdir=workdir,
            report=lambda line: None,
            name_done=False,
            overwrite=overwrite,
        )
        return
    result_file.is_done(
        workdir / result_file.FILE_NAME,
        config=points[0].settings.as_config() | asked.as_config(),
        file_hashes=data.file_hashes,
        overwrite=overwrite,
    )


def _check_flags(values: flags.FlagValues) -> str:
    """Checks flags; returns the method."""
    own_files.check_flags(values, "fit")
    method = _ALIASES.get(values.method, values.method) or METHODS[0]
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise UserError(f"--method: unknown method {values.method!r}; {hint}")
    if method == METHODS[0]:
        for name in ("target", "refit_on_val", "most_per_class"):
            if values[name].value:
                raise UserError(
                    f"--{name} is for other methods than {method}, such as "
                    "--method=auto"
                )
        return method
    for name in ("ckpt_dir", "tb_logs"):
        if values[name].value:
            raise UserError(f"--{name} is for AlphaNet, and --method is {method}")
    if values.num_processes not in (None, 1):
        raise UserError(f"--method={method} takes one process")
    return method


def _ask(
    method: str, values: flags.FlagValues, points: "Sequence[Point]"
) -> "fitting.Asked | None":
    """Makes what is asked of another method than AlphaNet; None for that."""
    from alphanet_jax.comparison import choosing, fitting

    if method == METHODS[0]:
        return None
    targets = tuple(choosing.parse_target(text) for text in values.target)
    return fitting.Asked(
        method,
        targets,
        values.refit_on_val,
        points[0].settings.seed,
        values.most_per_class,
    )


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
    if trained.path is None:  # it could be saved nowhere
        raise UserError("; ".join(trained.unsaved))
    _describe(trained.arrays(), trained.path, data, out, report)


def _describe(
    arrays: Mapping[str, "np.ndarray"],
    path: Path,
    data: "Dataset",
    out: Path | None,
    report: "Report",
) -> None:
    """Says what changed, and writes the classifier."""
    from alphanet_jax.results import changes, corrected, export
    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.sets import load_file

    print(f"\n{changes.describe_changes(arrays)}")
    if out is None:
        return
    said = corrected.remark_on_harm(arrays)  # below the table
    export.export_result(
        load_file(path),
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
