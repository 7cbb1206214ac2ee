"""Converts a dataset of the original's files to plain arrays."""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from alphanet_jax import bundled, outputs
from alphanet_jax.errors import UserError

__all__ = ["DESCRIPTION", "define_flags", "run"]

DESCRIPTION = """\
Turns a dataset of the original's .pkl and .pth files into plain NumPy arrays, without
PyTorch and without running anything that a file may hold. Relative paths stay, so the
same registry serves the converted data:

  python convert_torch_features.py --registry=configs/datasets.toml \\
      --dataset=imagenetlt_resnext50_crt --data_root=/original --out=/converted
  python main.py --config=imagenetlt --config.data_root=/converted"""


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the program's flags, whatever the arguments are."""
    del argv
    flags.DEFINE_string(
        "registry",
        bundled.find(bundled.REGISTRY),
        "TOML file that lists datasets",
        flag_values=values,
    )
    flags.DEFINE_string("dataset", None, "name in the registry", flag_values=values)
    flags.DEFINE_string(
        "data_root",
        ".",
        "directory that the registry's paths are relative to",
        flag_values=values,
    )
    flags.DEFINE_string("out", None, "the same for the result", flag_values=values)
    flags.DEFINE_list(
        "groups",
        None,
        "groups of samples to convert; by default all of the registry's datagrps",
        flag_values=values,
    )
    flags.DEFINE_string(
        "feature_dtype",
        "source",
        "float32 or float16; 'source' keeps float16 and makes all else float32",
        flag_values=values,
    )
    flags.DEFINE_string(
        "labels_by",
        "",
        "row or idxs: how labels and idxs of a file belong together; by default what "
        "the registry says, or else what fits the classifier",
        flag_values=values,
    )
    flags.DEFINE_string(
        "classifier_key",
        "",
        "key of the weight in the classifier's file, such as state_dict.fc; by default "
        "what the registry says, or else the one tensor that can be it",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "classifier_normalize",
        False,
        "normalize the row of every class, as heads that do it themselves need",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "ignore_idxs",
        False,
        "take labels row by row: the same as --labels_by=row",
        flag_values=values,
    )


def run(values: flags.FlagValues) -> None:
    """Runs the program.

    Raises:
      UserError: If a file is missing, damaged or not right; nothing is written.
    """
    for name in ("dataset", "out"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; see --help")
    if values.ignore_idxs and values.labels_by == "idxs":
        raise UserError(
            "--ignore_idxs takes labels row by row, --labels_by=idxs does not; give "
            "one of them"
        )
    outputs.check_directory("out", Path(values.out))
    from alphanet_jax.data import classifiers
    from alphanet_jax.data.convert import convert_dataset
    from alphanet_jax.data.registry import get_entry

    entry = get_entry(Path(values.registry), values.dataset)
    convert_dataset(
        entry,
        Path(values.data_root),
        Path(values.out),
        groups=values.groups,
        feature_dtype=values.feature_dtype,
        labels_by="row" if values.ignore_idxs else values.labels_by,
        choice=classifiers.choose(
            entry, values.classifier_key, values.classifier_normalize
        ),
        report=print,
    )
