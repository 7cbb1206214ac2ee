"""Choosing a correction by targets: by hand, against NumPy, and how sure it is."""

import dataclasses

import numpy as np
import pytest

from alphanet_jax import measures
from alphanet_jax.comparison import choosing
from alphanet_jax.comparison.choosing import choose, parse_target
from alphanet_jax.comparison.judging import Samples
from alphanet_jax.errors import UserError

SPLITS = {"few": np.array([0]), "medium": np.array([1]), "many": np.array([2])}
LABELS = np.repeat([0, 1, 2], 40)


@dataclasses.dataclass
class Points:
    """A method over its knob."""

    name: str
    val_correct: np.ndarray
    samples: Samples
    knob_name: str = "tau"

    def __post_init__(self):
        self.knobs = np.arange(len(self.val_correct), dtype=float)
        self.choices = [{} for _ in self.knobs]
        self.val = self.samples.accuracies(self.val_correct)


def samples(labels=LABELS, splits=SPLITS, **options):
    return Samples(labels, splits, 3, **options)


def made(name, *shares, at=None):
    """Points that get the first so many of each class's samples right."""
    given = samples() if at is None else at
    rows = [
        np.concatenate([np.arange(40) < round(40 * share) for share in point])
        for point in shares
    ]
    return Points(name, np.array(rows), given)


UNCHANGED = made("unchanged", (0.25, 0.5, 0.75))


class TestTargets:
    @pytest.mark.parametrize(
        ("text", "part", "bound", "is_change"),
        [
            ("overall >= -1.0", "overall", -0.01, True),
            ("few>=+5", "few", 0.05, True),
            ("  few >= 45 % ", "few", 0.45, False),
            ("harmonic >= 0", "harmonic", 0.0, False),
            ("many >= -0", "many", 0.0, True),
        ],
    )
    def test_read(self, text, part, bound, is_change):
        found = parse_target(text)
        assert found == (part, pytest.approx(bound), is_change)
        assert parse_target(str(found)) == found

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "must be a name, >= and a number, such as"),
            ("few", "must be a name, >= and a number"),
            ("fwe >= 4", "unknown accuracy 'fwe'; did you mean 'few'?"),
            ("few <= 4", "must have >=, got <="),
            ("few > 4", "must have >=, got >"),
            ("few >= x", "'x' is no number"),
            ("few >= nan", "'nan' is no number"),
            ("few >= --4", "'-4' is no number"),
            ("few >= 1e400", "'1e400' is no number"),
            ("few >= 450", "at most 100 can be reached"),
        ],
    )
    def test_refused(self, text, said):
        with pytest.raises(UserError) as error:
            parse_target(text)
        assert repr(text) in str(error.value)
        assert said in str(error.value)


