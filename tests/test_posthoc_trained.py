"""Corrections that are trained: batches, steps and losses, against slow NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from alphanet_jax import posthoc
from alphanet_jax.posthoc import Linear, recipes, trained
from alphanet_jax.posthoc.recipes import Recipe, draw_batches

COUNTS = [9, 5, 2, 1]
SHORT = Recipe(learning_rate=0.3, weight_decay=0.02, epochs=2, batch_size=6)
AWARE = SHORT._replace(per_class=2)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat(np.arange(4), COUNTS))
    features = np.float32(rng.normal(size=(17, 3)) + 0.5 * labels[:, None])
    weight, bias = np.float32(rng.normal(size=(4, 3))), np.float32(rng.normal(size=4))
    return features, labels, weight, bias


# The losses as the papers write them, a sample at a time. Parameters are lists of
# arrays, perhaps complex, as `oracle.gradient` needs.


def crt_logits(params, x, weight, bias):
    (learned_weight, learned_bias), *_ = params
    return learned_weight @ x + learned_bias


def lws_logits(params, x, weight, bias):
    return params[0][0] * (weight @ x + bias)


def marc_logits(params, x, weight, bias):
    scale, shift = params[0]
    norms = np.sqrt((weight**2).sum(axis=1))
    # Of the margin, which is the logit over the length of the weight.
    return norms * (scale * (weight @ x + bias) / norms + shift)


def disalign_logits(params, x, weight, bias):
    gate_bias, gate_weight, scale, shift = params[0]
    plain = weight @ x + bias
    gate = 1 / (1 + np.exp(-(gate_weight @ x + gate_bias)))
    return gate * (scale * plain + shift) + (1 - gate) * plain


def mean_loss(logits_of, params, rows, data, class_weights):
    features, labels, weight, bias = data
    total = 0
    for i in rows:
        x = features[i].astype(np.float64)
        z = logits_of(params, x, weight.astype(np.float64), bias.astype(np.float64))
        loss = oracle.log_sum_exp(z) - z[labels[i]]
        total = total + class_weights[labels[i]] * loss
    return total / sum(class_weights[labels[i]] for i in rows)


def sgd(logits_of, params, data, batches, recipe, class_weights):
    """As PyTorch's documentation writes it, with momentum and weight decay."""
    params = [np.array(p, np.float64) for p in params]
    velocity = [np.zeros(p.shape) for p in params]
    for epoch, epoch_batches in enumerate(batches):
        turn = np.pi * epoch / recipe.epochs
        rate = recipe.learning_rate * (1 + np.cos(turn)) / 2
        for rows in epoch_batches:
            (grads,) = oracle.gradient(
                lambda p, rows=rows: mean_loss(logits_of, p, rows, data, class_weights),
                [params],
            )
            for i, grad in enumerate(grads):
                grad = grad + recipe.weight_decay * params[i]
                velocity[i] = recipe.momentum * velocity[i] + grad
                params[i] = params[i] - rate * velocity[i]
    return params


def batches_of(key, labels, recipe):
    keys = jax.random.split(key, recipe.epochs)
    return [draw_batches(k, labels, recipe=recipe) for k in keys]


def rare_weights(power=1.2):
    weights = (np.array(COUNTS) / sum(COUNTS)) ** -power
    return 4 * weights / weights.sum()


def close(found, wanted):
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=2e-4, atol=2e-5)


