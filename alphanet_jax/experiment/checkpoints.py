"""Checkpoints: the state of training after every epoch, to go on from.

    CKPT_DIR/run.json            what is trained, with which inputs, in which batches
    CKPT_DIR/runs_0-0/<epoch>/   states of a batch of runs, written by Orbax

A state is written whole or not at all, and `run.json` before any of them: a process may
be killed at any moment. Random numbers are functions of seed and epoch, so nothing of
them need be kept.
"""

import dataclasses
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from alphanet_jax import files, outputs, parsing
from alphanet_jax.config import compare
from alphanet_jax.errors import UserError, count_of, printable
from alphanet_jax.experiment import memory
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.results import pytorch

__all__ = ["CheckpointStore", "open_store"]

_RECORD = "run.json"
_FORMAT = 3
_LONGEST = 1000  # characters of what differs, in a message
_FORM = {
    "format": int,
    "configs": parsing.Each(dict),
    "file_hashes": parsing.Each(str),
    "plans": [dict],
    "jax?": str,
}


class CheckpointStore:
    """The states of one experiment, which `loop.run_parts` keeps and takes."""

    def __init__(self, directory: Path, *, keep: int) -> None:
        # Imported here: it takes a while, and most runs keep no checkpoints.
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory, self._keep = directory, keep
        self._managers: dict[str, Any] = {}

    def _manager(self, name: str) -> Any:
        if name not in self._managers:
            options = self._ocp.CheckpointManagerOptions(
                max_to_keep=self._keep,
                # The next epoch changes the state in place; and a state is to be
                # there when the epoch is said to be done.
                enable_async_checkpointing=False,
                cleanup_tmp_directories=True,
            )
            self._managers[name] = self._ocp.CheckpointManager(
                self._directory.resolve() / f"runs_{name}", options=options
            )
        return self._managers[name]

    def restore(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Loads the newest state of a batch of runs; see `hooks.Checkpoints`."""
        manager = self._manager(name)
        damaged: list[int] = []
        for epochs_done in sorted(manager.all_steps(), reverse=True):
            try:
                state = manager.restore(
                    epochs_done, args=self._ocp.args.StandardRestore(like)
                )
            # A damaged state raises all sorts of errors; the one before may do.
            except Exception as error:
                problem = " ".join(str(error).split())[:200]
                damaged.append(epochs_done)
                _ignore_closed_loops()
                continue
            for epoch in damaged:  # their places will be needed
                manager.delete(epoch)

            def same_kind(old: Any, new: Any) -> Any:
                # Arrays of the host are written to. Those that Orbax gives are bound
                # to their device, and every program is compiled once more for such.
                if isinstance(old, np.ndarray):
                    return np.array(new)
                if old.committed:
                    return new
                return jax.device_put(np.asarray(new), may_alias=False)

            return int(epochs_done), jax.tree.map(same_kind, like, state)
        if damaged:
            raise UserError(
                f"{self._directory}/runs_{name}: no checkpoint can be read "
                f"({problem}); --load_from_ckpt=false starts anew"
            )
        return None

    def save(self, name: str, epochs_done: int, state: Any) -> None:
        """Keeps the state of a batch of runs; see `hooks.Checkpoints`."""
        manager = self._manager(name)
        manager.save(epochs_done, args=self._ocp.args.StandardSave(state), force=True)
        manager.wait_until_finished()

    def close(self) -> None:
        """Ends what runs in the background."""
        for manager in self._managers.values():
            manager.close()


def open_store(
    directory: Path,
    *,
    configs: Mapping[str, Mapping[str, Any]],
    file_hashes: Mapping[str, str],
    plans: Sequence[Plan],
    keep: int = 2,
    load: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[CheckpointStore, list[Plan]]:
    """Opens a directory of checkpoints, or makes it.

    Args:
      directory: The directory.
      configs: The full configuration of every point, by its name.
      file_hashes: SHA-256 of the input files.
      plans: How runs would be put into batches now.
      keep: How many states to keep, the newest.
      load: Whether to go on from what is there; otherwise it is removed.
      report: Takes a line about what may be other than in a run without a stop.

    Returns:
      The checkpoints, and the plans to train by: those that they were made with.

    Raises:
      UserError: If the checkpoints are of other settings or inputs; the differences
        are named. Or if the devices cannot share the runs of a batch, or the directory
        holds something else.
    """
    path = directory / _RECORD
    if directory.exists() and not directory.is_dir():
        raise UserError(f"--ckpt_dir: {directory} is a file")
    for unfinished in directory.glob(f".{_RECORD}.*.tmp"):
        unfinished.unlink()
    is_ours = path.exists()
    if not is_ours and directory.exists():
        theirs = {*os.listdir(directory)} - {outputs.LOCK_NAME, _RECORD}
        # Those of the original program stay beside ours: see `beginning`.
        if any(pytorch.checkpoint_number(Path(name)) is None for name in theirs):
            raise UserError(
                f"--ckpt_dir: {directory} holds files that are no checkpoints"
            )
    if is_ours and not load:
        _remove(directory)
    if path.exists():
        plans, made_by = _check_record(path, configs, file_hashes, plans)
        if made_by and made_by != jax.__version__:
            report(
                f"note: the checkpoints in {directory} are of jax {made_by}, now "
                f"{jax.__version__}: results may differ in their last digits from "
                "those of one version; --load_from_ckpt=false starts anew"
            )
        _check_devices(directory, plans)
    else:
        record = {
            "format": _FORMAT,
            "jax": jax.__version__,
            "configs": {name: dict(config) for name, config in configs.items()},
            "file_hashes": dict(file_hashes),
            "plans": [dataclasses.asdict(plan) for plan in plans],
        }
        with files.replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return CheckpointStore(directory, keep=keep), list(plans)


def _check_devices(directory: Path, plans: Sequence[Plan]) -> None:
    """Checks that the runs of every batch can be shared out evenly among devices."""
    count = jax.device_count()
    for plan in plans:
        if plan.runs_at_a_time % count:
            raise UserError(
                f"the checkpoints in {directory} are of "
                f"{count_of(plan.runs_at_a_time, 'run')} at a time, which {count} "
                "devices cannot share; train on as many as before, choose another "
                "--ckpt_dir, or --load_from_ckpt=false"
            )


def _remove(directory: Path) -> None:
    """Removes checkpoints and nothing else, the record of them last."""
    for states in directory.glob("runs_[0-9]*-[0-9]*"):
        shutil.rmtree(states)
    (directory / _RECORD).unlink(missing_ok=True)


def _ignore_closed_loops() -> None:
    """Keeps Python from reporting reads that Orbax leaves under way when one fails."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            before(unraisable)

    sys.unraisablehook = hook


def _shortened(text: str) -> str:
    """Shortens text from a record to what a line has room for, and can show."""
    return printable(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def _check_record(
    path: Path,
    configs: Mapping[str, Mapping[str, Any]],
    file_hashes: Mapping[str, str],
    plans: Sequence[Plan],
) -> tuple[list[Plan], str]:
    """Checks a record; returns its plans, and the jax that it was made by."""
    try:
        record = parsing.parse_json(path.read_bytes())
        parsing.check_form(record, {"format": int})
        format = record["format"]
        if format == _FORMAT:
            parsing.check_form(record, _FORM)
            old_configs, old_hashes = record["configs"], record["file_hashes"]
            old_plans = [memory.read_plan(plan) for plan in record["plans"]]
    except (OSError, ValueError, TypeError):
        raise UserError(
            f"{path}: not a record of checkpoints; --load_from_ckpt=false starts anew"
        ) from None
    if format != _FORMAT:
        raise UserError(
            f"{path}: checkpoints of another version of this program (format "
            f"{_shortened(repr(format))}, now {_FORMAT}); --load_from_ckpt=false "
            "starts anew"
        )
    told = []
    for name in dict.fromkeys([*old_configs, *configs]):
        label = f"{name}: " if name else ""
        if name not in configs:
            told.append(f"{label}not asked for now")
        elif name not in old_configs:
            told.append(f"{label}not among them")
        else:
            changed = compare.config_differences(old_configs[name], configs[name])
            told += [f"{label}{difference}" for difference in changed]
    if sorted(old_hashes.values()) != sorted(file_hashes.values()):
        names = sorted(
            name
            for name in {*old_hashes, *file_hashes}
            if old_hashes.get(name) != file_hashes.get(name)
        )
        told.append(f"other input files ({', '.join(names)})")
    if told:
        raise UserError(
            f"the checkpoints in {path.parent} are of another experiment: "
            f"{_shortened('; '.join(told))}; choose another --ckpt_dir, or "
            "--load_from_ckpt=false"
        )
    made_by = record.get("jax", "")
    return (
        old_plans if len(old_plans) == len(plans) else list(plans),
        made_by if isinstance(made_by, str) and len(made_by) < 50 else "",
    )
