"""What commands that run an experiment share: their flags, and how they start."""

import ast
import os
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_collections
from absl import flags

from alphanet_jax import bundled
from alphanet_jax.config import fields as config_lib
from alphanet_jax.config import sweep
from alphanet_jax.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from alphanet_jax.data.dataset import Dataset
    from alphanet_jax.experiment.neighbor_cache import NeighborCache
    from alphanet_jax.experiment.problem import Settings

__all__ = [
    "check_config",
    "define_flags",
    "define_machine_flags",
    "fields",
    "keep_programs",
    "load_data",
    "memory_limit",
    "neighbor_cache",
    "one_point",
    "own_directory",
    "prepare_arguments",
    "say",
    "settings_from_config",
    "start_jax",
]


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the flags of every command that runs an experiment."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(
        "config",
        None,
        "name of a config that comes with the program, such as quickstart or "
        "imagenetlt:ride, or path of a config file",
        flag_values=values,
        sys_argv=list(argv),
    )
    define_machine_flags(values)
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of the first of several processes that train together, each "
        "started with the same arguments; 'auto' on clusters that JAX knows",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_processes", None, "how many processes there are", flag_values=values
    )
    flags.DEFINE_integer(
        "process_id", None, "number of this process, from 0", flag_values=values
    )
    # Not for people: what `prepare_arguments` makes of fields with several values.
    flags.DEFINE_string("alternatives", "{}", "", flag_values=values)


def define_machine_flags(values: flags.FlagValues) -> None:
    """Defines the flags of what a run may use of this machine."""
    flags.DEFINE_string(
        "compilation_cache",
        default_compilation_cache(),
        "directory in which compiled programs are kept; 'off' for none",
        flag_values=values,
    )
    flags.DEFINE_float(
        "memory_gib",
        None,
        "memory to use, in GiB (of each device); by default three quarters of what is "
        "free, on a CPU 5 at most",
        lower_bound=0.0,
        flag_values=values,
    )


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Checks names of fields and the config file, and takes out what is swept.

    Args:
      arguments: Arguments of the command line.

    Returns:
      Arguments to parse, with the path of the config where its name was given.

    Raises:
      UserError: If a field is unknown (near names are given) or the file missing.
    """
    known = [field.name for field in config_lib.FIELDS]
    arguments = list(arguments)
    for index, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag in ("--config", "-config"):
            if equals:
                arguments[index] = f"{flag}={bundled.find_config(value)}"
            else:
                following = slice(index + 1, index + 2)
                arguments[following] = [
                    bundled.find_config("".join(arguments[following]))
                ]
        for prefix in ("--config.", "-config."):
            name = flag.removeprefix(prefix)
            if flag.startswith(prefix) and name not in known:
                raise UserError(
                    f"unknown field config.{name}; {did_you_mean(name, known)}"
                )
    rest, alternatives = sweep.take_alternatives(arguments)
    return [*rest, f"--alternatives={alternatives!r}"] if alternatives else rest


def default_compilation_cache() -> str:
    """A directory of the user's own: compiled programs must come from nobody else."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "alphanet_jax", "compiled")


def fields() -> list[tuple[str, Any, str]]:
    """Lists name, default and help of what `--config.` takes."""
    return [
        (
            f"config.{field.name}",
            None if isinstance(field.default, type) else field.default,
            field.help,
        )
        for field in config_lib.FIELDS
    ]


