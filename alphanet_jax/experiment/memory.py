"""The plan of memory: how many runs train at a time, made before any work starts.

Notation: F 'few' classes, k neighbors, M source classes, T batches of an epoch,
B rows of a batch.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alphanet_jax import parsing
from alphanet_jax.errors import UserError, count_of

__all__ = [
    "Needs",
    "Plan",
    "available_bytes",
    "fits",
    "make_plan",
    "read_plan",
    "round_up",
]

_GIB = 2**30
_FLOAT = 4
# Of a run's parameters: themselves, two moments, a gradient, those of the selected
# epoch, and two that are on their way.
_PARAM_COPIES = 7
_PROGRAM_BYTES = int(0.6 * _GIB)  # Python, JAX and what it compiles
# More runs at a time gain nothing on CPUs, where a few fill every core: the numbers
# of a group should rather stay near the cores, and points of a sweep finish early.
_CPU_GROUP_BYTES = 64 * 2**20
_CPU_GROUP_RUNS = 32
_ACCELERATOR_GROUP_RUNS = 1024


def round_up(number: int) -> int:
    """Rounds up to 1, 2, 3, 4, 6, 8, 12, 16 ...: few sizes, so few programs."""
    if number < 2:
        return max(number, 0)
    power = 1 << ((number - 1).bit_length() - 1)  # power < number <= 2 * power
    return power * 3 // 2 if number <= power * 3 // 2 else power * 2


@dataclasses.dataclass(frozen=True)
class Needs:
    """Sizes that memory depends on; those of a sweep are of its largest point.

    Attributes:
      num_runs: Runs to train in all.
      num_params: Parameters of one network.
      num_features: Feature dimensions d.
      num_classes: Classes C.
      num_few: F.
      num_neighbors: k.
      num_sources: Distinct source classes M.
      num_source_rows: Rows of the sources, over all places.
      num_train: Training samples.
      num_val: Validation samples; 0 for none.
      num_test: Test samples.
      rows_once: Training rows that every run uses in every epoch.
      rows_per_run: Further training rows that a run may draw in all its epochs.
      num_epochs: Epochs.
      num_batches: Batches of an epoch, T.
      batch_size: Rows of a batch, B.
      eval_batch_size: Samples evaluated at a time.
      pass_rows: Samples scored at a time.
    """

    num_runs: int
    num_params: int
    num_features: int
    num_classes: int
    num_few: int
    num_neighbors: int
    num_sources: int
    num_source_rows: int
    num_train: int
    num_val: int
    num_test: int
    rows_once: int
    rows_per_run: int
    num_epochs: int
    num_batches: int
    batch_size: int
    eval_batch_size: int
    pass_rows: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample's scores."""
        return _FLOAT * (self.num_sources + 15)

    def table_rows(self, num_runs: int) -> int:
        """The most training rows that so many runs use, rounded up."""
        drawn = self.rows_once + self.rows_per_run * num_runs
        return min(self.num_train, round_up(drawn))

    def fixed_bytes(self) -> dict[str, int]:
        """Bytes that do not depend on how many runs train at a time."""
        padded = self.num_val + self.num_test + 2 * self.eval_batch_size
        pass_bytes = self.pass_rows * (self.num_features + 4 * self.num_classes)
        draws = self.num_runs * self.num_epochs * self.num_batches * self.batch_size
        return {
            "the program": _PROGRAM_BYTES,
            "classifiers": _FLOAT
            * self.num_features
            * (2 * self.num_classes + 2 * self.num_source_rows),
            "evaluation scores": padded * self.row_bytes,
            "a pass over features": _FLOAT * pass_bytes,
            "drawn rows": 5 * draws,
        }

    def run_bytes(self) -> int:
        """Bytes of one more run at a time."""
        batch = self.num_few * (self.num_neighbors + 1) * self.batch_size
        chunk = self.num_few * self.eval_batch_size
        new_weights = self.num_few * self.num_features
        return _FLOAT * (
            _PARAM_COPIES * self.num_params
            + 3 * max(batch, chunk, new_weights)
            + self.num_test
        )

    def table_bytes(self, num_runs: int) -> int:
        """Bytes of the scores of training rows."""
        return self.table_rows(num_runs) * self.row_bytes


@dataclasses.dataclass(frozen=True)
class Plan:
    """How training goes about its memory.

    Attributes:
      runs_at_a_time: Runs that train at a time.
      shared_table: Whether training rows are scored once for all runs; otherwise
        once for each group.
      table_rows: Rows that the table of training scores has room for.
      parts: Bytes by what they are for.
      limit: Bytes that may be used.
    """

    runs_at_a_time: int
    shared_table: bool
    table_rows: int
    parts: Mapping[str, int]
    limit: int

    @property
    def total(self) -> int:
        """All bytes."""
        return sum(self.parts.values())

    def __str__(self) -> str:
        largest = sorted(self.parts.items(), key=lambda item: -item[1])[:3]
        parts = ", ".join(f"{name} {count / _GIB:.1f}" for name, count in largest)
        return (
            f"memory: about {self.total / _GIB:.1f} of {self.limit / _GIB:.1f} GiB "
            f"({parts}), {count_of(self.runs_at_a_time, 'run')} at a time"
        )


