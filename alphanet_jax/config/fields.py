"""The settings: every field, declared once.

`Settings` is what training takes, in a notebook as on the command line. From its fields
follow the configs that files under `configs/` build, the flags `--config.NAME` with
their types and help, which fields a sweep may vary, what a result file records, and
which settings can share a compiled program. Adding a setting is adding a field here and
the line that uses it.

In a config, fields have the names of the original's options: `--training:n-neighbors`
there is `--config.training.n_neighbors` here and `Settings.n_neighbors` in Python.
"""

import dataclasses
import functools
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from alphanet_jax.config.nested import flatten, get, put
from alphanet_jax.config.values import Limit, as_declared, as_text
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.lookup.params import Params, parse_params

if TYPE_CHECKING:  # reading a result needs no ml_collections
    import ml_collections

__all__ = [
    "FIELDS",
    "Field",
    "Params",
    "Settings",
    "check_config",
    "copy",
    "default_config",
    "flatten",
    "get",
    "put",
    "settings_from_config",
]

# What of a setting a compiled program depends on: nothing, as it is a number that the
# program takes; the shape of its arrays; or the value itself.
Compiles = Literal["nothing", "shape", "value"]
_ORDER = ("nothing", "shape", "value")


# Of one run of the program; more would fill the memory before they began.
MOST_SEEDS, MOST_EPOCHS = 100_000, 1_000_000


@dataclasses.dataclass(frozen=True)
class _Declared:
    """What is declared about a field beside its type and default."""

    help: str
    section: str
    sweepable: bool
    compiles: Compiles
    part: Callable[[Any], Any]
    required: bool


def _same(value: Any) -> Any:
    return value


def setting(
    default: Any,
    help: str,
    *,
    section: str = "",
    sweepable: bool = True,
    compiles: Compiles = "nothing",
    part: Callable[[Any], Any] = _same,
    required: bool = False,
) -> Any:
    """Declares a field of `Settings`.

    Args:
      default: Its default.
      help: What it is, in a sentence.
      section: Section of a config that it is in, such as `training.ptopt`.
      sweepable: Whether it may hold several values, one for each point of a sweep.
      compiles: What of it a compiled program depends on.
      part: Takes from its value the part that a program depends on.
      required: Whether a config must set it.
    """
    declared = _Declared(help, section, sweepable, compiles, part, required)
    return dataclasses.field(default=default, metadata={"declared": declared})


