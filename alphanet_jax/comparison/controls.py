"""The controls beside AlphaNet in every table: corrections of one number, no training.

Notation: n samples, C classes.
"""

import functools

import numpy as np

from alphanet_jax import posthoc, stages, streaming
from alphanet_jax.comparison.choosing import choose
from alphanet_jax.comparison.corrections import Candidates
from alphanet_jax.comparison.judging import Samples, is_balanced
from alphanet_jax.data.dataset import Dataset, Group
from alphanet_jax.posthoc import Linear, Point, SharedProducts
from alphanet_jax.results import accuracy
from alphanet_jax.results.accuracy_tables import Control
from alphanet_jax.stages import Report

__all__ = ["Controls", "find_controls"]

_OFFSET, _ADJUSTMENT = "few_offset", "logit_adjustment"
_TITLES = {_OFFSET: "Offset on few ({:g})", _ADJUSTMENT: "Logit adj. (tau {:g})"}
# What theory says for a classifier that was trained without any correction.
_TAU = 1.0


def find_controls(
    data: Dataset, *, report: Report = lambda line: None
) -> list[Control]:
    """Tests an offset on the few logits, and logit adjustment.

    Their knobs are chosen by overall accuracy on validation data. Without those, logit
    adjustment has tau 1, and there is no offset to choose.

    Args:
      data: The dataset.
      report: Takes lines of text about progress.

    Returns:
      The controls with their accuracy on test data, as `compare` has them.
    """
    return Controls(data).find(report=report)


class Controls:
    """What `find_controls` finds, from products that others have taken where they have.

    An `Onlooker` of training, which scores the same samples by the same classifier.

    Args:
      data: The dataset.
    """

    def __init__(self, data: Dataset) -> None:
        self._data = data
        self._groups = {"test": data.test}
        self._chosen: list[tuple[str, Linear]] = []
        self._right: list[np.ndarray] = []  # of every chosen one; shape=(n,)
        if data.val is not None and np.isin(data.val.labels, data.few_classes).any():
            self._groups = {"val": data.val, "test": data.test}
        self._seen = dict.fromkeys(self._groups, 0)  # samples

    def looks_at(self, group: str) -> bool:
        """Tells whether products of a group, 'val' or 'test', are of use.

        Those of test samples are when those of all validation samples have been seen.
        """
        return group in self._groups and self._seen[group] == 0

    def see(self, group: str, products: np.ndarray) -> None:
        """Takes products of the next samples of a group with the classifier, `[m, C]`.

        Args:
          group: Name of the group.
          products: The products, without a bias.
        """
        start = self._seen[group]
        part = slice(start, start + len(products))
        shared = SharedProducts(products, self._data.weight)
        labels = self._groups[group].labels[part]
        if group == "val":
            for tried in self._tried:
                tried.judge(part, shared, labels)
        else:
            self._choose()
            for right, (_, head) in zip(self._right, self._chosen, strict=True):
                right[part] = shared.predict(head) == labels
        self._seen[group] = part.stop

    def find(self, *, report: Report = lambda line: None) -> list[Control]:
        """Returns the controls; takes products of what has not been seen.

        Args:
          report: Takes lines of text about progress.
        """
        left = {
            name: group
            for name, group in self._groups.items()
            if self._seen[name] < len(group.labels)
        }
        total = sum(len(group.labels) for group in left.values())
        if left:
            with stages.stage(report, "testing controls", total=total, unit="samples"):
                for name, group in left.items():
                    self._seen[name] = 0
                    self._look(name, group)
        data = self._data
        fractions = accuracy.per_split(
            np.array(self._right), data.test.labels, data.splits
        )
        return [
            Control(title, row)
            for (title, _), row in zip(self._chosen, fractions, strict=True)
        ]

    def _look(self, name: str, group: Group) -> None:
        """Takes the products of a group."""
        own = Linear(self._data.weight, np.zeros_like(self._data.bias))
        for rows in streaming.float_chunks(
            group.features, width=self._data.num_classes
        ):
            self.see(name, np.asarray(posthoc.logits(own, rows)))

    @functools.cached_property
    def _tried(self) -> "list[_Tried]":
        """Both methods over their knobs, made when there is something to try."""
        data = self._data
        inputs = {
            "weight": data.weight,
            "bias": data.bias,
            "few_classes": data.few_classes,
            "counts": data.class_counts,
        }
        count = len(self._groups["val"].labels) if "val" in self._groups else 0
        return [
            _Tried(name, list(posthoc.sweep(posthoc.METHODS[name], inputs)), count)
            for name in (_OFFSET, _ADJUSTMENT)
        ]

    def _choose(self) -> None:
        """Chooses knobs, by the validation samples, all of which were seen."""
        if self._chosen:
            return
        if "val" not in self._groups:  # nothing to choose an offset by
            family = self._tried[1].points[0].family
            found = {_ADJUSTMENT: (_TAU, family(_TAU))}
        else:
            labels = self._groups["val"].labels
            samples = Samples(
                labels,
                self._data.splits,
                self._data.num_classes,
                by_class=not is_balanced(labels),
            )
            found = {tried.name: tried.best(samples) for tried in self._tried}
        for name, (knob, head) in found.items():
            assert isinstance(head, Linear)
            self._chosen.append((_TITLES[name].format(knob), head))
            self._right.append(np.zeros(len(self._data.test.labels), bool))


class _Tried:
    """A method over its knob, on validation samples.

    Args:
      name: Its name.
      points: Its points.
      num_samples: Number of samples.
    """

    def __init__(self, name: str, points: list[Point], num_samples: int) -> None:
        self.name, self.points = name, points
        self._right = np.zeros((len(points), num_samples), bool)

    def judge(self, part: slice, shared: SharedProducts, labels: np.ndarray) -> None:
        """Notes which of some samples each point gets right."""
        for right, point in zip(self._right, self.points, strict=True):
            assert isinstance(point.outcome, Linear)
            right[part] = shared.predict(point.outcome) == labels

    def best(self, samples: Samples) -> tuple[float, posthoc.Outcome]:
        """Returns the knob with the best overall accuracy, and what it gives."""
        candidates = Candidates(
            name=self.name,
            knob_name=posthoc.METHODS[self.name].knob or "",
            knobs=np.array([point.knob for point in self.points]),
            choices=[point.choice for point in self.points],
            val=samples.accuracies(self._right),
            val_correct=self._right,
            families=[point.family for point in self.points],
        )
        best = choose([candidates], samples, unchanged=candidates, by_tradeoff=False)
        return best.knob, self.points[best.index].outcome
