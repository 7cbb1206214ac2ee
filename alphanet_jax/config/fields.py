"""The configuration: every field with its default and a sentence of help.

Fields are named after the original's options one to one: `--training:n-neighbors`
there is `--config.training.n_neighbors` here. Files under `configs/` start from
`default_config()`; `to_settings` turns a config into what `experiment` takes, and
nothing below that knows of configs.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from alphanet_jax.errors import UserError, did_you_mean

__all__ = ["FIELDS", "Field", "check_fields", "default_config", "field_names"]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of the configuration."""

    name: str
    default: Any
    help: str
    sweepable: bool = True  # whether it may hold several values, one for each point


# In the order in which `--help` shows them. A default that is a type stands for a
# value of that type which a config file must give.
FIELDS = (
    Field("dataset", str, "name of the dataset in the registry", sweepable=False),
    Field(
        "registry",
        "configs/datasets.toml",
        "TOML file that lists datasets",
        sweepable=False,
    ),
    Field(
        "data_root",
        ".",
        "directory that the registry's paths are relative to",
        sweepable=False,
    ),
    Field("seed", 0, "first seed"),
    Field(
        "seeds",
        10,
        "how many seeds to train, all in one compiled program",
        sweepable=False,
    ),
    Field("rho", 0.1, "the r of every sampler whose sampler_args give none"),
    Field(
        "selection",
        "best",
        "epoch to test: 'best' overall validation accuracy from min_epochs on; "
        "'reference': epoch min_epochs, as published; or 'last'",
    ),
    Field("pred_scale", 1.0, "factor on all logits before the softmax"),
    Field(
        "precision",
        "highest",
        "of matrix products in training: highest (float32), or tensorfloat32, which "
        "is faster on GPUs and less exact",
    ),
    Field(
        "alphanet.dummy_mode",
        False,
        "coefficients (1, 0, ..., 0) whatever is trained: the unchanged classifier",
    ),
    Field(
        "alphanet.debug",
        False,
        "check the coefficients of every class after every epoch",
    ),
    Field("alphanet.hdims", (32, 32, 32), "sizes of the hidden layers"),
    Field(
        "alphanet.hact",
        "leaky_relu",
        "activation, by torch.nn.functional's or jax.nn's name",
    ),
    Field("training.n_neighbors", 5, "neighbors of a class, itself not counted"),
    Field("training.nn_dist", "euclidean", "euclidean, cosine, or random (a control)"),
    Field(
        "training.nn_per_seed",
        False,
        "with nn_dist=random, whether every seed draws neighbors of its own; otherwise "
        "all share those of the first seed, as in the original",
    ),
    Field(
        "training.ptopt.optim_cls",
        "AdamW",
        "optimizer, by torch.optim's or optax's name",
    ),
    Field(
        "training.ptopt.optim_params",
        "lr=0.001",
        "its parameters: key=value,key=value with JSON values",
    ),
    Field(
        "training.ptopt.lr_sched_cls",
        "StepLR",
        "schedule, by PyTorch's or optax's name; stepped once an epoch",
    ),
    Field("training.ptopt.lr_sched_params", "step_size=10,gamma=0.1", "its parameters"),
    Field("training.train_epochs", 25, "epochs to train"),
    Field("training.min_epochs", 5, "first epoch that may be selected, from 1"),
    Field("training.train_batch_size", 64, "rows of a training batch"),
    Field("training.eval_batch_size", 1024, "samples evaluated at a time"),
    Field(
        "training.sampler_builder.sampler_classes",
        ("AllFewSampler", "ClassBalancedBaseSampler"),
        "samplers of training rows; what they draw is put together",
    ),
    Field(
        "training.sampler_builder.sampler_args",
        ("",),
        "arguments (key=value) for each sampler, or one entry for all",
    ),
    Field(
        "training.train_datagrp",
        "train",
        "group of samples to train on",
        sweepable=False,
    ),
    Field(
        "training.val_datagrp",
        "val",
        "group to select by; empty for none",
        sweepable=False,
    ),
    Field("training.test_datagrp", "test", "group to test on", sweepable=False),
)


def default_config() -> ml_collections.ConfigDict:
    """Makes a config with the original's defaults; `dataset` is yet to be set."""
    # Types are checked by `check_fields`: a field may hold several values for a sweep.
    config = ml_collections.ConfigDict(type_safe=False)
    for field in FIELDS:
        *parents, last = field.name.split(".")
        node = config
        for parent in parents:
            if parent not in node:
                node[parent] = ml_collections.ConfigDict(type_safe=False)
            node = node[parent]
        is_type = isinstance(field.default, type)
        node[last] = (
            config_dict.placeholder(field.default) if is_type else field.default
        )
    return config


def field_names(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields the dotted names of all leaves of a config."""
    for key, value in config.items():
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            yield from field_names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def check_fields(config: ml_collections.ConfigDict) -> None:
    """Checks that a config has all fields, no others, and values of their types.

    Raises:
      UserError: If a field is unknown (near names are given), missing or not set.
    """
    known = {field.name: field for field in FIELDS}
    given = set(field_names(config))
    for name in sorted(given - set(known)):
        raise UserError(f"unknown field config.{name}; {did_you_mean(name, known)}")
    for name in sorted(set(known) - given):
        raise UserError(f"config.{name} is missing: {known[name].help}")
    for name, field in known.items():
        value = get(config, name)
        kind = field.default if isinstance(field.default, type) else type(field.default)
        if value is None:
            raise UserError(f"config.{name} is not set: {field.help}")
        number = kind is float and type(value) is int
        if not isinstance(value, kind) and not number:
            raise UserError(
                f"config.{name} must be of type {kind.__name__}, got {value!r}"
            )


def has(config: ml_collections.ConfigDict, name: str) -> bool:
    """Tells whether a config has a field, by its dotted name."""
    return name in set(field_names(config))


def put(config: ml_collections.ConfigDict, name: str, value: Any) -> None:
    """Sets a field by its dotted name."""
    *parents, last = name.split(".")
    node: Any = config
    for part in parents:
        node = node[part]
    node[last] = value


def get(config: ml_collections.ConfigDict, name: str) -> Any:
    """Looks a field up by its dotted name."""
    node: Any = config
    for part in name.split("."):
        node = node[part]
    return node
