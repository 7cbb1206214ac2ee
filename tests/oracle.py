"""The mathematics in plain NumPy float64, as the truth that tests compare with.

Dense and slow on purpose: loops, whole matrices of logits, full sorts. Nothing here
comes from the package, so the two can only agree if both are right.

Notation: n samples, d feature dimensions, C classes, F 'few' classes, A 'base'
classes, k neighbors.
"""

from typing import NamedTuple

import numpy as np

SPLITS = ("few", "medium", "many")
TOP = 5


class Problem(NamedTuple):
    """A random problem; classes of all splits are mixed in their numbering."""

    features: np.ndarray  # (n, d) float32
    labels: np.ndarray  # (n,) int32, every class at least once
    weight: np.ndarray  # (C, d) float32
    bias: np.ndarray  # (C,) float32
    few: np.ndarray  # (F,) ascending
    base: np.ndarray  # (A,) ascending
    splits: dict  # few, medium, many
    neighbors: np.ndarray  # (F, k)
    sources: np.ndarray  # (F, k + 1): the class, then its neighbors
    params: list  # of (weight (out, in), bias (out,)), float32

    @property
    def num_classes(self):
        return len(self.weight)

    @property
    def source_weights(self):
        """Input of the network, side by side, with shape `(F, k + 1, d)`."""
        return self.weight[self.sources]