class TestChoice:
    def test_by_tradeoff(self):
        better = made("better", (0.5, 0.5, 0.7), (0.55, 0.5, 0.75), (0.9, 0.1, 0.1))
        found = choose([UNCHANGED, better], samples(), unchanged=UNCHANGED)
        assert (found.method, found.index, found.knob) == ("better", 1, 1.0)
        assert found.held == "surely"
        assert found.lines[0] == (
            "chosen: better (tau 1), on validation data few 55.0, medium 50.0, "
            "many 75.0, overall 60.0"
        )
        score = 100 * measures.tradeoff(better.val, better.val)
        assert f"S {score:.1f}" in found.lines[1]
        assert "few +30.0 (" in found.lines[2]

    def test_of_equal_ones_the_first(self):
        first, second = (made(name, (0.5, 0.5, 0.7)) for name in ("one", "two"))
        found = choose([UNCHANGED, first, second], samples(), unchanged=UNCHANGED)
        assert found.method == "one"
        assert found.lines[2].endswith(
            "next is two, 0.0 less overall (+0.0 to +0.0), so either may be the better"
        )

    def test_surely_before_likely_before_not(self):
        """A sure point wins over one with more few accuracy that may be below."""
        sure = made("sure", (0.5, 0.5, 0.75))
        likely = made("likely", (0.9, 0.3, 0.32))  # overall +0.7, but so uncertain
        target = (parse_target("overall >= 0"), parse_target("overall >= -0"))
        found = choose(
            [UNCHANGED, sure, likely],
            samples(),
            unchanged=UNCHANGED,
            targets=(target[1],),
        )
        assert (found.method, found.held) == ("sure", "surely")
        assert "1 keep overall" not in found.lines[1]
        assert "2 keep overall >= -0 for sure" in found.lines[1]  # itself unchanged
        found = choose(
            [UNCHANGED, likely],
            samples(),
            unchanged=UNCHANGED,
            targets=(parse_target("few >= 80"),),
        )
        assert (found.method, found.held) == ("likely", "surely")
        found = choose(
            [UNCHANGED, likely],
            samples(),
            unchanged=UNCHANGED,
            targets=(parse_target("few >= 89"),),
        )
        assert (found.method, found.held) == ("likely", "likely")
        assert "none for sure: this one may lack" in found.lines[1]
        found = choose(
            [UNCHANGED, likely],
            samples(),
            unchanged=UNCHANGED,
            targets=(parse_target("few >= 99"),),
        )
        assert (found.method, found.held) == ("likely", "not")
        assert "lacks least, 9.0 points" in found.lines[1]
        assert "next is" not in found.lines[2]

    def test_unchanged_keeps_what_it_keeps(self):
        worse = made("worse", (0.5, 0.2, 0.2))
        found = choose(
            [UNCHANGED, worse],
            samples(),
            unchanged=UNCHANGED,
            targets=(parse_target("overall >= -1"),),
        )
        assert (found.method, found.held) == ("unchanged", "surely")
        assert found.lines[2] == "how sure: it is the unchanged classifier"

    def test_few_as_a_target_leaves_overall_to_be_best(self):
        curve = made("one", (0.7, 0.5, 0.6), (0.95, 0.4, 0.2))
        found = choose(
            [UNCHANGED, curve],
            samples(),
            unchanged=UNCHANGED,
            targets=(parse_target("few >= +20"),),
        )
        assert found.index == 0
        assert found.lines[1].endswith("of those it has the best overall accuracy")

    def test_the_best_point_of_one_method(self):
        curve = made("one", (0.3, 0.5, 0.75), (0.6, 0.5, 0.75), (0.6, 0.5, 0.5))
        found = choose([curve], samples(), unchanged=UNCHANGED, by_tradeoff=False)
        assert found.index == 1
        assert (
            found.lines[1] == "why: the best overall accuracy over its knob, 3 points"
        )

    def test_a_split_without_samples(self):
        without = samples(np.repeat([0, 1], 40))
        half = made("unchanged", (0.25, 0.5), at=without)
        with pytest.raises(UserError, match="no validation samples of many classes"):
            choose(
                [half], without, unchanged=half, targets=(parse_target("many >= 1"),)
            )
        found = choose(
            [half],
            without,
            unchanged=half,
            targets=(parse_target("harmonic >= 10"), parse_target("overall >= +0")),
        )
        assert found.held == "surely"
        assert "many" not in found.lines[0]


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("part", ["few", "many", "overall", "harmonic"])
def test_errors_are_those_of_drawing_anew(part, by_class):
    """The standard error of a difference, against drawing samples of each class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 90, 30])
    given = samples(labels, by_class=by_class)
    share = np.array([[0.3, 0.6, 0.8], [0.6, 0.5, 0.7]])
    right = rng.random((2, len(labels))) < share[:, labels]
    judge = choosing._Uncertain(given)
    scores = judge.scores(right[1], part) - judge.scores(right[0], part)
    drawn = np.empty((4000, 2))
    for number in range(len(drawn)):
        rows = np.concatenate(
            [
                rng.choice(np.flatnonzero(labels == c), (labels == c).sum())
                for c in (0, 1, 2)
            ]
        )
        values = given.accuracies(right[:, rows])
        drawn[number] = [choosing._value(value, part) for value in values]
    assert judge.error(scores) == pytest.approx(
        (drawn[:, 1] - drawn[:, 0]).std(), rel=0.06
    )


def test_a_class_with_one_sample_is_not_certain():
    splits = {"few": np.arange(10), "medium": np.array([10]), "many": np.array([11])}
    labels = np.concatenate([np.arange(10), np.repeat([10, 11], 20)])
    given = Samples(labels, splits, 12)
    right = np.concatenate([np.arange(10) < 5, np.ones(40)])
    judge = choosing._Uncertain(given)
    # Ten samples of the split, five of them right.
    expected = np.sqrt(0.25 / 9)
    assert judge.error(judge.scores(right, "few")) == pytest.approx(expected)


@pytest.mark.slow
def test_targets_hold_on_other_samples_as_often_as_said():
    """One point, at the bound in truth, is sure in five percent of the cases."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 100)
    given = samples(labels)
    before, after = np.array([0.3, 0.6, 0.8]), np.array([0.5, 0.5, 0.77])
    truth = after.mean() - before.mean()
    target = (choosing.Target("overall", truth, True),)
    sure = 0
    trials = 2000
    for _ in range(trials):
        old = Points("unchanged", (rng.random((1, 300)) < before[labels]), given)
        new = Points("new", (rng.random((1, 300)) < after[labels]), given)
        found = choose([new], given, unchanged=old, targets=target)
        sure += found.held == "surely"
    error = np.sqrt(0.05 * 0.95 / trials)
    assert abs(sure / trials - 0.05) < 4 * error
