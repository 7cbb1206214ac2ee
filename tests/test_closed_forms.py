"""Corrections without training against float64 NumPy, on awkward samples.

Nothing of the package computes what is expected here: formulas are written out, class
by class and sample by sample.
"""

import numpy as np
import pytest
import scipy.linalg
import scipy.special

from alphanet_jax import posthoc

# Accuracies are equal to this share: 0.06 points.
SHARE = 6e-4


class Case:
    """Samples, a classifier, and what follows from them in float64."""

    def __init__(
        self, counts, dim, seed, *, long_weights=(), far=0.0, val_classes=None
    ):
        rng = np.random.default_rng(seed)
        self.num_classes = len(counts)
        centers = 1.5 * rng.normal(size=(self.num_classes, dim)) + far
        spread = rng.normal(size=(dim, dim)) / np.sqrt(dim)

        def group(numbers):
            labels = rng.permutation(np.repeat(np.arange(self.num_classes), numbers))
            noise = rng.normal(size=(len(labels), dim)) @ spread
            return (centers[labels] + 1.5 * noise).astype(np.float32), labels

        self.x, self.y = group(counts)
        numbers = np.full(self.num_classes, 3)
        if val_classes is not None:
            numbers[np.setdiff1d(np.arange(self.num_classes), val_classes)] = 0
        self.val, self.val_y = group(numbers)
        self.test, self.test_y = group(np.full(self.num_classes, 2000 // len(counts)))
        self.weight = (centers + 0.5 * rng.normal(size=centers.shape)).astype(
            np.float32
        )
        self.weight[list(long_weights)] *= 1e3
        self.bias = rng.normal(size=self.num_classes).astype(np.float32)
        self.few = np.flatnonzero(np.asarray(counts) < 6)
        self.counts = np.array([(self.y == c).sum() for c in range(self.num_classes)])

    def inputs(self):
        return posthoc.make_inputs(
            self.x,
            self.y,
            self.weight,
            self.bias,
            few_classes=self.few,
            val=(self.val, self.val_y),
        )

    def logits(self, rows=None):
        rows = self.test if rows is None else rows
        return rows.astype(float) @ self.weight.astype(float).T + self.bias.astype(
            float
        )

    def class_means(self, rows=None):
        rows = self.x.astype(float) if rows is None else rows
        return np.stack(
            [rows[self.y == c].mean(axis=0) for c in range(len(self.counts))]
        )


CASES = {
    "plain": Case([60, 40, 25, 12, 9, 5, 4, 3], 6, 0),
    "more_dimensions_than_samples": Case([9, 7, 5, 3, 2], 70, 1),
    "single_samples": Case([30, 20, 1, 1, 1, 1], 5, 2),
    "long_weights": Case([40, 30, 10, 5, 2], 8, 3, long_weights=(0, 3)),
    "far_from_zero": Case([40, 30, 10, 5, 2], 8, 4, far=30.0),
    "classes_without_validation": Case([50, 20, 8, 4, 1], 7, 5, val_classes=[1, 2]),
    "two_classes": Case([20, 2], 3, 6),
    "two_dimensions": Case([20, 9, 2], 2, 7),
}


QUICK = ("more_dimensions_than_samples", "long_weights")


@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in CASES
    ],
    name="case",
)
def _case(request):
    return CASES[request.param]


def check(case, name, expected, knob=None, *, up_to_rows=False, **choice):
    """Compares logits, and accuracies on test samples."""
    outcome = posthoc.apply(posthoc.METHODS[name], case.inputs(), knob, **choice)
    found = np.asarray(posthoc.logits(outcome, case.test), float)
    if up_to_rows:  # what is added to all logits of a sample does not matter
        found = found - found.max(axis=1, keepdims=True)
        expected = expected - expected.max(axis=1, keepdims=True)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=3e-5)
    for group in [*np.unique(case.test_y), None]:
        rows = (
            np.full(len(case.test_y), True) if group is None else case.test_y == group
        )
        right = [
            (z.argmax(axis=1) == case.test_y)[rows].mean() for z in (found, expected)
        ]
        least = SHARE if group is None else 1.01 / rows.sum()
        assert abs(right[0] - right[1]) <= least