def settings_from_config(config: ml_collections.ConfigDict) -> "Settings":
    """Turns a checked config into settings.

    Raises:
      UserError: If parameters are not of the form key=value.
    """
    from alphanet_jax.experiment.problem import Settings
    from alphanet_jax.lookup import optimizers

    def parse(name: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise UserError(f"config.{name} must be text, got {text!r}")
        try:
            return optimizers.parse_params(text)
        except ValueError as error:
            raise UserError(f"config.{name}: {error}") from None

    training, ptopt = config.training, config.training.ptopt
    builder = training.sampler_builder
    return Settings(
        rho=float(config.rho),
        selection=config.selection,
        pred_scale=float(config.pred_scale),
        hdims=tuple(config.alphanet.hdims),
        hact=config.alphanet.hact,
        dummy_mode=config.alphanet.dummy_mode,
        debug=config.alphanet.debug,
        precision=config.precision,
        n_neighbors=training.n_neighbors,
        nn_per_seed=training.nn_per_seed,
        nn_dist=training.nn_dist,
        optim_cls=ptopt.optim_cls,
        optim_params=parse("training.ptopt.optim_params", ptopt.optim_params),
        lr_sched_cls=ptopt.lr_sched_cls,
        lr_sched_params=parse("training.ptopt.lr_sched_params", ptopt.lr_sched_params),
        train_epochs=training.train_epochs,
        min_epochs=training.min_epochs,
        train_batch_size=training.train_batch_size,
        eval_batch_size=training.eval_batch_size,
        sampler_classes=tuple(builder.sampler_classes),
        sampler_args=tuple(
            parse("training.sampler_builder.sampler_args", text)
            for text in builder.sampler_args
        ),
    )


def say(line: str) -> None:
    """Shows progress; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


def own_directory(name: str) -> Path | None:
    """Makes a directory for compiled programs; None if others may write to it.

    A program from there runs with all the rights of this one.
    """
    if name in ("", "off"):
        return None
    path = Path(name).resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.stat()
    except OSError as error:
        say(f"not keeping compiled programs in {path}: {error.strerror}")
        return None
    ours = not hasattr(os, "getuid") or status.st_uid == os.getuid()
    if not ours or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        say(
            f"not keeping compiled programs in {path}: others may write to it; see "
            "--compilation_cache"
        )
        return None
    return path


def keep_programs(values: flags.FlagValues) -> None:
    """Tells JAX where to keep compiled programs."""
    import jax

    cache = own_directory(values.compilation_cache)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def start_jax(values: flags.FlagValues) -> None:
    """Sets JAX up: where it keeps compiled programs, and with which processes."""
    import jax

    keep_programs(values)
    address, count, number = (
        values[name].value
        for name in ("coordinator_address", "num_processes", "process_id")
    )
    if address == "auto":
        jax.distributed.initialize()
    elif address is not None:
        if count is None or number is None or not 0 <= number < count:
            raise UserError(
                "--coordinator_address needs --num_processes and --process_id, from 0 "
                f"to one less than their number, got {count} and {number}"
            )
        jax.distributed.initialize(address, count, number)


def check_config(values: flags.FlagValues) -> ml_collections.ConfigDict:
    """Gives the config.

    Raises:
      UserError: If there is none.
    """
    if values.config is None:
        raise UserError("--config is missing, for example --config=quickstart")
    config: ml_collections.ConfigDict = values.config
    return config


def one_point(values: flags.FlagValues, command: str) -> ml_collections.ConfigDict:
    """Gives the config of a command that takes no sweep.

    Raises:
      UserError: If there is no config, or a field has several values.
    """
    points = sweep.expand(check_config(values), ast.literal_eval(values.alternatives))
    if len(points) > 1:
        raise UserError(
            f"{command} takes one value for each field, got {points[0].title}, "
            f"{points[1].title} ..."
        )
    return points[0].config


def memory_limit(values: flags.FlagValues) -> int | None:
    """Gives the bytes that may be used, if anybody said so."""
    return None if values.memory_gib is None else int(values.memory_gib * 2**30)


def load_data(
    config: ml_collections.ConfigDict, report: Callable[[str], None]
) -> "Dataset":
    """Loads the data of a config; of several processes, the first one does so first."""
    from alphanet_jax.data import dataset, registry
    from alphanet_jax.experiment import devices

    with devices.one_by_one():
        return dataset.load_dataset(
            registry.get_entry(Path(config.registry), config.dataset),
            Path(config.data_root),
            train_group=config.training.train_datagrp,
            val_group=config.training.val_datagrp,
            test_group=config.training.test_datagrp,
            report=report,
        )


def neighbor_cache(
    config: ml_collections.ConfigDict, data: "Dataset"
) -> "NeighborCache":
    """Keeps neighbors where the registry says, or else in the caches."""
    from alphanet_jax.data import convert, registry
    from alphanet_jax.experiment.neighbor_cache import NeighborCache

    entry = registry.get_entry(Path(config.registry), config.dataset)
    root = Path(config.data_root)
    own = [root / entry.nn_files_dir] if entry.nn_files_dir else []
    others = [cache / "neighbors" for cache in convert.cache_roots(root)]
    return NeighborCache(own + others, data)