def _with_one_rate(params: Params) -> Params:
    """Sets the learning rate, which programs take as a number, to the same for all."""
    names = ("lr", "learning_rate")
    return Params({k: v for k, v in params.items() if k not in names} | {"lr": 1.0})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that training can be told; names and defaults are the original's.

    Types are checked at once; sizes, names and parameters when training begins, against
    the data. Mappings and lists become `Params` and tuples, and NumPy's numbers
    Python's, so that settings can be compared, hashed and written to files.

    Raises:
      UserError: If a value is not of the field's type.

    Examples:
      >>> settings = Settings(rho=0.5, optim_params={"lr": 0.01})
      >>> settings.optim_params["lr"], settings.train_epochs
      (0.01, 25)
    """

    dataset: str = setting(
        "", "name of the dataset in the registry", sweepable=False, required=True
    )
    registry: str = setting(
        "configs/datasets.toml", "TOML file that lists datasets", sweepable=False
    )
    data_root: str = setting(
        ".", "directory that the registry's paths are relative to", sweepable=False
    )
    labels_by: str = setting(
        "",
        "row or idxs: how labels and idxs of a feature file belong together; empty for "
        "what the registry says, or else what fits the classifier",
        sweepable=False,
    )
    few_below: Limit = setting(
        Limit(""),
        "make splits of counts: classes with fewer training samples are few; a number, "
        "or a quantile such as 25%; empty for what the registry says [20]",
        sweepable=False,
    )
    many_above: Limit = setting(
        Limit(""),
        "make splits of counts: classes with more training samples are many; a number, "
        "or a quantile such as 75%; empty for what the registry says [100]",
        sweepable=False,
    )
    classifier_key: str = setting(
        "",
        "key of the weight in the classifier's file, such as state_dict.fc; empty for "
        "what the registry says, or else the one tensor that can be it",
        sweepable=False,
    )
    classifier_normalize: bool = setting(
        False,
        "normalize the row of every class, as heads that do it themselves need",
        sweepable=False,
    )
    seed: int = setting(0, "first seed")
    seeds: int = setting(
        10, "how many seeds to train, all in one compiled program", sweepable=False
    )
    rho: float = setting(0.1, "the r of every sampler whose sampler_args give none")
    selection: str = setting(
        "best",
        "epoch to test: 'best' overall validation accuracy from min_epochs on; "
        "'reference': epoch min_epochs, as published; or 'last'",
        compiles="value",
    )
    pred_scale: float = setting(1.0, "factor on all logits before the softmax")
    precision: str = setting(
        "highest",
        "of matrix products in training: highest (float32), or tensorfloat32, which "
        "is faster on GPUs and less exact",
        compiles="value",
    )
    dummy_mode: bool = setting(
        False,
        "coefficients (1, 0, ..., 0) whatever is trained: the unchanged classifier",
        section="alphanet",
        compiles="value",
    )
    debug: bool = setting(
        False,
        "check the coefficients of every class after every epoch",
        section="alphanet",
    )
    hdims: tuple[int, ...] = setting(
        (32, 32, 32), "sizes of the hidden layers", section="alphanet", compiles="shape"
    )
    hact: str = setting(
        "leaky_relu",
        "activation, by torch.nn.functional's or jax.nn's name",
        section="alphanet",
        compiles="value",
    )
    n_neighbors: int = setting(
        5,
        "neighbors of a class, itself not counted",
        section="training",
        compiles="shape",
    )
    nn_dist: str = setting(
        "euclidean", "euclidean, cosine, or random (a control)", section="training"
    )
    nn_per_seed: bool = setting(
        False,
        "with nn_dist=random, whether every seed draws neighbors of its own; otherwise "
        "all share those of the first seed, as in the original",
        section="training",
    )
    optim_cls: str = setting(
        "AdamW",
        "optimizer, by torch.optim's or optax's name",
        section="training.ptopt",
        compiles="value",
    )
    optim_params: Params = setting(
        Params({"lr": 0.001}),
        "its parameters: key=value,key=value with JSON values",
        section="training.ptopt",
        compiles="value",
        part=_with_one_rate,
    )
    lr_sched_cls: str = setting(
        "StepLR",
        "schedule, by PyTorch's or optax's name; stepped once an epoch",
        section="training.ptopt",
    )
    lr_sched_params: Params = setting(
        Params({"step_size": 10, "gamma": 0.1}),
        "its parameters",
        section="training.ptopt",
    )
    train_epochs: int = setting(
        25, "epochs to train", section="training", compiles="shape"
    )
    min_epochs: int = setting(
        5, "first epoch that may be selected, from 1", section="training"
    )
    train_batch_size: int = setting(
        64, "rows of a training batch", section="training", compiles="shape"
    )
    eval_batch_size: int = setting(
        1024,
        "samples evaluated at a time; 0 for as many as train_batch_size",
        section="training",
        compiles="shape",
    )
    sampler_classes: tuple[str, ...] = setting(
        ("AllFewSampler", "ClassBalancedBaseSampler"),
        "samplers of training rows; what they draw is put together",
        section="training.sampler_builder",
        compiles="shape",
    )
    sampler_args: tuple[Params, ...] = setting(
        (Params(),),
        "arguments (key=value) for each sampler, or one entry for all",
        section="training.sampler_builder",
    )
    train_datagrp: str = setting(
        "train", "group of samples to train on", section="training", sweepable=False
    )
    val_datagrp: str = setting(
        "val",
        "group to select by; empty for none",
        section="training",
        sweepable=False,
    )
    test_datagrp: str = setting(
        "test", "group to test on", section="training", sweepable=False
    )

    def __post_init__(self) -> None:
        for name, declared in _declared_types().items():
            value = as_declared(name, declared, getattr(self, name))
            object.__setattr__(self, name, value)

    @property
    def rows_evaluated(self) -> int:
        """Samples evaluated at a time."""
        return self.eval_batch_size or self.train_batch_size

    def run_seeds(self) -> tuple[int, ...]:
        """Lists the seeds to train.

        Raises:
          UserError: If there are none, or they are not in 0..2**32-1.
        """
        if not 1 <= self.seeds <= MOST_SEEDS:
            least = "at least 1" if self.seeds < 1 else f"at most {MOST_SEEDS}"
            raise UserError(f"config.seeds must be {least}, got {self.seeds}")
        first, last = self.seed, self.seed + self.seeds - 1
        if first < 0 or last >= 2**32:
            raise UserError(f"seeds must be in 0..2**32-1, got {first} to {last}")
        return tuple(range(first, last + 1))

    @property
    def base_r(self) -> float:
        """How many base samples an epoch has for each few sample.

        As in the original, this is `r` of the second sampler's arguments, if given.
        """
        args = self.sampler_args
        second = args[1] if len(args) > 1 else args[-1] if args else Params()
        return float(second.get("r", self.rho))

    def compiled(self, least: Compiles) -> "Settings":
        """Keeps what compiled programs depend on; the rest is as by default.

        Args:
          least: 'value' keeps fields whose value they depend on; 'shape' also those
            that shapes of arrays depend on.

        Returns:
          Settings that are equal for runs that can share a program.
        """
        wanted = _ORDER[_ORDER.index(least) :]
        kept = {
            field.attribute: field.part(getattr(self, field.attribute))
            for field in FIELDS
            if field.compiles in wanted
        }
        return Settings(**kept)

    def as_config(self) -> dict[str, Any]:
        """Gives all fields as a config holds them, nested by section."""
        config: dict[str, Any] = {}
        for field in FIELDS:
            put(config, field.name, as_text(getattr(self, field.attribute)))
        return config


@functools.cache
def _declared_types() -> dict[str, Any]:
    return typing.get_type_hints(Settings)


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a config.

    Attributes:
      name: Its dotted name in a config.
      attribute: Its name in `Settings`.
      default: What a config holds by default; None where it must be set.
      kind: Type of what a config holds.
      help: What it is, in a sentence.
      sweepable: Whether it may hold several values, one for each point of a sweep.
      compiles: What of it a compiled program depends on.
      part: Takes from its value the part that a program depends on.
      is_params: Whether a config holds parameters as text, or a tuple of them.
      is_limit: Whether a config may hold a number in place of text.
    """

    name: str
    attribute: str
    default: Any
    kind: type
    help: str
    sweepable: bool
    compiles: Compiles
    part: Callable[[Any], Any]
    is_params: bool
    is_limit: bool

    def parse(self, value: Any) -> Any:
        """Turns what a config holds into what `Settings` has.

        Raises:
          UserError: If text is not of the form key=value.
        """
        if self.kind is tuple:
            return tuple(self._parse_one(item) for item in value)
        return self._parse_one(value)

    def unparse(self, value: Any) -> Any:
        """Turns what `Settings` has into what a config, back from a file, holds."""
        text = as_text(value)
        return list(text) if isinstance(text, tuple) else text

    def _parse_one(self, value: Any) -> Any:
        if not self.is_params:
            return value
        if not isinstance(value, str):
            raise UserError(f"config.{self.name} must be text, got {value!r}")
        try:
            return Params(parse_params(value))
        except ValueError as error:
            raise UserError(f"config.{self.name}: {error}") from None