@pytest.mark.parametrize("offset", [-1.0, 2.0])
def test_few_offset(case, offset):
    expected = case.logits()
    for c in case.few:
        expected[:, c] += offset
    check(case, "few_offset", expected, offset)


@pytest.mark.parametrize("tau", [-0.5, 1.0])
def test_logit_adjustment(case, tau):
    shares = case.counts / len(case.y)
    check(case, "logit_adjustment", case.logits() - tau * np.log(shares), tau)


@pytest.mark.parametrize("tau", [1.0])
def test_prior_from_predictions(case, tau):
    z = case.logits(case.x)
    log_shares = z - scipy.special.logsumexp(z, axis=1, keepdims=True)
    log_mean = scipy.special.logsumexp(log_shares, axis=0) - np.log(len(case.y))
    check(case, "prior_from_predictions", case.logits() - tau * log_mean, tau)


@pytest.mark.parametrize("tau", [0.5, 1.0])
@pytest.mark.parametrize("keep", [False, True])
def test_tau_normalization(case, tau, keep):
    expected = np.empty((len(case.test), case.num_classes))
    for c, row in enumerate(case.weight.astype(float)):
        expected[:, c] = case.test.astype(float) @ row / np.sqrt((row**2).sum()) ** tau
    name = "tau_normalization_bias" if keep else "tau_normalization"
    check(case, name, expected + (case.bias if keep else 0.0), tau)


def unit(rows):
    return rows / np.sqrt((rows**2).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("variant", ["un", "l2n", "cl2n", "cosine"])
def test_nearest_class_mean(case, variant):
    train, test = case.x.astype(float), case.test.astype(float)
    if variant == "cl2n":
        train, test = train - case.x.mean(0, float), test - case.x.mean(0, float)
    if variant != "un":
        train, test = unit(train), unit(test)
    means = case.class_means(train)
    if variant == "cosine":
        expected = case.test.astype(float) @ unit(means).T
    else:
        expected = -np.stack([((test - mean) ** 2).sum(axis=1) for mean in means], 1)
    check(case, f"nearest_class_mean_{variant}", expected, up_to_rows=True)


def gaussian(case, a, shrunk):
    """Weights and biases of Gaussian scores, by the generalized eigenproblem."""
    x, means = case.x.astype(float), case.class_means()
    (num_classes, dim), centre = means.shape, means.mean(axis=0)
    within = np.zeros((dim, dim))
    for row, label in zip(x, case.y, strict=True):
        within += np.outer(row - means[label], row - means[label])
    within /= len(x) - num_classes
    ridge = (1 - a) * within + a * np.trace(within) / dim * np.eye(dim)
    between = (means - centre).T @ (means - centre) / (num_classes - 1)
    between -= (1 / case.counts).mean() * within
    signal, directions = scipy.linalg.eigh(between, ridge)
    signal = np.maximum(signal, 0)
    weight, bias = [], []
    for mean, count in zip(means, case.counts, strict=True):
        place = directions.T @ (mean - centre)
        if shrunk:
            place = count * signal / (count * signal + 1) * place
        row = directions @ place
        weight.append(row)
        bias.append(-(place @ place) / 2 - row @ centre)
    return np.array(weight), np.array(bias)


@pytest.mark.parametrize(("a", "shrunk"), [(0.3, True), (0.9, True), (0.3, False)])
def test_gaussian_scores(case, a, shrunk):
    weight, bias = gaussian(case, a, shrunk)
    name = "gaussian_scores" if shrunk else "gaussian_scores_unshrunk"
    expected = case.test.astype(float) @ weight.T + bias - 0.4 * np.log(case.counts)
    check(case, name, expected, 0.4, up_to_rows=True, covariance_shrinkage=a)


@pytest.mark.parametrize("tau", [0.5])
def test_gaussian_mix(case, tau):
    weight, bias = gaussian(case, 0.3, True)
    own, scores = (
        case.logits(case.val),
        case.val.astype(float) @ weight.T + bias,
    )
    factor = own.std(axis=1).mean() / scores.std(axis=1).mean()
    expected = 0.5 * case.logits()
    expected += 0.5 * factor * (case.test.astype(float) @ weight.T + bias)
    expected -= tau * np.log(case.counts / case.counts.sum())
    check(case, "gaussian_mix", expected, tau, up_to_rows=True)