class TestAgainstNumPy:
    """Every number that two epochs learn."""

    @pytest.mark.slow
    def test_crt(self, data):
        features, labels, *_ = data
        key = jax.random.key(1)
        found = posthoc.crt(features, labels, num_classes=4, key=key, recipe=AWARE)
        # Without training: the start, within PyTorch's bounds.
        start = posthoc.crt(
            features, labels, num_classes=4, key=key, recipe=AWARE._replace(epochs=0)
        )
        for part in start:
            assert (np.abs(part) < 3**-0.5).all()
            assert np.std(part) > 0.1
        batches = batches_of(jax.random.split(key, 3)[2], labels, AWARE)
        wanted = sgd(crt_logits, start, data, batches, AWARE, np.ones(4))
        for part, other in zip(found, wanted, strict=True):
            close(part, other)

    @pytest.mark.slow
    def test_lws(self, data):
        _, labels, weight, bias = data
        key = jax.random.key(2)
        found = posthoc.lws(*data, key=key, recipe=AWARE)
        batches = batches_of(key, labels, AWARE)
        (scale,) = sgd(lws_logits, [np.ones(4)], data, batches, AWARE, np.ones(4))
        close(found.weight, scale[:, None] * weight)
        close(found.bias, scale * bias)

    @pytest.mark.slow
    def test_marc(self, data):
        _, labels, weight, bias = data
        key = jax.random.key(3)
        found = posthoc.marc(*data, COUNTS, key=key, recipe=SHORT)
        batches, start = batches_of(key, labels, SHORT), [np.ones(4), np.zeros(4)]
        params = sgd(marc_logits, start, data, batches, SHORT, rare_weights())
        zero = marc_logits([params], np.zeros(3), weight, bias)
        close(found.bias, zero)
        close(found.weight, params[0][:, None] * weight)

    @pytest.mark.slow
    def test_disalign(self, data):
        features, labels, weight, bias = data
        key = jax.random.key(4)
        found = posthoc.disalign(*data, COUNTS, key=key, recipe=SHORT, power=0.7)
        start = [np.zeros(()), np.zeros(3), np.ones(4), np.zeros(4)]
        batches = batches_of(key, labels, SHORT)
        params = sgd(disalign_logits, start, data, batches, SHORT, rare_weights(0.7))
        wanted = [disalign_logits([params], x, weight, bias) for x in features]
        close(found.logits(features), wanted)
        assert np.abs(found.gate_weight).min() > 1e-4  # it did learn


class TestDrawBatches:
    @pytest.mark.slow
    def test_every_row_at_most_once(self):
        recipe = Recipe(0.1, batch_size=5)
        rows = draw_batches(jax.random.key(0), np.zeros(23, int), recipe=recipe)
        assert rows.shape == (4, 5)
        assert len(np.unique(rows)) == 20
        again = draw_batches(jax.random.key(1), np.zeros(23, int), recipe=recipe)
        assert (rows != again).any()

    def test_fewer_rows_than_a_batch(self):
        rows = draw_batches(jax.random.key(0), np.arange(3), recipe=Recipe(0.1))
        assert np.sort(rows).tolist() == [[0, 1, 2]]

    @pytest.mark.slow
    @pytest.mark.parametrize("per_class", [1, 3, 4])
    def test_classes_take_turns(self, per_class):
        labels = np.repeat([0, 1, 3], [30, 7, 1])
        recipe = Recipe(0.1, batch_size=12, per_class=per_class)
        rows = draw_batches(jax.random.key(7), labels, recipe=recipe)
        assert rows.shape == (3, 12)
        drawn = labels[rows.reshape(-1)]
        # So many rows of a class at a time, and every class once in three turns.
        turns = drawn.reshape(-1, per_class)
        assert (turns == turns[:, :1]).all()
        order = turns[:, 0].reshape(-1, 3)
        assert np.sort(order, axis=1).tolist() == [[0, 1, 3]] * len(order)
        if per_class == 1:
            assert len(np.unique(order, axis=0)) > 1  # not always the same order

    @pytest.mark.slow
    def test_rows_of_a_class_come_again_when_all_have_come(self):
        labels = np.repeat([0, 1], [13, 5])
        recipe = Recipe(0.1, batch_size=18, per_class=3)
        rows = draw_batches(jax.random.key(2), labels, recipe=recipe).reshape(-1)
        second = rows[labels[rows] == 1]
        assert len(second) == 9
        assert sorted(second[:5]) == [13, 14, 15, 16, 17]
        assert second[5:].tolist() == second[:4].tolist()
        assert len(set(rows[labels[rows] == 0].tolist())) == 9

    @pytest.mark.slow
    def test_turns_that_do_not_come_out_even(self):
        labels = np.repeat([0, 1, 2], 4)
        recipe = Recipe(0.1, batch_size=5, per_class=3)
        rows = draw_batches(jax.random.key(2), labels, recipe=recipe)
        assert rows.shape == (2, 5)
        assert np.bincount(labels[rows.reshape(-1)]).max() == 4