_FORM = {
    "runs_at_a_time": int,
    "shared_table": bool,
    "table_rows": int,
    "parts": parsing.Each(int),
    "limit": int,
}


def read_plan(record: Any) -> Plan:
    """Reads a plan that a file has.

    Args:
      record: What `dataclasses.asdict` made of it, back from JSON.

    Raises:
      ValueError: If it is none.
    """
    parsing.check_form(record, _FORM, "plan")
    return Plan(**{name: record[name] for name in _FORM})


def fits(plan: Plan, needs: Needs, *, num_devices: int = 1) -> bool:
    """Returns whether a plan can be one for such sizes.

    Examples:
      >>> fits(Plan(10**9, True, 0, {}, 0), Needs(*range(1, 19)))
      False
    """
    runs = plan.runs_at_a_time
    if not 1 <= runs < needs.num_runs + num_devices:
        return False
    return plan.table_rows == needs.table_rows(
        needs.num_runs if plan.shared_table else runs
    )


def available_bytes(platform: str) -> int:
    """Bytes that a computation may take when nobody says how many.

    Args:
      platform: Of the devices: 'cpu', or another one, whose own memory counts.

    Returns:
      On a CPU three quarters of the memory that is free, but no more than 5 GiB,
      past which nothing gets faster; otherwise three quarters of a device's memory.
    """
    if platform != "cpu":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return int(0.75 * stats.get("bytes_limit", 16 * _GIB))
    return min(int(0.75 * _free_bytes()), 5 * _GIB)


def _free_bytes() -> int:
    """Memory that is free, of the machine and of the process's control group."""
    found = [16 * _GIB]
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")
        if limit != "max":
            found.append(int(limit) - int(used))
    except (OSError, ValueError, AttributeError):
        pass  # not Linux: what is known so far
    return min(found)


def make_plan(
    needs: Needs, *, limit: int, platform: str = "cpu", num_devices: int = 1
) -> Plan:
    """Decides how many runs train at a time.

    Args:
      needs: Sizes.
      limit: Bytes that may be used; on accelerators, of each device.
      platform: Of the devices.
      num_devices: Devices that share the runs.

    Returns:
      The plan: equal groups, as large as fit and help.

    Raises:
      UserError: If not even one run for each device fits; what takes the memory is
        named, and what to change.
    """
    most = _ACCELERATOR_GROUP_RUNS * num_devices
    if platform == "cpu":
        by_size = _CPU_GROUP_BYTES // (4 * _FLOAT * max(needs.num_params, 1))
        most = num_devices * max(1, min(by_size, _CPU_GROUP_RUNS))
    fixed = needs.fixed_bytes()

    def plan(num_groups: int, shared: bool) -> Plan:
        size = math.ceil(needs.num_runs / num_groups)
        size = math.ceil(size / num_devices) * num_devices
        table_runs = needs.num_runs if shared else size
        parts = {
            **fixed,
            "networks in training": needs.run_bytes() * math.ceil(size / num_devices),
            "training scores": needs.table_bytes(table_runs),
        }
        return Plan(size, shared, needs.table_rows(table_runs), parts, limit)

    # Group sizes from the largest that helps down to a single run; scoring rows once
    # for all groups is worth more than a large group.
    fewest = math.ceil(needs.num_runs / max(most, 1))
    numbers = sorted(
        {
            math.ceil(needs.num_runs / size)
            for size in range(1, math.ceil(needs.num_runs / fewest) + 1)
        }
    )
    for shared in (True, False):
        for number in numbers:
            found = plan(number, shared)
            if found.total <= limit:
                return found
    least = plan(numbers[-1], False)
    parts = ", ".join(
        f"{name} {_in_gib(count)}"
        for name, count in sorted(least.parts.items(), key=lambda item: -item[1])
    )
    raise UserError(
        f"--memory_gib: one run needs about {_in_gib(least.total)} GiB ({parts}), "
        f"and {_in_gib(limit)} may be used; allow more{_way_out(least.parts)}"
    )


def _in_gib(count: int) -> str:
    """Writes a number of bytes in GiB, which may be more than there are anywhere."""
    return f"{count / _GIB:.1f}" if count < 10**6 * _GIB else f"{count / _GIB:.1g}"


# What makes a part of the memory smaller.
_LOWER = {
    "networks in training": "training.train_batch_size or alphanet.hdims",
    "evaluation scores": "training.eval_batch_size",
    "drawn rows": "training.train_epochs, training.train_batch_size or rho",
    "training scores": "rho",
}


def _way_out(parts: Mapping[str, int]) -> str:
    """Names the settings that make the largest part smaller that any do."""
    largest = max(_LOWER, key=lambda name: parts[name])
    return f", or lower {_LOWER[largest]}"
