"""What methods that take minutes say: before they start, and while they run."""

import numpy as np
import pytest

import alphanet_jax
from alphanet_jax import posthoc
from alphanet_jax.comparison import announce, comparing
from alphanet_jax.comparison.announce import Announced, duration
from alphanet_jax.errors import UserError
from alphanet_jax.posthoc.lbfgs import Step

PLUS = posthoc.METHODS["alphanet_plus"]
HEAD = posthoc.METHODS["balanced_softmax_head"]
COUNTS = (30, 20, 12, 6, 3)


def samples(seed=0):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(COUNTS)), COUNTS)
    centers = rng.normal(size=(len(COUNTS), 4))
    rows = centers[labels] + rng.normal(size=(len(labels), 4))
    return rows.astype(np.float32), labels, centers.astype(np.float32)


def inputs(**options):
    rows, labels, weight = samples()
    bias = np.zeros(len(COUNTS))
    return posthoc.make_inputs(
        rows, labels, weight, bias, few_classes=[3, 4], **options
    )


class Clock:
    """Every look at it takes so many seconds, and a pass some."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


@pytest.fixture
def lines(monkeypatch):
    """Lines are taken as they come, however soon."""
    monkeypatch.setattr(announce, "_EVERY", 0.0)
    return []


def step(iteration, evaluations):
    return Step(iteration, evaluations, 1.0, 0.1)


class TestDuration:
    def test_rounds(self):
        found = [duration(seconds) for seconds in (0.2, 59, 61, 3599, 3601)]
        assert found == [
            "1 second",
            "59 seconds",
            "1 minute",
            "60 minutes",
            "1.0 hours",
        ]


def test_heads_that_are_fitted():
    given = inputs()
    number = posthoc.num_heads(PLUS, given)
    assert number == 1 + len(PLUS.choices)
    assert posthoc.num_heads(PLUS, given, num_choices=1) == 2
    assert posthoc.num_heads(HEAD, given) == len(HEAD.choices)
    assert posthoc.num_heads(posthoc.METHODS["few_offset"], given) == 0
    posthoc.make_family(PLUS, given)
    assert posthoc.num_heads(PLUS, given) == number - 1


@pytest.mark.parametrize("method", [PLUS, HEAD])
def test_the_number_of_heads_is_that_announced(method):
    starts = []
    given = inputs()
    number = posthoc.num_heads(method, given)
    given["on_step"] = lambda found: starts.append(found.iteration == 0)
    list(posthoc.sweep(method, given))
    assert sum(starts) == number


def test_what_is_kept_changes_nothing():
    given = inputs()
    list(posthoc.sweep(HEAD, given))
    plain = posthoc.apply(PLUS, inputs(), 0.3)
    for part, other in zip(posthoc.apply(PLUS, given, 0.3), plain, strict=True):
        np.testing.assert_allclose(part, other, rtol=1e-4, atol=1e-5)


def test_before_it_starts(lines):
    """A piece takes 2 seconds; all samples are one piece."""
    announced = Announced(PLUS, lines.append, clock=Clock(2.0))
    announced.begin(inputs())
    heads = 1 + len(PLUS.choices)
    minutes = round(heads * posthoc.USUAL_PASSES * 2.0 / 60)
    (line,) = lines
    assert line.startswith(f"alphanet_plus: {heads} heads of some")
    assert line.endswith(f"about {minutes} minutes on this machine")


def test_hours_name_a_way_out(lines):
    Announced(PLUS, lines.append, clock=Clock(60.0)).begin(inputs())
    assert "hours on this machine" in lines[0]
    assert "--most_per_class=100" in lines[0]
    Announced(PLUS, lines.append, clock=Clock(60.0)).begin(inputs(most_per_class=9))
    assert "most_per_class" not in lines[1]


def test_what_is_left(lines):
    """Heads that are done say how many passes those to come take."""
    clock = Clock()
    announced = Announced(HEAD, lines.append, num_choices=3, clock=clock)
    announced.begin(inputs())
    assert not lines
    usual = posthoc.USUAL_PASSES
    clock.now = 30.0
    announced.on_step(step(0, 1))
    assert lines[-1].startswith("balanced_softmax_head: head 1 of 3, pass 1, about")
    assert lines[-1].endswith(f"{duration((3 * usual - 1) * 30)} left")
    clock.now = 100.0
    announced.on_step(step(9, 10))
    assert lines[-1].endswith(f"{duration((3 * usual - 10) * 10)} left")
    clock.now = 110.0
    announced.on_step(step(0, 1))  # the first took 10 passes
    assert lines[-1].startswith("balanced_softmax_head: head 2 of 3")
    assert lines[-1].endswith(f"{duration((10 + 9) * 10)} left")


def test_a_head_that_takes_longer_than_usual(lines):
    clock = Clock()
    announced = Announced(HEAD, lines.append, num_choices=1, clock=clock)
    announced.begin(inputs())
    clock.now = 1000.0
    passes = 10 * posthoc.USUAL_PASSES
    announced.on_step(step(0, 0))
    announced.on_step(step(99, passes))
    assert lines[-1].endswith(f"about {duration(1000 / passes)} left")


@pytest.mark.parametrize("name", ["few_offset", "alphanet_plus"])
def test_what_takes_seconds_is_not_announced(lines, name):
    announced = Announced(posthoc.METHODS[name], lines.append, clock=Clock(1e-4))
    announced.begin(inputs())
    announced.on_step(step(0, 1))
    assert not lines


@pytest.mark.parametrize("with_val", [False, True])
@pytest.mark.slow
def test_fit_says_it(lines, monkeypatch, with_val):
    """Of folds, too: as many heads for each."""
    monkeypatch.setattr(announce, "_LEAST", 0.0)
    rows, labels, weight = samples()
    alphanet_jax.fit(
        rows,
        labels,
        weight,
        splits={"few": [3, 4], "medium": [1, 2], "many": [0]},
        method="balanced_softmax_head",
        val=samples(1)[:2] if with_val else None,
        most_per_class=8,
        n_neighbors=2,
        report=lines.append,
    )
    folds = 1 if with_val else 5
    heads = folds * len(HEAD.choices)
    said = [line for line in lines if line.startswith("balanced_softmax_head: ")]
    assert said[0].startswith(f"balanced_softmax_head: {heads} heads of some")
    assert any(" left" in line for line in said)
    assert f"head {heads} of {heads}" in "\n".join(said)


class TestFewerRows:
    def test_fit_is_the_call(self):
        rows, labels, weight = samples()
        found = alphanet_jax.fit(
            rows,
            labels,
            weight,
            splits={"few": [3, 4], "medium": [1, 2], "many": [0]},
            method="alphanet+",
            most_per_class=8,
            n_neighbors=2,
        )
        expected = posthoc.alphanet_plus(
            rows,
            labels,
            num_classes=len(COUNTS),
            classifier=posthoc.Linear(weight, np.zeros(len(COUNTS))),
            most_per_class=8,
        )
        np.testing.assert_allclose(
            found.weight, expected.head.weight, rtol=1e-3, atol=1e-4
        )
        assert '"most_per_class": 8' in str(found.result["config"])

    @pytest.mark.parametrize("number", [0, -1, 2.5, True, "8"])
    def test_fit_refuses(self, number):
        rows, labels, weight = samples()
        with pytest.raises(UserError, match="must be a whole number from 1, got"):
            alphanet_jax.fit(
                rows, labels, weight, method="alphanet+", most_per_class=number
            )

    def test_of_alphanet_is_refused(self):
        rows, labels, weight = samples()
        with pytest.raises(UserError, match="most_per_class are for other methods"):
            alphanet_jax.fit(rows, labels, weight, most_per_class=5)

    def test_inputs_refuse(self):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            inputs(most_per_class=0)

    def test_curves_that_are_kept_know_it(self):
        def facts(name, number):
            nothing = dict.fromkeys(("data", "setup", "alphanet", "root", "report"))
            curves = comparing._Curves(**nothing, facts={}, most_per_class=number)
            return curves._facts_of(name)

        assert facts("alphanet_plus", 5) != facts("alphanet_plus", None)
        assert facts("few_offset", 5) == facts("few_offset", None)