class TestMinimize:
    @pytest.mark.slow
    def test_same_key_same_numbers(self, data):
        first, again, other = (
            posthoc.lws(*data, key=jax.random.key(seed), recipe=AWARE)
            for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first.weight, again.weight)
        assert (np.asarray(first.weight) != np.asarray(other.weight)).any()

    def test_mapped_features(self, data, tmp_path):
        features, labels, weight, bias = data
        np.save(tmp_path / "x.npy", features)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        key = jax.random.key(0)
        found = posthoc.lws(mapped, labels, weight, bias, key=key, recipe=AWARE)
        wanted = posthoc.lws(*data, key=key, recipe=AWARE)
        np.testing.assert_array_equal(found.weight, wanted.weight)

    def test_compiles_once(self, data):
        before = recipes._step._cache_size()
        for seed in range(3):
            posthoc.lws(
                *data, key=jax.random.key(seed), recipe=AWARE._replace(epochs=1)
            )
        assert recipes._step._cache_size() <= before + 1

    @pytest.mark.parametrize("method", ["lws", "marc", "disalign"])
    def test_shapes(self, data, method):
        features, labels, weight, bias = data
        more = () if method == "lws" else (COUNTS,)
        train, key = getattr(posthoc, method), jax.random.key(0)
        with pytest.raises(ValueError, match=r"\(17, 3\), \(4, 2\) and \(4,\)"):
            train(features, labels, weight[:, :2], bias, *more, key=key)
        with pytest.raises(ValueError, match=r"\(17, 3\) and \(16,\)"):
            train(features, labels[1:], weight, bias, *more, key=key)
        if more:
            with pytest.raises(ValueError, match=r"got \(4,\) and \(3,\)"):
                train(features, labels, weight, bias, [1, 2, 3], key=key)


@pytest.mark.parametrize("label", [-1, 4])
def test_labels_that_are_no_classes(data, label):
    features, labels, weight, bias = data
    wrong, key = np.append(labels[1:], label), jax.random.key(0)
    for call in (
        lambda: posthoc.crt(features, wrong, num_classes=4, key=key),
        lambda: posthoc.lws(features, wrong, weight, bias, key=key),
    ):
        with pytest.raises(ValueError, match=f"from 0 to 3, got .*{label}"):
            call()


def test_class_weights():
    head = Linear(jnp.zeros((3, 2)), jnp.zeros(3))
    found = trained._rare_weights(head, [8, 4, 2], 1.0)
    np.testing.assert_allclose(found, np.array([1, 2, 4]) * 3 / 7, rtol=1e-6)


@pytest.mark.slow
def test_weighted_cross_entropy_is_a_weighted_mean():
    logits = jnp.array([[0.0, 0.0], [np.log(3.0), 0.0], [0.0, 0.0]])
    labels = jnp.array([0, 1, 1])
    found = recipes.weighted_cross_entropy(logits, labels, jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(found, (np.log(2) * 3 + 2 * np.log(4)) / 5, rtol=1e-6)
    plain = recipes.weighted_cross_entropy(logits, labels)
    np.testing.assert_allclose(plain, (2 * np.log(2) + np.log(4)) / 3, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crt", "lws", "marc", "disalign"])
def test_raises_accuracy_on_balanced_samples(name):
    """On samples of equally frequent classes, a classifier made for the long tail."""
    rng = np.random.default_rng(0)
    counts = [400, 100, 25, 10]
    centers = rng.normal(size=(4, 6))
    labels = np.repeat(np.arange(4), counts)
    features = np.float32(centers[labels] + rng.normal(size=(len(labels), 6)))
    queries = np.repeat(np.arange(4), 500)
    test = np.float32(centers[queries] + rng.normal(size=(2000, 6)))
    # Bayes' classifier for the long tail: right on average, and wrong on the rare.
    bias = np.log(counts) - (centers**2).sum(axis=1) / 2
    inputs = posthoc.make_inputs(features, labels, centers, bias, few_classes=[3])

    def right(outcome):
        predicted = np.asarray(posthoc.logits(outcome, test)).argmax(axis=1)
        return (predicted == queries).mean()

    found = posthoc.apply(posthoc.METHODS[name], inputs)
    before = right(Linear(jnp.asarray(centers), jnp.asarray(bias)))
    assert right(found) > before + 0.03
