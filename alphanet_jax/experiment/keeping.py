"""Keeps what training comes to, also where a disk is full or does not answer.

A result that cannot be written goes elsewhere, or stays in memory, and is tried again
in the end. Checkpoints and logs that cannot be written do not stop training: a line
says so, once. A sweep that was stopped goes on in the batches in which it began.
"""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from alphanet_jax import files, outputs, parsing
from alphanet_jax.config.compare import config_differences
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import tb_logs
from alphanet_jax.experiment.cohorts import Cohort
from alphanet_jax.experiment.hooks import Checkpoints, RunName
from alphanet_jax.experiment.memory import Plan, read_plan
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.progress import Report
from alphanet_jax.experiment.tb_logs import TensorBoardLogs
from alphanet_jax.results import file as result_file

__all__ = [
    "Places",
    "PlanRecord",
    "SteadyCheckpoints",
    "SteadyLogs",
    "bring_home",
    "check_space",
    "move_home",
    "save_anywhere",
    "save_result",
]

_PLANS = ".unfinished.json"
_RECORD_FORMAT = 1
_RECORD_FORM = {
    "format": int,
    "jax": str,
    "devices": int,
    "configs": parsing.Each(dict),
    "file_hashes": [str],
    "plans": [dict],
}
_STATE_FILES = 2**17  # what Orbax writes beside the arrays of a state


class Places(NamedTuple):
    """Where the state of training is kept on disk, and logs of it; and how much is."""

    ckpt_dir: Path | None
    n_ckpt: int
    load_from_ckpt: bool
    tb_logs: Path | None
    tb_subruns: bool = False
    brief_result: bool = False


def save_result(
    path: Path, arrays: Mapping[str, np.ndarray], report: Report
) -> tuple[Path | None, str]:
    """Writes a result where it belongs, or else where that can be done.

    Returns:
      Where it is, None for nowhere; and what went wrong, if anything did.
    """
    return save_anywhere(
        path, lambda place: result_file.save_result(place, arrays), report
    )


def save_anywhere(
    path: Path, write: Callable[[Path], None], report: Report
) -> tuple[Path | None, str]:
    """Writes what has been computed where it belongs, or else where that can be done.

    Args:
      path: Where it belongs.
      write: Writes it to a path, whole or not at all.
      report: Takes a line about what went wrong.

    Returns:
      Where it is, None for nowhere; and what went wrong, if anything did.
    """
    try:
        write(path)
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror or error}"
    else:
        return path, ""
    for place in outputs.other_places(path):
        with contextlib.suppress(OSError):
            write(place)
            problem += f"; the result is in {place}: move it there"
            report(f"warning: {problem}")
            return place, problem
        outputs.leave_place(place)
    report(f"warning: {problem}; it is kept in memory, and tried again in the end")
    return None, f"{problem}; nor could it be saved elsewhere"


def move_home(
    path: Path, place: Path | None, arrays: Mapping[str, np.ndarray] | None
) -> bool:
    """Tries again to put a result where it belongs; returns whether that is done."""

    def write(place: Path) -> None:
        assert arrays is not None
        result_file.save_result(place, arrays)

    return bring_home(path, place, write)


def bring_home(path: Path, place: Path | None, write: Callable[[Path], None]) -> bool:
    """Tries again to put what `save_anywhere` wrote where it belongs.

    Args:
      path: Where it belongs.
      place: Where it is; None for nowhere.
      write: Writes it to a path; for what is nowhere.

    Returns:
      Whether that is done.
    """
    try:
        if place is None:
            write(path)
        else:
            with files.replacing(path) as temporary:
                shutil.copyfile(place, temporary)
            place.unlink()
            outputs.leave_place(place)
    except OSError:
        return False
    return True


