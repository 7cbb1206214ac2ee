"""Intervals of whole comparisons cover as often as stated, over many test sets.

A large set of samples stands for the world. Real corrections are judged on it once,
which gives what is true; then test sets of a usual size are drawn from it, with as many
samples of a class each, and every one is made a comparison of.
"""

import dataclasses
import math

import numpy as np
import pytest

from alphanet_jax import comparison
from alphanet_jax.comparison import Samples, comparing, document
from alphanet_jax.data.dataset import Dataset

SPLITS = {"few": [4, 5, 6], "medium": [2, 3], "many": [0, 1]}
METHODS = [
    "logit_adjustment",
    "few_offset",
    "tau_normalization",
    "nearest_class_mean_cosine",
    "gaussian_scores",
]
LEVEL = 0.9
NUM_SETS = 500
PER_CLASS = 25  # of a test set
STATISTICS = ("tradeoff", "few", "overall")


def make_world(per_class=1500):
    rng = np.random.default_rng(5)
    centers = 1.2 * rng.normal(size=(7, 6))
    counts = np.array([200, 150, 60, 40, 12, 8, 5])

    def group(numbers):
        labels = np.repeat(np.arange(7), numbers).astype(np.int32)
        features = centers[labels] + rng.normal(size=(len(labels), 6))
        return features.astype(np.float32), labels

    return Dataset.from_arrays(
        train=group(counts),
        val=group(np.full(7, 20)),
        test=group(np.full(7, per_class)),
        weight=centers + 0.4 * rng.normal(size=(7, 6)),
        bias=1.5 * np.log(counts / counts.sum()),
        splits=SPLITS,
        name="world",
    )


def compare(data):
    return comparison.compare(
        data, methods=METHODS, report=lambda line: None, level=LEVEL, num_draws=300
    )


def draw(rng, labels):
    """Draws rows of a test set."""
    rows = [
        rng.choice(np.flatnonzero(labels == c), PER_CLASS) for c in np.unique(labels)
    ]
    return np.concatenate(rows)


def take(curve, rows):
    """Returns a curve as it is where these rows are the test set."""
    chosen = {
        name: dataclasses.replace(each, correct=each.correct[rows])
        for name, each in curve.chosen.items()
    }
    correct = curve.correct[:, rows]
    splits = {name: np.array(classes) for name, classes in SPLITS.items()}
    test = Samples(np.repeat(np.arange(7), PER_CLASS), splits, 7)
    return dataclasses.replace(
        curve, correct=correct, test=test.accuracies(correct), chosen=chosen
    ), test


@pytest.fixture(scope="module")
def judged():
    """The world, its comparison, and the curves that this was made of."""
    data, curves = make_world(), []
    made = document.compared

    def watched(given, *args, **options):
        curves.extend(given)
        return made(given, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing.document, "compared", watched)
        found = compare(data)
    assert found["failed"] == {}
    assert len(curves) == 1 + len(METHODS)
    return data, found, curves


@pytest.fixture(scope="module")
def drawn(judged):
    """Entries of methods, for every test set."""
    data, _, curves = judged
    rng = np.random.default_rng(6)
    entries = []
    for number in range(NUM_SETS):
        rows = draw(rng, data.test.labels)
        taken, (test, *_) = zip(*(take(each, rows) for each in curves), strict=True)
        entries.append(
            document.compared(
                taken,
                test,
                reference="unchanged",
                level=LEVEL,
                num_draws=300,
                seed=number,
            )
        )
    return entries


def as_stated(hits, level=LEVEL):
    """Returns whether a share of hits is the level, but for luck.

    Three standard errors: a test of what is right fails once in 370 seeds. One point
    more, for intervals by 300 draws of 25 samples a class are that much too short.
    """
    luck = math.sqrt(level * (1 - level) / len(hits))
    return abs(np.mean(hits) - level) < 3 * luck + 0.01


@pytest.mark.slow
def test_a_set_that_is_drawn_is_compared_as_any_other(judged):
    """What follows is of whole comparisons, and not of something like them."""
    data, _, curves = judged
    rows = draw(np.random.default_rng(1), data.test.labels)
    test = dataclasses.replace(
        data.test, features=data.test.features[rows], labels=data.test.labels[rows]
    )
    found = compare(dataclasses.replace(data, test=test))
    taken, (samples, *_) = zip(*(take(each, rows) for each in curves), strict=True)
    wanted = document.compared(
        taken, samples, reference="unchanged", level=LEVEL, num_draws=300, seed=0
    )
    for name, entry in document.plain(wanted).items():
        for key in ("curve", "tradeoff", "difference", "mcnemar"):
            assert found["methods"][name].get(key) == entry.get(key)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", STATISTICS)
def test_intervals_of_differences_cover_together(judged, drawn, statistic):
    _, world, _ = judged
    truth = np.array(
        [world["methods"][n]["difference"][statistic]["estimate"] for n in METHODS]
    )
    assert np.ptp(truth) > 0.01  # methods differ
    ends = np.array(
        [
            [
                [each[n]["difference"][statistic][end] for end in ("low", "high")]
                for n in METHODS
            ]
            for each in drawn
        ]
    )
    inside = (ends[..., 0] <= truth) & (truth <= ends[..., 1])
    assert as_stated(inside.all(axis=1))
    # Each alone covers more often: it is wider, so that all hold.
    assert (inside.mean(axis=0) > LEVEL).all()


@pytest.mark.slow
@pytest.mark.parametrize("part", [0, 3])
def test_bands_of_accuracies_cover(judged, drawn, part):
    """Those of the figure, 1.96 standard errors, at every twelfth point of a curve."""
    _, world, _ = judged
    tried = 0
    for name in METHODS[:2]:
        points = world["methods"][name]["curve"]
        for index in range(0, len(points), 12):
            truth = points[index]["test"][part]
            if not 0.15 < truth < 0.85:
                continue  # where few are right, or wrong, they are not normal
            found = [each[name]["curve"][index] for each in drawn]
            hits = [
                abs(point["test"][part] - truth) <= 1.96 * point["test_error"][part]
                for point in found
            ]
            assert as_stated(hits, 0.95)
            tried += 1
    assert tried >= 4


@pytest.mark.slow
def test_corrected_p_values_are_seldom_wrong(judged):
    """Of methods that are no better: as often right, but on other samples."""
    data, _, (own, *_) = judged
    rng = np.random.default_rng(8)
    names, kinds = list("abcd"), {"difference": "p_value", "mcnemar": "corrected"}
    wrong = []
    for number in range(250):
        first, test = take(own, draw(rng, data.test.labels))
        others = [
            dataclasses.replace(take(own, draw(rng, data.test.labels))[0], name=name)
            for name in names
        ]
        entries = document.compared(
            [first, *others],
            test,
            reference="unchanged",
            level=LEVEL,
            num_draws=300,
            seed=number,
        )
        wrong.append(
            [
                min(entries[name][kind][part][key] for name in names) <= 0.1
                for kind, key in kinds.items()
                for part in ("few", "overall")
            ]
        )
    # At most the level in each: exact tests are wrong less often.
    luck = 3 * math.sqrt(0.1 * 0.9 / len(wrong))
    assert (np.mean(wrong, axis=0) < 0.1 + luck + 0.01).all()
    assert (np.mean(wrong, axis=0) > 0).all()  # some are: this can fail
