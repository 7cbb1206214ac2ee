"""What commands that run an experiment share: their flags, and how they start."""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags

from alphanet_jax import bundled, outputs
from alphanet_jax.commands import compiled, processes
from alphanet_jax.config import sweep
from alphanet_jax.config.fields import FIELDS, Field, Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError, did_you_mean, printable
from alphanet_jax.stages import Teller

__all__ = [
    "check_config",
    "define_flags",
    "define_machine_flags",
    "fields",
    "hold",
    "keep_programs",
    "memory_limit",
    "one_point",
    "own_directory",
    "points",
    "prepare_arguments",
    "say",
    "start_jax",
    "workdir",
]


def define_flags(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines the flags of every command that runs an experiment."""
    from ml_collections import config_flags

    rest, swept = sweep.swept_arguments(argv)
    config_flags.DEFINE_config_file(
        "config",
        None,
        "name of a config that comes with the program, such as quickstart or "
        "imagenetlt:ride, or path of a config file",
        flag_values=values,
        sys_argv=rest,
    )
    for field in FIELDS:
        if field.name in swept:
            flags.DEFINE(
                _AlternativesParser(field), f"config.{field.name}", None, "", values
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


class _AlternativesParser(flags.ArgumentParser[Any]):
    """Parses the several values of a swept field."""

    def __init__(self, field: Field) -> None:
        self._field = field

    def parse(self, argument: Any) -> tuple[Any, ...]:
        found = sweep.alternatives(self._field, argument)
        if found is None:
            raise ValueError(f"expected several values, got {argument!r}")
        return found


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
    """Checks names of fields and the config file.

    Args:
      arguments: Arguments of the command line.

    Returns:
      Arguments to parse, with the path of the config where its name was given; of those
      for a field that is swept, the last one.

    Raises:
      UserError: If a field is unknown (near names are given) or the file missing.
    """
    known = [field.name for field in FIELDS]
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
    rest, swept = sweep.swept_arguments(arguments)
    return [*rest, *(f"--config.{name}={text}" for name, text in swept.items())]


def _own_cache() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "alphanet_jax")


def default_compilation_cache() -> str:
    """A directory of the user's own: compiled programs must come from nobody else."""
    return os.path.join(_own_cache(), "compiled")


def fields() -> list[tuple[str, Any, str]]:
    """Lists name, default and help of what `--config.` takes."""
    return [(f"config.{field.name}", field.default, field.help) for field in FIELDS]


# Shows progress; standard output is for the table.
say = Teller(shown=printable)


def own_directory(name: str) -> Path | None:
    """Makes a directory for compiled programs; None if others may write to it.

    A program from there runs with all the rights of this one.

    Raises:
      UserError: If it is a file.
    """
    if name in ("", "off"):
        return None
    path = Path(name).resolve()
    if path.exists() and not path.is_dir():
        raise UserError(
            f"--compilation_cache: {name} is a file; name a directory, or off"
        )
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = path.stat()
        outputs.check_directory("compilation_cache", path)
    except UserError as error:
        say(f"not keeping compiled programs: {error}")
        return None
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
    """Tells JAX where to keep compiled programs, and a GPU which kernels to take."""
    import jax

    from alphanet_jax.experiment import executables, kernels

    kernels.settle()

    cache = own_directory(values.compilation_cache)
    if cache is not None:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
        compiled.mend_entries(cache, say)
        # Beside the directory of programs, which may be the copy of another's.
        secret = executables.own_secret(Path(_own_cache(), "secret"))
        executables.keep_in(cache, secret)


def _read_ahead(settings: Settings) -> None:
    """Begins to read the files of a dataset; what is wrong with them, loading says."""
    from alphanet_jax.data import converted, registry

    with contextlib.suppress(UserError, OSError):
        entry = registry.get_entry(Path(settings.registry), settings.dataset)
        names = (settings.train_datagrp, settings.val_datagrp, settings.test_datagrp)
        groups = list(dict.fromkeys(filter(None, names)))
        root = Path(settings.data_root)
        converted.read_ahead(entry, root, groups, labels_by=settings.labels_by)


def start_jax(values: flags.FlagValues, settings: Settings | None = None) -> None:
    """Sets JAX up: where it keeps compiled programs, and with which processes.

    Args:
      values: The flags.
      settings: Their dataset is read meanwhile, if there are any.
    """
    if settings is not None:
        _read_ahead(settings)
    keep_programs(values)
    address, count, number = (
        values[name].value
        for name in ("coordinator_address", "num_processes", "process_id")
    )
    if address is None and (count, number) != (None, None):
        raise UserError(
            "--num_processes and --process_id need --coordinator_address, the "
            "HOST:PORT of the first process"
        )
    if address not in (None, "auto") and (
        count is None or number is None or not 0 <= number < count
    ):
        raise UserError(
            "--coordinator_address needs --num_processes and --process_id, from 0 "
            f"to one less than their number, got {count} and {number}"
        )
    if address is not None:
        processes.join(
            None if address == "auto" else address,
            count,
            number,
            way_out=_way_out(values),
            clear=say.clear,
            debug=bool("debug" in values and values["debug"].value),
        )
    from alphanet_jax.experiment import devices

    devices.check_devices()


def _way_out(values: flags.FlagValues) -> str:
    """Says what to do where one of several processes has died."""
    if "ckpt_dir" not in values:
        return "start the same commands again"
    directory = values["ckpt_dir"].value
    if not directory:
        return "with --ckpt_dir the same commands would go on after the last epoch"
    if values["load_from_ckpt"].value:
        return f"the same commands go on after the last epoch in {directory}"
    return (
        "without --noload_from_ckpt the same commands go on after the last epoch in "
        f"{directory}"
    )


def check_config(values: flags.FlagValues) -> ml_collections.ConfigDict:
    """Gives the config.

    Raises:
      UserError: If there is none.
    """
    if values.config is None:
        raise UserError("--config is missing, for example --config=quickstart")
    config: ml_collections.ConfigDict = values.config
    return config


def points(values: flags.FlagValues) -> list[Point]:
    """Makes the points that the config and its flags ask for.

    Raises:
      UserError: If there is no config, or it is not right.
    """
    swept: dict[str, Any] = {
        field.name: values[f"config.{field.name}"].value
        for field in FIELDS
        if f"config.{field.name}" in values
        and isinstance(values[f"config.{field.name}"].parser, _AlternativesParser)
    }
    return sweep.expand(check_config(values), swept)


def one_point(values: flags.FlagValues, command: str) -> Point:
    """Makes the point of a command that takes no sweep.

    Raises:
      UserError: If there is no config, or a field has several values.
    """
    found = points(values)
    if len(found) > 1:
        raise UserError(
            f"{command} takes one value for each field, got {found[0].title}, "
            f"{found[1].title} ..."
        )
    return found[0]


def workdir(values: flags.FlagValues, *, prefix: str = "") -> Path:
    """Returns the directory for results: --workdir, or one with the config's name.

    Args:
      values: The flags.
      prefix: What that name begins with.

    Raises:
      UserError: If it is a file.
    """
    if values.workdir:
        chosen = Path(values.workdir)
    else:
        config_flag: Any = values["config"]
        path, _, argument = config_flag.config_filename.partition(":")
        name = f"{prefix}{Path(path).stem}" + (f"_{argument}" if argument else "")
        chosen = Path("results") / name
    outputs.check_directory("workdir", chosen)
    return chosen


def hold(values: flags.FlagValues, workdir: Path) -> None:
    """Keeps other commands from writing where this one does, until it has ended.

    Of several processes that train together the first does so, for all of them.

    Raises:
      UserError: If another command is at it, naming that.
    """
    from alphanet_jax.experiment import devices

    if not devices.is_first_process():
        return
    outputs.hold("workdir", workdir)
    if "ckpt_dir" in values and values["ckpt_dir"].value:
        outputs.hold("ckpt_dir", Path(values["ckpt_dir"].value))
    if "out" in values and values["out"].value:
        outputs.hold_file("out", Path(values["out"].value))


def memory_limit(values: flags.FlagValues) -> int | None:
    """Computes the bytes that may be used; None where --memory_gib is not given.

    Raises:
      UserError: If it is no positive number.
    """
    given = values.memory_gib
    if given is None:
        return None
    if not 0 < given < float("inf"):
        raise UserError(f"--memory_gib must be a positive number, got {given:g}")
    return int(min(given, 2.0**30) * 2**30)  # more is as good as no limit
