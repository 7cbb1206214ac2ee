"""alphanet+ and what it is made of, in plain float64 NumPy and SciPy."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special


class Gaussian(NamedTuple):
    weight: np.ndarray
    bias: np.ndarray
    means: np.ndarray  # in the discriminants


def long_tail(seed=0, counts=(40, 25, 12, 6, 3, 2, 1), dim=5, extra=0, spread=1.0):
    """Draws features and labels of classes with these counts, in random order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    means = rng.normal(size=(len(counts), dim)) * spread + rng.normal(size=dim) * 3
    noise = rng.normal(size=(len(labels), dim)) @ rng.normal(size=(dim, dim)) * 0.7
    features = means[labels] + noise
    if extra:
        features = np.hstack([features, np.zeros((len(labels), extra))])
    return features.astype(np.float32), labels


def means_of(features, labels):
    features = features.astype(np.float64)
    return np.stack([features[labels == c].mean(0) for c in range(labels.max() + 1)])


def gaussian(features, labels, a=0.3, shrunk=True):
    counts, means = np.bincount(labels), means_of(features, labels)
    (num_classes, dim), centre = means.shape, means.mean(0)
    residuals = features - means[labels]
    within = residuals.T @ residuals / (len(labels) - num_classes)
    ridge = (1 - a) * within + a * np.trace(within) / dim * np.eye(dim)
    between = np.cov(means.T).reshape(dim, dim) - np.mean(1 / counts) * within
    psi, directions = scipy.linalg.eigh(between, ridge)
    evidence = counts[:, None] * np.maximum(psi, 0)
    coordinates = (means - centre) @ directions
    if shrunk:
        coordinates = evidence / (evidence + 1) * coordinates
    weight = coordinates @ directions.T
    bias = -0.5 * (coordinates**2).sum(1) - weight @ centre
    return Gaussian(weight, bias, coordinates)


def scaling(features, labels):
    centre = means_of(features, labels).mean(0)
    return centre, np.sqrt(((features - centre) ** 2).sum(1).mean())


def objective(values, features, labels, l2, mean=0.0, coupling=0.0):
    """H's objective and its gradient, in scaled features."""
    counts = np.bincount(labels)
    num_classes, dim = len(counts), features.shape[1]
    centre, spread = scaling(features, labels)
    scaled = (features - centre) / spread
    point = np.asarray(values, np.float64).reshape(num_classes, dim + 1)
    logits = scaled @ point[:, :-1].T + point[:, -1] + np.log(counts / counts.sum())
    log_shares = scipy.special.log_softmax(logits, axis=1)
    loss = -log_shares[np.arange(len(labels)), labels].mean()
    residuals = np.exp(log_shares) - np.eye(num_classes)[labels]
    own = np.eye(num_classes) - coupling
    apart = own @ (point[:, :-1] - mean)
    gradient = np.column_stack([residuals.T @ scaled, residuals.sum(0)]) / len(labels)
    gradient[:, :-1] += l2 * own.T @ apart
    return loss + 0.5 * l2 * (apart**2).sum(), gradient.ravel()


def head(features, labels, l2, mean=0.0, coupling=0.0):
    """H(A, L, w), in scaled features: its weights and biases, and the objective."""
    num_classes, dim = labels.max() + 1, features.shape[1]
    found = scipy.optimize.minimize(
        objective,
        np.zeros(num_classes * (dim + 1)),
        (features, labels, l2, mean, coupling),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": 20000, "maxfun": 40000, "ftol": 1e-15, "gtol": 1e-10},
    )
    point = found.x.reshape(num_classes, dim + 1)
    return point[:, :-1], point[:, -1], found.fun


def neighborhood(means, counts, num_neighbors):
    """Neighbors and the matrix L."""
    squared = ((means[:, None] - means[None]) ** 2).sum(-1)
    np.fill_diagonal(squared, np.inf)
    classes = np.argsort(squared, axis=1)[:, :num_neighbors]
    selected = np.take_along_axis(squared, classes, axis=1)
    nearer = selected - selected.min(axis=1, keepdims=True)
    shares = scipy.special.softmax(-nearer / (0.5 * np.median(selected)), axis=1)
    coupling = np.zeros((len(means), len(means)))
    for row, (places, share) in enumerate(zip(classes, shares, strict=True)):
        coupling[row, places] = 0.8 / (1 + counts[row] / 30) * share
    return classes, coupling


def alphanet_plus(features, labels, l2, a=0.3, num_neighbors=5):
    """The head of features, and kappa."""
    scores = gaussian(features, labels, a)
    centre, spread = scaling(features, labels)
    _, coupling = neighborhood(scores.means, np.bincount(labels), num_neighbors)
    balanced, _, _ = head(features, labels, l2)
    centred = spread * (scores.weight - scores.weight.mean(0))
    size = np.linalg.norm(balanced - balanced.mean(0))
    kappa = 0.5 * size / np.linalg.norm(centred)
    weight, bias, _ = head(features, labels, l2, kappa * centred, coupling)
    weight = weight / spread
    return weight, bias - weight @ centre, kappa