def random_problem(
    seed=0, *, few=3, base=8, neighbors=2, dim=5, samples=23, hidden=(4, 3)
):
    """Draws a problem; `samples` is raised to the number of classes if lower."""
    rng = np.random.default_rng(seed)
    num_classes = few + base
    samples = max(samples, num_classes)
    order = rng.permutation(num_classes)
    few_classes, base_classes = np.sort(order[:few]), np.sort(order[few:])
    medium, many = (
        np.sort(order[few : few + base // 2]),
        np.sort(order[few + base // 2 :]),
    )
    labels = rng.permutation(
        np.concatenate(
            [
                np.arange(num_classes),
                rng.integers(0, num_classes, samples - num_classes),
            ]
        )
    )
    nearest = np.stack(
        [rng.choice(base_classes, neighbors, replace=False) for _ in range(few)]
    )
    sizes = ((neighbors + 1) * dim, *hidden, neighbors)
    params = [
        (
            rng.uniform(-1, 1, (sizes[i + 1], sizes[i])).astype(np.float32)
            / np.float32(np.sqrt(sizes[i])),
            rng.uniform(-0.5, 0.5, sizes[i + 1]).astype(np.float32),
        )
        for i in range(len(sizes) - 1)
    ]
    return Problem(
        features=rng.normal(size=(samples, dim)).astype(np.float32),
        labels=labels.astype(np.int32),
        weight=rng.normal(size=(num_classes, dim)).astype(np.float32),
        bias=rng.normal(size=num_classes).astype(np.float32),
        few=few_classes,
        base=base_classes,
        splits={"few": few_classes, "medium": medium, "many": many},
        neighbors=nearest,
        sources=np.concatenate([few_classes[:, None], nearest], axis=1),
        params=params,
    )


# Neighbors


def class_means(features, labels, num_classes):
    """Means by one loop over samples; zeros for a class without samples."""
    sums = np.zeros((num_classes, np.shape(features)[1]))
    counts = np.zeros(num_classes, int)
    for x, label in zip(np.asarray(features, np.float64), labels, strict=True):
        sums[label] += x
        counts[label] += 1
    means = [s / c if c else s for s, c in zip(sums, counts, strict=True)]
    return np.array(means), sums, counts


def distance(a, b, metric):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "euclidean":
        return np.sqrt(((a - b) ** 2).sum())
    return 1 - (a @ b) / np.sqrt((a @ a) * (b @ b))


def nearest(means, few, base, k, metric):
    """The k nearest of `base`; equals in the order of `base`."""
    classes, distances = [], []
    for f in few:
        row = [distance(means[f], means[b], metric) for b in base]
        order = sorted(range(len(base)), key=lambda i: (row[i], i))[:k]
        classes.append([base[i] for i in order])
        distances.append([row[i] for i in order])
    return np.array(classes), np.array(distances)


# Model. Everything down to `loss` also takes complex numbers, as `gradient` needs;
# for real input it is what it says.


def _real_or_complex(x):
    return np.asarray(x, np.result_type(x, np.float64))


def leaky_relu(x):
    return np.where(x.real > 0, x, 0.01 * x)


def absolute(x):
    return np.where(x.real < 0, -x, x)


def alphas(params, source_weights):
    """One class at a time: affine layers, activation between them, L1 norm."""
    rows = []
    for sources in np.asarray(source_weights, np.float64):
        x = sources.reshape(-1)
        for i, (weight, bias) in enumerate(params):
            if i > 0:
                x = leaky_relu(x)
            x = _real_or_complex(weight) @ x + _real_or_complex(bias)
        rows.append(np.concatenate([[1.0], x / absolute(x).sum()]))
    return np.array(rows)


def corrected_classifier(weight, few, sources, coefficients):
    """The whole (C, d) matrix with the rows of few classes replaced."""
    weight = np.asarray(weight, np.float64)
    corrected = weight.astype(np.result_type(coefficients, np.float64))
    for f, source_row, alpha_row in zip(few, sources, coefficients, strict=True):
        corrected[f] = sum(
            a * weight[s] for a, s in zip(alpha_row, source_row, strict=True)
        )
    return corrected


def logits(problem, coefficients):
    """Dense logits of all samples and classes, with shape `(n, C)`."""
    corrected = corrected_classifier(
        problem.weight, problem.few, problem.sources, coefficients
    )
    return problem.features.astype(np.float64) @ corrected.T + problem.bias.astype(
        np.float64
    )


def log_sum_exp(row):
    largest = row.real.max()
    return largest + np.log(np.exp(row - largest).sum())


def cross_entropy(all_logits, labels, pred_scale=1.0):
    """Mean over samples of softmax cross-entropy over all classes."""
    losses = [
        log_sum_exp(pred_scale * row) - pred_scale * row[label]
        for row, label in zip(all_logits, labels, strict=True)
    ]
    return sum(losses) / len(losses)


def cross_entropy_gradient(all_logits, labels, pred_scale=1.0):
    """Derivative by every logit: probabilities, less one at the target."""
    grad = np.zeros(all_logits.shape)
    for row, (logits_of_row, label) in enumerate(zip(all_logits, labels, strict=True)):
        scaled = pred_scale * logits_of_row
        grad[row] = np.exp(scaled - log_sum_exp(scaled))
        grad[row, label] -= 1
    return pred_scale * grad / len(labels)


def take(problem, rows):
    """The problem with only these samples."""
    return problem._replace(
        features=problem.features[rows], labels=problem.labels[rows]
    )


def loss(params, problem, pred_scale=1.0):
    coefficients = alphas(params, problem.source_weights)
    return cross_entropy(logits(problem, coefficients), problem.labels, pred_scale)


def gradient(function, params):
    """Derivative by every number in turn, by a complex step: exact, no formula."""
    params = [[np.array(part, np.complex128) for part in layer] for layer in params]
    result = []
    for layer in params:
        grads = []
        for part in layer:
            grad = np.zeros(part.shape)
            for index in np.ndindex(part.shape):
                kept = part[index]
                part[index] = kept + 1e-30j
                grad[index] = function(params).imag / 1e-30
                part[index] = kept
            grads.append(grad)
        result.append(tuple(grads))
    return result


# Optimization, as the documentation of torch.optim writes it.


class AdamW:
    def __init__(self, params, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.params = [np.array(p, np.float64) for p in params]
        self.m = [np.zeros(p.shape) for p in self.params]
        self.v = [np.zeros(p.shape) for p in self.params]
        self.t = 0

    def step(self, grads, lr):
        self.t += 1
        beta1, beta2 = self.betas
        for i, g in enumerate(grads):
            p = self.params[i] - lr * self.weight_decay * self.params[i]
            self.m[i] = beta1 * self.m[i] + (1 - beta1) * g
            self.v[i] = beta2 * self.v[i] + (1 - beta2) * g**2
            m_hat = self.m[i] / (1 - beta1**self.t)
            v_hat = self.v[i] / (1 - beta2**self.t)
            self.params[i] = p - lr * m_hat / (np.sqrt(v_hat) + self.eps)
        return self.params


def step_lr(lr, epochs, *, step_size, gamma):
    rates = []
    for epoch in range(epochs):
        if epoch > 0 and epoch % step_size == 0:
            lr *= gamma
        rates.append(lr)
    return rates


def train(problem, batches, rates, *, pred_scale=1.0, **adamw):
    """Trains on lists of rows, one rate for each; params after, losses before."""
    optimizer = AdamW([part for layer in problem.params for part in layer], **adamw)
    losses = []
    for rows, rate in zip(batches, rates, strict=True):
        batch = take(problem, rows)
        flat = optimizer.params
        params = list(zip(flat[::2], flat[1::2], strict=True))
        losses.append(loss(params, batch, pred_scale))
        grads = gradient(lambda p, b=batch: loss(p, b, pred_scale), params)
        optimizer.step([part for layer in grads for part in layer], rate)
    flat = optimizer.params
    return list(zip(flat[::2], flat[1::2], strict=True)), np.array(losses)


# Evaluation


def ranking(row):
    """Classes from best to worst; equal logits by class."""
    return sorted(range(len(row)), key=lambda c: (-row[c], c))


def predict(all_logits, labels):
    """Predicted classes, and whether the label is among the best five."""
    ranked = [ranking(row) for row in all_logits]
    in_top5 = [y in r[:TOP] for y, r in zip(labels, ranked, strict=True)]
    return np.array([r[0] for r in ranked]), np.array(in_top5)


def fraction(hits, total):
    return hits / total if total else np.nan


def metrics(labels, predicted, in_top5, splits, num_classes):
    """All metrics by their definitions, from the lists of labels and predictions."""
    pairs = list(zip(np.asarray(labels).tolist(), predicted.tolist(), strict=True))
    f1s = []
    for c in range(num_classes):
        hits = sum(y == p == c for y, p in pairs)
        precision = hits / max(sum(p == c for _, p in pairs), 1)
        recall = hits / max(sum(y == c for y, _ in pairs), 1)
        both = precision + recall
        f1s.append(2 * precision * recall / both if both else 0.0)

    def accuracy(classes):
        chosen = [y == p for y, p in pairs if y in classes]
        return fraction(sum(chosen), len(chosen))

    return {
        "accuracy": fraction(sum(y == p for y, p in pairs), len(pairs)),
        "top5": fraction(int(np.sum(in_top5)), len(pairs)),
        "f1": sum(f1s) / num_classes,
        "acc_per_split": [accuracy(set(splits[s].tolist())) for s in SPLITS],
        "acc_per_class": [accuracy({c}) for c in range(num_classes)],
    }


# What the frozen classifier says of a sample, by definition: fields of the package's
# tables as plain arrays, so that their users can be tested apart from their maker.


def score_columns(problem, pred_scale=1.0, dtype=np.float64):
    weight, bias = problem.weight.astype(np.float64), problem.bias.astype(np.float64)
    scores = problem.features.astype(np.float64) @ weight.T
    rows = []
    for y, score in zip(problem.labels, scores, strict=True):
        base_logits = score[problem.base] + bias[problem.base]
        best = ranking(base_logits)[:TOP]
        filled = TOP - len(best)
        rows.append(
            {
                "labels": np.int32(y),
                "few_target": np.int32(
                    problem.few.tolist().index(y) if y in problem.few else -1
                ),
                "source_scores": score[np.unique(problem.sources)].astype(dtype),
                "base_logsumexp": dtype(
                    log_sum_exp(pred_scale * (base_logits - base_logits.max()))
                ),
                "base_target_logit": dtype(
                    score[y] + bias[y] if y in problem.base else -np.inf
                ),
                "top_logits": np.array(
                    [*base_logits[best], *[-np.inf] * filled], dtype
                ),
                "top_classes": np.array(
                    [*problem.base[best], *[problem.num_classes] * filled], np.int32
                ),
            }
        )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def frozen_columns(problem, dtype=np.float64):
    distinct = np.unique(problem.sources).tolist()
    return {
        "few_classes": problem.few.astype(np.int32),
        "few_bias": problem.bias[problem.few].astype(dtype),
        "source_classes": np.array(distinct, np.int32),
        "source_index": np.array(
            [[distinct.index(s) for s in row] for row in problem.sources.tolist()],
            np.int32,
        ),
    }