class SteadyCheckpoints:
    """Checkpoints that warn where a state cannot be saved, and let training go on."""

    def __init__(self, store: Checkpoints, report: Report, *, directory: Path) -> None:
        self._store, self._report, self._directory = store, report, directory
        self.problem = ""

    def restore(self, name: str, like: Any) -> tuple[int, Any] | None:
        """Loads the newest state of a batch of runs; see `hooks.Checkpoints`."""
        return self._store.restore(name, like)

    def save(self, name: str, epochs_done: int, state: Any) -> None:
        """Keeps the state of a batch of runs, if it can."""
        try:
            self._store.save(name, epochs_done, state)
        # Orbax and what it writes with raise all sorts of errors for a full disk.
        except Exception as error:
            if jax.process_count() > 1:  # the others wait for this one
                raise
            if not self.problem:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                self.problem = (
                    f"not all checkpoints could be saved in {self._directory}: {reason}"
                )
                self._report(f"warning: {self.problem}; training goes on")


class SteadyLogs:
    """Logs that warn where they cannot be written, end, and let training go on."""

    def __init__(
        self, open_logs: Callable[[], TensorBoardLogs], report: Report, directory: Path
    ) -> None:
        self._report, self._directory = report, directory
        self._logs: TensorBoardLogs | None = None
        self.problem = ""

        def open_them() -> None:
            self._logs = open_logs()

        self._try(open_them)

    def _try(self, write: Callable[[], None]) -> None:
        if self.problem:
            return
        try:
            write()
        except (OSError, UserError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self.problem = f"logs in {self._directory} are not whole: {reason}"
            self._report(f"warning: {self.problem}; training goes on")

    def epoch_ended(
        self,
        runs: Sequence[RunName],
        epoch: int,
        losses: np.ndarray,
        alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what came of an epoch; see `hooks.Watcher`."""
        if (logs := self._logs) is not None:
            self._try(lambda: logs.epoch_ended(runs, epoch, losses, alphas, val))

    def resumed(
        self,
        runs: Sequence[RunName],
        losses: np.ndarray,
        mean_alphas: np.ndarray,
        val: Metrics | None,
    ) -> None:
        """Takes what is known of epochs that were done; see `hooks.Watcher`."""
        if (logs := self._logs) is not None:
            self._try(lambda: logs.resumed(runs, losses, mean_alphas, val))

    def flush(self) -> None:
        """Writes what waits; see `hooks.Watcher`."""
        if (logs := self._logs) is not None:
            self._try(logs.flush)

    def tested(self, runs: Sequence[RunName], test: Metrics) -> None:
        """Takes the metrics of test data; see `hooks.Watcher`."""
        if (logs := self._logs) is not None:
            self._try(lambda: logs.tested(runs, test))

    def point_ended(self, name: str, outcome: Outcome) -> None:
        """Takes what came of a point; see `TensorBoardLogs`."""
        if (logs := self._logs) is not None:
            self._try(lambda: logs.point_ended(name, outcome))

    def close(self) -> None:
        """Closes what is open."""
        if (logs := self._logs) is not None:
            self._try(logs.close)


class PlanRecord:
    """The batches of a sweep that is under way, in its directory until it has ended.

    A run's bytes depend, in their last digits, on which runs train beside it. A sweep
    that goes on therefore keeps the points that are done in their batches.

    Args:
      workdir: The directory of the sweep; None where there is none.
      configs: The full configuration of every point, by its name.
      file_hashes: SHA-256 of the input files.
    """

    def __init__(
        self,
        workdir: Path | None,
        *,
        configs: Mapping[str, Mapping[str, Any]],
        file_hashes: Mapping[str, str],
    ) -> None:
        self._path = None if workdir is None else workdir / _PLANS
        self._configs, self._hashes = configs, file_hashes

    def read(self) -> tuple[list[str], list[Plan]] | None:
        """Returns the points that trained together, and how; None where none did.

        What does not fit what is asked for now counts for nothing.
        """
        if self._path is None or not self._path.is_file():
            return None
        try:
            record = parsing.parse_json(self._path.read_bytes())
            parsing.check_form(record, _RECORD_FORM)
            plans = [read_plan(plan) for plan in record["plans"]]
            fits = (
                record["format"] == _RECORD_FORMAT
                and record["jax"] == jax.__version__
                and record["devices"] == jax.device_count()
                and sorted(record["file_hashes"]) == sorted(self._hashes.values())
                and all(
                    name in self._configs
                    and not config_differences(config, self._configs[name])
                    for name, config in record["configs"].items()
                )
            )
        except (OSError, ValueError, TypeError):
            return None
        return (list(record["configs"]), plans) if fits else None

    def write(self, names: Sequence[str], plans: Sequence[Plan]) -> None:
        """Notes which points are going to train together, and how."""
        if self._path is None or len(names) < 2:
            return
        record = {
            "format": _RECORD_FORMAT,
            "jax": jax.__version__,
            "devices": jax.device_count(),
            "configs": {name: dict(self._configs[name]) for name in names},
            "file_hashes": list(self._hashes.values()),
            "plans": [dataclasses.asdict(plan) for plan in plans],
        }
        # Without it the sweep trains all the same.
        with contextlib.suppress(OSError), files.replacing(self._path) as temporary:
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")

    def remove(self) -> None:
        """Ends it: all points have trained, or failed.

        One of a single point has none; what is there is another sweep's.
        """
        if self._path is not None and len(self._configs) > 1:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def check_space(
    cohorts: Sequence[tuple[Cohort, Plan]], root: Path | None, places: Places
) -> None:
    """Compares what training is going to write with the free space.

    Args:
      cohorts: What is to be trained, with its plans.
      root: Where results go; None for nowhere.
      places: Where checkpoints and logs go.

    Raises:
      UserError: If there is less, naming the flag.
    """
    results = states = logs = 0
    for cohort, plan in cohorts:
        one = _result_bytes(cohort)
        runs = len(cohort.runs)
        results += runs * one.per_run + len(cohort.parts) * one.per_part
        # Parameters, two moments and those of the selected epoch; and the history.
        per_state = plan.runs_at_a_time * (4 * one.params + one.history)
        per_state += _STATE_FILES
        batches = -(-runs // plan.runs_at_a_time)
        states += batches * (places.n_ckpt + 1) * per_state
        # Those of each seed, and of the mean, the least and the most over them.
        logs += (runs + 3 * len(cohort.parts)) * one.logs
    if root is not None:
        outputs.check_space("workdir", root, {"results": results})
    if places.ckpt_dir is not None:
        outputs.check_space("ckpt_dir", places.ckpt_dir, {"checkpoints": states})
    if places.tb_logs is not None:
        outputs.check_space("tb_logs", places.tb_logs, {"logs": logs})


class _Sizes(NamedTuple):
    """Bytes of what a cohort writes."""

    per_run: int
    per_part: int
    params: int
    history: int
    logs: int


def _result_bytes(cohort: Cohort) -> _Sizes:
    """Estimates the bytes of a cohort's output from the shapes of its arrays."""
    from alphanet_jax.experiment.cohorts import needs

    size = needs(cohort)
    history = size.num_epochs * (
        4 * size.num_batches + 4 * (size.num_neighbors + 1) + 12 * size.num_classes
    )
    # By what `results.schema` has for every seed: weights, coefficients, the network,
    # predictions, and metrics of each class by epoch.
    per_run = (
        4 * size.num_few * (size.num_features + size.num_neighbors + 1)
        + 4 * size.num_params
        + 4 * size.num_test
        + history
    )
    per_part = 12 * size.num_test + 64 * size.num_classes + 2**16
    logs = tb_logs.bytes_of_run(
        num_epochs=size.num_epochs,
        num_steps=size.num_batches,
        places=size.num_neighbors + 1,
        few=size.num_few,
    )
    return _Sizes(per_run, per_part, 4 * size.num_params, history, logs)
