"""Parts that are done, put together as points: their results saved, and told of."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from alphanet_jax.config.fields import Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import devices, keeping, outcome
from alphanet_jax.experiment.outcome import Outcome
from alphanet_jax.experiment.problem import Problem
from alphanet_jax.experiment.progress import Report
from alphanet_jax.results import file as result_file
from alphanet_jax.stages import stage

__all__ = ["Gathering", "Trained", "draws_neighbors_per_seed", "path_of"]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a point.

    Attributes:
      point: The point.
      path: Its result file; None where nothing was to be written.
      error: Why it could not be trained, if it could not.
      was_done: Whether the result was there already.
      kept: Arrays of the result, where there is no file to read them from.
      unsaved: Lines about what could not be saved where it belongs; the path is that
        of the place where the result is instead.
    """

    point: Point
    path: Path | None = None
    error: UserError | None = None
    was_done: bool = False
    kept: Mapping[str, np.ndarray] | None = None
    unsaved: tuple[str, ...] = ()

    def arrays(self, names: Sequence[str] | None = None) -> Mapping[str, np.ndarray]:
        """Loads the result, or some of its arrays.

        Args:
          names: Names of the arrays, which `alphanet_jax.results.file` lists; by
            default all.

        Raises:
          UserError: If the point could not be trained, saying why; or there is no
            array of a name.
        """
        if self.error is not None:
            raise self.error
        if self.kept is None:
            assert self.path is not None
            return result_file.load_result(self.path, names)
        if missing := set(names or ()) - self.kept.keys():
            raise UserError(f"a result has no arrays {sorted(missing)}")
        return {name: self.kept[name] for name in names or self.kept}


def path_of(root: Path | None, point: Point) -> Path | None:
    """Names the result file of a point; None where nothing is to be written."""
    return None if root is None else root / point.directory / point.file_name


class Gathering:
    """Gathers what comes of parts, and saves each point when all of it is there.

    Args:
      points: The points.
      problems: The problem of every part.
      owners: The number of its point, for every part.
      done: Numbers of points that are left out.
      root: Where results are written; None keeps them in memory.
      watcher: Logs to write, if any.
      brief: Whether results leave out what makes them large.
      report: Takes lines of text about progress.
      point_ended: Takes every point that is saved; by default `report` gets a line.
    """

    def __init__(
        self,
        points: Sequence[Point],
        problems: Sequence[Problem],
        owners: Sequence[int],
        *,
        done: set[int],
        root: Path | None,
        watcher: keeping.SteadyLogs | None,
        brief: bool,
        report: Report,
        point_ended: Callable[[Trained], None] | None,
    ) -> None:
        self._points, self._problems, self._owners = points, problems, owners
        self._root, self._watcher, self._brief = root, watcher, brief
        self._report, self._point_ended = report, point_ended
        self._waiting: dict[int, list[tuple[Problem, Outcome]]] = {
            number: [] for number in owners if number not in done
        }
        self._total, self._clock = len(self._waiting), time.monotonic()

    def take(self, place: int, came: Outcome | UserError) -> tuple[int, Trained] | None:
        """Takes what came of a part.

        Args:
          place: Number of the part.
          came: Its outcome, or why there is none.

        Returns:
          The number of its point and what came of that, when that is known.
        """
        number = self._owners[place]
        if number not in self._waiting:  # another of its parts failed
            return None
        if isinstance(came, UserError):
            self._report(f"failed: {came}")
            del self._waiting[number]
            path = path_of(self._root, self._points[number])
            return number, Trained(self._points[number], path, error=came)
        self._waiting[number].append((self._problems[place], came))
        if len(self._waiting[number]) < self._owners.count(number):
            return None
        trained, whole = self._save(number, self._waiting.pop(number))
        if self._point_ended is not None:
            self._point_ended(trained)
        else:
            took = time.monotonic() - self._clock
            ended = self._total - len(self._waiting)
            for line in _ending(trained, whole, took, ended, self._total):
                self._report(line)
        return number, trained

    def _save(
        self, number: int, came: Sequence[tuple[Problem, Outcome]]
    ) -> tuple[Trained, Outcome]:
        """Puts the parts of a point together, and writes its logs and its result.

        In this order: what has a result is not trained again, nor logged.
        """
        point = self._points[number]
        problems, outcomes = zip(*came, strict=True)
        whole = outcome.merge_seeds(outcomes)
        if self._watcher is not None:
            with stage(self._report, "writing logs"):
                self._watcher.point_ended(point.title, whole)
        arrays = outcome.result_arrays(
            problems if draws_neighbors_per_seed(point.settings) else problems[0],
            whole,
            point.settings,
            brief=self._brief,
        )
        path = path_of(self._root, point)
        if path is None:
            return Trained(point, kept=arrays), whole
        if not devices.is_first_process():
            return Trained(point, path), whole
        with stage(self._report, f"saving {path}"):
            place, problem = keeping.save_result(path, arrays, self._report)
        if not problem:
            return Trained(point, path), whole
        kept = arrays if place is None else None
        return Trained(point, place, kept=kept, unsaved=(problem,)), whole


def draws_neighbors_per_seed(settings: Settings) -> bool:
    """Returns whether every seed has neighbors of its own."""
    return settings.nn_per_seed and settings.nn_dist == "random"


def _ending(
    trained: Trained, whole: Outcome, took: float, ended: int, total: int
) -> list[str]:
    """Says that a point is done."""
    saved = "" if trained.path is None else f"saved {trained.path}"
    if total == 1:
        spent = whole.seconds.items()
        lines = ["seconds: " + "  ".join(f"{k} {time:.1f}" for k, time in spent), saved]
        return list(filter(None, lines))
    what = ", ".join(filter(None, (trained.point.title, saved)))
    return [f"{ended} of {total} points done in {took:.0f} s: {what}"]