def _make_fields() -> tuple[Field, ...]:
    types = _declared_types()
    made = []
    for field in dataclasses.fields(Settings):
        declared: _Declared = field.metadata["declared"]
        kind = typing.get_origin(types[field.name]) or types[field.name]
        made.append(
            Field(
                name=".".join(filter(None, (declared.section, field.name))),
                attribute=field.name,
                default=None if declared.required else as_text(field.default),
                kind=str if kind in (Params, Limit) else kind,
                help=declared.help,
                sweepable=declared.sweepable,
                compiles=declared.compiles,
                part=declared.part,
                is_params=Params in (kind, *typing.get_args(types[field.name])),
                is_limit=kind is Limit,
            )
        )
    return tuple(made)


# In the order in which help shows them.
FIELDS = _make_fields()


def default_config() -> "ml_collections.ConfigDict":
    """Makes a config with the original's defaults; `dataset` is yet to be set."""
    import ml_collections
    from ml_collections import config_dict

    # Types are checked by `check_config`: a field may hold several values for a sweep.
    config = ml_collections.ConfigDict(type_safe=False)
    for field in FIELDS:
        *parents, last = field.name.split(".")
        node = config
        for parent in parents:
            if parent not in node:
                node[parent] = ml_collections.ConfigDict(type_safe=False)
            node = node[parent]
        is_set = field.default is not None
        node[last] = field.default if is_set else config_dict.placeholder(field.kind)
    return config


def check_config(config: "ml_collections.ConfigDict") -> None:
    """Checks that a config has all fields, no others, and values of their types.

    Raises:
      UserError: If a field is unknown (near names are given), missing or not set.
    """
    known = {field.name: field for field in FIELDS}
    given = dict(flatten(config))
    for name in sorted(given.keys() - known.keys()):
        raise UserError(f"unknown field config.{name}; {did_you_mean(name, known)}")
    for name in sorted(known.keys() - given.keys()):
        raise UserError(f"config.{name} is missing: {known[name].help}")
    for name, field in known.items():
        value = given[name]
        if value is None:
            raise UserError(f"config.{name} is not set: {field.help}")
        number = field.kind is float and type(value) is int
        number = number or (field.is_limit and type(value) in (int, float))
        if not isinstance(value, field.kind) and not number:
            raise UserError(
                f"config.{name} must be of type {field.kind.__name__}, got {value!r}"
            )


def settings_from_config(config: "ml_collections.ConfigDict") -> Settings:
    """Turns a config, with one value for each field, into settings.

    Raises:
      UserError: If the config is not right, or parameters are not of the form
        key=value.
    """
    check_config(config)
    given = dict(flatten(config))
    return Settings(**{f.attribute: f.parse(given[f.name]) for f in FIELDS})


def copy(config: "ml_collections.ConfigDict") -> "ml_collections.ConfigDict":
    """Copies a config; fields of the copy may be set to anything."""
    import ml_collections

    return ml_collections.ConfigDict(config.to_dict(), type_safe=False)
