"""Corrections in closed form, and the table of all."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_readme import load

from alphanet_jax import posthoc, streaming
from alphanet_jax.posthoc import METHODS, NEEDS, Linear, convex_head, curves, methods
from alphanet_jax.results import accuracy


def close(found, wanted, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=rtol, atol=atol)


@pytest.fixture(scope="module")
def embedded():
    return load()


@pytest.fixture(scope="module")
def embedded_inputs(embedded):
    return posthoc.make_inputs(
        embedded.train.features,
        embedded.train.labels,
        embedded.weight,
        embedded.bias,
        few_classes=embedded.few_classes,
        val=(embedded.val.features, embedded.val.labels),
    )


@pytest.fixture(scope="module")
def small():
    """Inputs of all methods, of a small problem that is not separable."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(5), [20, 14, 6, 3, 1])
    centers = rng.normal(size=(5, 4)) + 2.0
    features = np.float32(centers[labels] + rng.normal(size=(len(labels), 4)))
    val_labels = np.repeat(np.arange(5), 4)
    val_features = np.float32(centers[val_labels] + rng.normal(size=(20, 4)))
    return posthoc.make_inputs(
        features,
        labels,
        np.float32(centers + 0.3 * rng.normal(size=(5, 4))),
        np.float32(rng.normal(size=5)),
        few_classes=[3, 4],
        val=(val_features, val_labels),
    )


# These take time to compile.
TRAINED = (
    *("crt", "lws", "disalign", "marc"),
    *("balanced_softmax_head", "alphanet_plus"),
)
EVERY = [
    pytest.param(method, marks=pytest.mark.slow if name in TRAINED else (), id=name)
    for name, method in METHODS.items()
]

# Per cent of few, medium, many and all samples, from an independent program.
EMBEDDED = [
    ("unchanged", None, [31.75, 58.18, 69.82, 54.33]),
    ("few_offset", 0.5, [36.67, 57.21, 69.07, 55.20]),
    ("few_offset", 1, [41.50, 56.00, 68.14, 55.90]),
    ("few_offset", 2, [49.88, 52.07, 64.50, 55.76]),
    ("logit_adjustment", 0.5, [43.04, 60.54, 63.14, 56.20]),
    ("logit_adjustment", 1, [51.29, 59.82, 52.93, 54.85]),
    ("logit_adjustment", 1.5, [57.50, 55.93, 41.61, 51.39]),
    ("tau_normalization_bias", 0.5, [33.29, 56.43, 71.29, 54.69]),
    ("tau_normalization", 0.5, [37.17, 58.11, 68.43, 55.44]),
    ("tau_normalization_bias", 1, [33.12, 52.07, 71.96, 53.35]),
    ("tau_normalization", 1, [38.58, 55.54, 67.86, 54.76]),
    ("prior_from_predictions", 1, [47.58, 60.64, 60.36, 56.62]),
    ("nearest_class_mean_un", None, [39.75, 55.86, 60.61, 52.69]),
    ("nearest_class_mean_l2n", None, [42.62, 54.68, 59.71, 52.83]),
    ("nearest_class_mean_cl2n", None, [42.83, 54.79, 59.57, 52.88]),
    ("nearest_class_mean_cosine", None, [43.96, 55.46, 58.82, 53.19]),
    ("gaussian_scores", 0, [42.21, 57.54, 60.89, 54.11]),
    ("gaussian_scores_unshrunk", 0, [37.96, 58.86, 63.86, 54.34]),
    ("gaussian_mix", 0.5, [50.62, 61.79, 59.00, 57.46]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "knob", "wanted"), EMBEDDED)
def test_on_the_embedded_data(embedded, embedded_inputs, name, knob, wanted):
    outcome = posthoc.apply(METHODS[name], embedded_inputs, knob)
    test = embedded.test
    predicted = np.asarray(posthoc.logits(outcome, test.features)).argmax(axis=1)
    found = accuracy.per_split(predicted == test.labels, test.labels, embedded.splits)
    np.testing.assert_allclose(100 * found, wanted, atol=0.02)


class TestFewOffset:
    def test_worked(self):
        logits = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
        found = posthoc.few_offset(logits, [2, 0], offset=-0.5)
        assert found.tolist() == [[0.5, 2.0, 2.5], [3.5, 5.0, 5.5]]

    @pytest.mark.parametrize("few", [[1, 3], [-1, 2]])
    def test_classes_that_there_are_not(self, few):
        with pytest.raises(ValueError, match=f"0 to 2, got {few[0]} to {few[1]}"):
            posthoc.few_offset(np.zeros((2, 3)), few, offset=1.0)

    def test_is_traced(self):
        found = jax.jit(posthoc.few_offset)(np.zeros(3), np.array([1]), offset=2.0)
        assert found.tolist() == [0.0, 2.0, 0.0]

    def test_zero_changes_nothing(self, small):
        found = posthoc.few_offset(small["bias"], small["few_classes"], offset=0.0)
        np.testing.assert_array_equal(found, small["bias"])


class TestLogitAdjustment:
    def test_worked(self):
        found = posthoc.logit_adjustment([[1.0, 1.0], [0.0, 2.0]], [1, 3], tau=2.0)
        add = -2.0 * np.log([0.25, 0.75])
        close(found, [[1 + add[0], 1 + add[1]], [add[0], 2 + add[1]]])

    @pytest.mark.slow
    def test_of_a_bias_is_that_of_all_logits(self, small):
        head = Linear(small["weight"], small["bias"])
        moved = posthoc.logit_adjustment(head.bias, small["counts"], tau=0.7)
        logits = posthoc.logits(head, small["features"])
        wanted = posthoc.logit_adjustment(logits, small["counts"], tau=0.7)
        found = posthoc.logits(head._replace(bias=moved), small["features"])
        close(found, wanted, atol=1e-5)

    @pytest.mark.slow
    def test_makes_the_posterior_of_a_balanced_prior(self, rng):
        """Bayes' rule: p(y|x) / pi(y), over its sum."""
        likelihood, prior = rng.random((7, 3)), np.array([0.7, 0.2, 0.1])
        joint = likelihood * prior
        posterior = joint / joint.sum(axis=1, keepdims=True)
        found = posthoc.logit_adjustment(np.log(posterior), prior)
        wanted = likelihood / likelihood.sum(axis=1, keepdims=True)
        close(jax.nn.softmax(found, axis=1), wanted)

    def test_class_without_samples_is_as_the_rarest(self):
        found = posthoc.log_prior([8, 0, 2])
        close(found, np.log([8 / 12, 2 / 12, 2 / 12]))

    def test_any_axes_before_that_of_classes(self, rng):
        logits = rng.normal(size=(2, 3, 4))
        found = posthoc.logit_adjustment(logits, [4, 3, 2, 1], tau=0.3)
        wanted = [
            [row - 0.3 * np.log([0.4, 0.3, 0.2, 0.1]) for row in x] for x in logits
        ]
        close(found, wanted)

    @pytest.mark.parametrize("counts", [[1, 2], [[1, 2, 3]], 3])
    def test_shapes(self, counts):
        shape = str(np.shape(counts)).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=shape):
            posthoc.logit_adjustment(np.zeros((5, 3)), counts)

    def test_is_traced(self):
        compiled = jax.jit(posthoc.logit_adjustment)
        found = compiled(jnp.zeros(2), jnp.array([1.0, 3.0]), tau=jnp.array(1.0))
        close(found, -np.log([0.25, 0.75]))


class TestPriorFromPredictions:
    @pytest.mark.parametrize("rows", [1, 3, 44, 100])
    def test_oracle_in_pieces(self, small, rows, monkeypatch):
        monkeypatch.setattr(streaming, "rows_at_a_time", lambda _: rows)
        features, weight, bias = (small[n] for n in ("features", "weight", "bias"))
        found = posthoc.prior_from_predictions(features, weight, bias)
        sums = np.zeros(5)
        for x in features.astype(np.float64):
            powers = np.exp(np.asarray(weight, np.float64) @ x + np.asarray(bias))
            sums += powers / powers.sum()
        close(found, sums / len(features))

    def test_mapped_features(self, small, tmp_path):
        np.save(tmp_path / "x.npy", small["features"].astype(np.float16))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        found = posthoc.prior_from_predictions(mapped, small["weight"], small["bias"])
        wanted = posthoc.prior_from_predictions(
            np.float32(mapped), small["weight"], small["bias"]
        )
        close(found, wanted)

    def test_shapes(self):
        with pytest.raises(ValueError, match=r"\(2, 3\), \(4, 5\) and \(4,\)"):
            posthoc.prior_from_predictions(np.zeros((2, 3)), np.zeros((4, 5)), [0] * 4)


class TestNorms:
    @pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
    @pytest.mark.parametrize("keep_bias", [False, True])
    def test_tau_normalization(self, rng, tau, keep_bias):
        weight, bias = rng.normal(size=(5, 3)), rng.normal(size=5)
        found = posthoc.tau_normalization(weight, bias, tau=tau, keep_bias=keep_bias)
        wanted = [row / np.sqrt(sum(w * w for w in row)) ** tau for row in weight]
        close(found.weight, wanted)
        close(found.bias, bias if keep_bias else np.zeros(5))

    def test_weights_of_length_zero_stay(self):
        weight = [[0.0, 0.0], [3.0, 4.0]]
        found = posthoc.tau_normalization(weight, [0.0, 0.0], tau=1.0)
        close(found.weight, [[0.0, 0.0], [0.6, 0.8]])
        found = posthoc.max_norm(weight, [0.0, 0.0], threshold=0.2)
        close(found.weight, [[0.0, 0.0], [0.6, 0.8]])

    @pytest.mark.slow
    def test_max_norm(self, rng):
        weight, bias = rng.normal(size=(6, 3)), rng.normal(size=6)
        lengths = np.sqrt((weight**2).sum(axis=1))
        found = posthoc.max_norm(weight, bias, threshold=0.6)
        most = 0.6 * lengths.max()
        close(
            found.weight,
            [w * min(1, most / r) for w, r in zip(weight, lengths, strict=True)],
        )
        close(found.bias, bias)
        assert (lengths < most).any()  # some were left alone

    def test_usual_power_of_weights_without_biases(self, rng):
        weight, bias = rng.normal(size=(5, 3)), rng.normal(size=5)
        found = posthoc.tau_normalization(weight, bias)
        close(np.linalg.norm(found.weight, axis=1), np.ones(5), atol=1e-6)
        assert not np.asarray(found.bias).any()

    @pytest.mark.parametrize("name", ["tau_normalization", "max_norm"])
    def test_shapes(self, name):
        options = {"threshold": 1.0} if name == "max_norm" else {}
        with pytest.raises(ValueError, match=r"\(3, 2\) and \(2,\)"):
            getattr(posthoc, name)(np.zeros((3, 2)), np.zeros(2), **options)


class TestNearestClassMean:
    @staticmethod
    def oracle(features, labels, queries, variant):
        """Classes by the distances, or angles, to each mean, a sample at a time."""
        x, q = np.float64(features), np.float64(queries)
        if variant == "cl2n":
            x, q = x - x.mean(axis=0), q - x.mean(axis=0)
        if variant != "un":
            x, q = ([row / np.sqrt(row @ row) for row in rows] for rows in (x, q))
        x = np.array(x)
        means = [x[labels == c].mean(axis=0) for c in range(labels.max() + 1)]

        def distance(a, b):
            if variant == "cosine":
                return -(a @ b) / np.sqrt(b @ b)
            return ((a - b) ** 2).sum()

        return np.array([[distance(row, mean) for mean in means] for row in q])

    @pytest.mark.parametrize("variant", ["un", "l2n", "cl2n", "cosine"])
    def test_oracle(self, small, variant):
        features, labels = small["features"], small["labels"]
        found = posthoc.nearest_class_mean(
            features, labels, num_classes=5, variant=variant
        )
        queries = small["val_features"]
        distances = self.oracle(features, labels, queries, variant)
        logits = np.asarray(posthoc.logits(found, queries), np.float64)
        np.testing.assert_array_equal(logits.argmax(axis=1), distances.argmin(axis=1))
        if variant != "cosine":  # but for a number that all classes of a sample share
            both = logits + distances
            close(both - both[:, :1], np.zeros_like(both), atol=1e-4)
        else:
            norms = np.linalg.norm(queries, axis=1, keepdims=True)
            close(logits, -distances * norms, atol=1e-5)

    def test_worked(self):
        """To (2, 1) the mean (1, 0) is nearer, and (5, 3) at a smaller angle."""
        features, labels = [[1.0, 0.0], [5.0, 3.0]], [0, 1]
        plain = posthoc.nearest_class_mean(
            features, labels, num_classes=2, variant="un"
        )
        angle = posthoc.nearest_class_mean(
            features, labels, num_classes=2, variant="cosine"
        )
        assert posthoc.logits(plain, [[2.0, 1.0]]).argmax() == 0
        assert posthoc.logits(angle, [[2.0, 1.0]]).argmax() == 1

    @pytest.mark.parametrize("variant", ["l2n", "cosine"])
    def test_lengths_do_not_count(self, small, variant):
        """Not even of rows whose squares are zero, or infinite, beside zeros."""
        features = small["features"] * (np.arange(4) > 0)  # a zero in every row
        labels, queries = small["labels"], small["val_features"]

        queries = queries * (np.arange(4) > 0)

        def find(rows, asked):
            found = posthoc.nearest_class_mean(
                rows.astype(np.float32), labels, num_classes=5, variant=variant
            )
            return np.asarray(posthoc.logits(found, np.float32(asked)))

        wanted = find(features, queries)
        for factor in (1e-30, 1e37):
            close(find(factor * features, queries), wanted, atol=1e-5)
            if variant == "l2n":
                close(find(features, factor * queries), wanted, atol=1e-5)

    @pytest.mark.parametrize("variant", ["l2n", "cosine"])
    def test_rows_of_zeros(self, variant):
        features, labels = [[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]], [0, 0, 1]
        found = posthoc.nearest_class_mean(
            features, labels, num_classes=2, variant=variant
        )
        logits = posthoc.logits(found, [[0.0, 1.0], [0.0, 0.0]])
        scale = 1.0 if variant == "cosine" else 2.0
        shift = 0.0 if variant == "cosine" else -1.0
        close(logits, [[0.0, scale + shift], [0.0, shift]], atol=1e-6)

    def test_padding_does_not_count(self, small):
        features = np.concatenate([small["features"], np.full((3, 4), 9.0)])
        labels = np.concatenate([small["labels"], [-1, -1, 5]])
        for variant in ("un", "cl2n"):
            found = posthoc.nearest_class_mean(
                features, labels, num_classes=5, variant=variant
            )
            wanted = posthoc.nearest_class_mean(
                small["features"], small["labels"], num_classes=5, variant=variant
            )
            jax.tree.map(close, found, wanted)

    def test_mistakes(self, small):
        features, labels = small["features"], small["labels"]
        with pytest.raises(ValueError, match=r"'cl2n'.*got 'l3n'"):
            posthoc.nearest_class_mean(features, labels, num_classes=5, variant="l3n")
        with pytest.raises(ValueError, match=r"each of 7 classes .* none of \[5, 6\]"):
            posthoc.nearest_class_mean(features, labels, num_classes=7)


class TestDrops:
    @pytest.mark.slow
    def test_no_divergence_is_the_prior_shift(self, small):
        logits = posthoc.logits(
            Linear(small["weight"], small["bias"]), small["features"]
        )
        found = posthoc.drops(logits, small["labels"], small["counts"], delta=0.0)
        wanted = np.log(1 / 5) - posthoc.log_prior(small["counts"])
        close(found, wanted, atol=1e-3)

    @pytest.mark.slow
    def test_the_harder_class_gets_more_up_to_the_limit(self):
        """Samples of class 1 are never told apart; those of class 0 always."""
        logits = np.array([[9.0, 0.0]] * 4 + [[2.0, 0.0]] * 4)
        labels = np.array([0] * 4 + [1] * 4)
        offset = np.asarray(posthoc.drops(logits, labels, [1, 1], delta=0.1))
        g = np.exp(offset + np.log(0.5))
        close(g.sum(), 1.0)
        assert g[1] > g[0]
        close((g * np.log(2 * g)).sum(), 0.1, rtol=1e-3)

    @pytest.mark.slow
    def test_lowers_the_loss_under_the_worst_prior(self, small):
        head = Linear(small["weight"], small["bias"])
        logits = np.asarray(posthoc.logits(head, small["val_features"]))
        labels, delta = small["val_labels"], 0.3

        def worst(offset):
            logs = np.asarray(jax.nn.log_softmax(logits + offset, axis=1))
            losses = -logs[np.arange(len(labels)), labels]
            means = np.array([losses[labels == c].mean() for c in range(5)])
            values = []
            for multiplier in np.geomspace(1e-2, 1e3, 2000):
                g = np.exp((means - means.max()) / multiplier)
                g /= g.sum()
                if (g * np.log(5 * g + 1e-30)).sum() <= delta:
                    values.append(g @ means)
            return max(values)

        found = np.asarray(
            posthoc.drops(logits, labels, small["counts"], delta=delta, num_steps=300)
        )
        plain = -np.asarray(posthoc.log_prior(small["counts"]))
        assert worst(found) < worst(plain) - 1e-3

    def test_class_without_validation_samples(self, small):
        logits = np.zeros((2, 3))
        found = posthoc.drops(logits, [0, 1], [5, 5, 5])
        close(found, np.zeros(3), atol=1e-4)

    def test_mistakes(self):
        with pytest.raises(ValueError, match=r"\(4, 3\) and \(5,\)"):
            posthoc.drops(np.zeros((4, 3)), np.zeros(5, int), [1, 1, 1])
        with pytest.raises(ValueError, match=r"\(4, 3\) and \(2,\)"):
            posthoc.drops(np.zeros((4, 3)), np.zeros(4, int), [1, 1])
        with pytest.raises(ValueError, match=r"got -1 and 0\.1"):
            posthoc.drops(np.zeros((4, 3)), np.zeros(4, int), [1] * 3, delta=-1)


class TestTable:
    def test_names(self):
        assert list(METHODS) == [method.name for method in METHODS.values()]
        assert "unchanged" in METHODS
        optional = {name for name, method in METHODS.items() if method.optional}
        assert {"crt", "lws", "disalign", "marc", "max_norm", "drops"} <= optional
        assert not {"few_offset", "logit_adjustment", "unchanged"} & optional

    def test_is_frozen(self):
        with pytest.raises(TypeError):
            METHODS["few_offset"] = METHODS["unchanged"]
        with pytest.raises(AttributeError):
            METHODS["few_offset"].knob = "tau"

    @pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))
    def test_entries(self, method):
        assert set(method.needs) <= NEEDS.keys()
        assert method.source
        assert (method.knob is None) == (not method.grid)
        if method.grid:
            assert method.neutral in method.grid
            assert list(method.grid) == sorted(set(method.grid))

    @pytest.mark.slow
    @pytest.mark.parametrize("method", EVERY)
    def test_needs_what_it_says_and_no_more(self, method, small):
        only = {name: small[name] for name in method.needs}
        outcome = posthoc.apply(method, only)
        assert isinstance(outcome, Linear) == method.linear
        logits = posthoc.logits(outcome, small["features"])
        assert logits.shape == (44, 5)
        assert np.isfinite(logits).all()
        for name in method.needs:
            less = {key: value for key, value in only.items() if key != name}
            with pytest.raises(ValueError, match=f"{method.name} needs {name} "):
                posthoc.apply(method, less)

    @pytest.mark.parametrize("method", [one for one in EVERY if one.values[0].linear])
    def test_exported_heads_predict_the_same(self, method, small):
        """In NumPy, as whoever takes W and b away computes it."""
        queries = np.asarray(small["val_features"])
        for point in list(posthoc.sweep(method, small))[::7]:
            weight, bias = (np.asarray(part) for part in point.outcome)
            assert (weight.shape, bias.shape) == ((5, 4), (5,))
            inside = np.asarray(posthoc.logits(point.outcome, queries))
            outside = queries @ weight.T + bias
            np.testing.assert_allclose(outside, inside, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(outside.argmax(1), inside.argmax(1))

    @pytest.mark.parametrize(
        "name",
        ["few_offset", "logit_adjustment", "prior_from_predictions", "max_norm",
         "tau_normalization_bias", "drops"],
    )  # fmt: skip
    def test_neutral_knob_changes_nothing(self, name, small):
        method = METHODS[name]
        found = posthoc.apply(method, small)
        close(found.weight, small["weight"])
        close(found.bias, small["bias"])

    @pytest.mark.parametrize("method", EVERY)
    def test_sweep_is_apply(self, method, small):
        points = list(posthoc.sweep(method, small))
        assert len(points) == len(method.choices) * max(1, len(method.grid))
        for point in points[:: max(1, len(points) // 3)]:
            wanted = posthoc.apply(method, small, point.knob, **point.choice)
            jax.tree.map(close, point.outcome, wanted)

    def test_bias_only_methods_share_the_weights(self, small):
        for name in ("few_offset", "logit_adjustment", "drops", "unchanged"):
            for point in posthoc.sweep(METHODS[name], small):
                assert point.outcome.weight is small["weight"]

    def test_what_does_not_depend_on_the_knob_is_done_once(self, small, monkeypatch):
        calls = []
        kept = methods.offsets.log_prior_from_predictions
        monkeypatch.setattr(
            methods.offsets,
            "log_prior_from_predictions",
            lambda *args: calls.append(1) or kept(*args),
        )
        assert len(list(posthoc.sweep(METHODS["prior_from_predictions"], small))) > 20
        assert len(calls) == 1

    def test_adjusted_outcome_that_is_not_linear(self, small):
        outcome = posthoc.nearest_class_mean(
            small["features"], small["labels"], num_classes=5, variant="l2n"
        )
        found = posthoc.adjusted(outcome, small["counts"], 0.5)
        logits = posthoc.logits(outcome, small["features"])
        wanted = posthoc.logit_adjustment(logits, small["counts"], tau=0.5)
        close(posthoc.logits(found, small["features"]), wanted, atol=1e-5)

    def test_outcomes_in_numpy(self, small):
        """Of float64, as other programs give them."""
        head = Linear(np.float64(small["weight"]), np.float64(small["bias"]))
        rows = small["features"]
        wanted = rows @ head.weight.T + head.bias
        found = posthoc.adjusted(head, small["counts"], 0.5)
        close(posthoc.logits(head, rows), wanted, atol=1e-5)
        adjustment = -0.5 * np.log(small["counts"] / small["counts"].sum())
        close(posthoc.logits(found, rows), wanted + adjustment, atol=1e-5)
        products = rows @ head.weight.T
        classes = posthoc.predict_rescaled(head, head.weight, products)
        np.testing.assert_array_equal(classes, wanted.argmax(axis=1))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("ties", [False, True])
    def test_classes_that_keep_their_bias(self, dtype, ties):
        """Whatever was looked for once, each point predicts as it would alone."""
        rng = np.random.default_rng(5)
        products = rng.normal(size=(300, 12)).astype(dtype)
        if ties:
            products = np.round(products)
        weight, bias = np.eye(12), np.round(rng.normal(size=12), 0).astype(dtype)
        shared = curves.SharedProducts(products, weight)
        few, one, most = [2, 3, 7], [11], list(range(9))
        moves = [(few, 0), (few, 1), (few, 2), (few, 2), (one, 1), (few, -1), (one, 0)]
        moves += [(most, 1), (most, 2), (few, 0), (few, 1), (few, 3), (most, -1)]
        for classes, offset in moves:
            moved = bias.copy()
            moved[classes] += dtype(offset)
            wanted = (products + moved).argmax(axis=1)
            found = shared.predict(Linear(weight, moved))
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == np.int32
        assert ties == (len(np.unique(products)) < 30)  # the test can tell

    def test_a_curve_looks_once_for_the_best_of_base_classes(self, small, monkeypatch):
        widths, real = [], curves.winners

        def winners(products, bias, **options):
            widths.append(len(bias))
            return real(products, bias, **options)

        monkeypatch.setattr(curves, "winners", winners)
        method, rows = METHODS["few_offset"], small["val_features"]
        list(posthoc.curve(method, small, {"val": rows}))
        # The first one, what stays, and then few classes alone; 0 changes nothing.
        assert widths == [5, 3, *[2] * (len(method.grid) - 1)]

    @pytest.mark.parametrize(
        "method", [each for each in METHODS.values() if each.rescales]
    )
    def test_logits_follow_from_shared_products(self, method, small, monkeypatch):
        monkeypatch.setattr(streaming, "rows_at_a_time", lambda _: 7)
        rows, weight = small["val_features"], small["weight"]
        shared = curves.SharedProducts(posthoc.products(rows, weight), weight)
        for point in posthoc.sweep(method, small):
            pieces = list(shared.logits(point.outcome))
            assert len(pieces) > 1
            close(
                np.concatenate(pieces), posthoc.logits(point.outcome, rows), atol=1e-5
            )

    def test_what_methods_keep_for_others_is_of_the_same_choice(self, small):
        """One dict for all choices of all Gaussian methods; each alone, without it."""
        names = ("gaussian_scores", "gaussian_scores_unshrunk", "gaussian_mix")
        shared = {**small, "kept": {}}
        for name in names:
            method = METHODS[name]
            assert len(method.choices) > 1
            for choice in method.choices:
                found = posthoc.apply(method, shared, 0.5, **choice)
                wanted = posthoc.apply(method, {**small, "kept": {}}, 0.5, **choice)
                for part, alone in zip(found, wanted, strict=True):
                    np.testing.assert_array_equal(part, alone)

    def test_inputs_without_validation_data(self, small):
        inputs = posthoc.make_inputs(
            small["features"],
            small["labels"],
            small["weight"],
            small["bias"],
            few_classes=[4],
        )
        assert inputs.keys() == NEEDS.keys() - {"val_features", "val_labels", "on_step"}
        assert inputs["counts"].tolist() == [20, 14, 6, 3, 1]


class TestCurve:
    @pytest.mark.slow
    @pytest.mark.parametrize("method", EVERY)
    def test_predictions_are_those_of_the_logits(self, method, small, monkeypatch):
        monkeypatch.setattr(streaming, "rows_at_a_time", lambda _: 7)
        groups = {"val": small["val_features"], "train": small["features"]}
        found = list(posthoc.curve(method, small, groups))
        assert len(found) == len(list(posthoc.sweep(method, small)))
        for point, classes in found[:: max(1, len(found) // 5)]:
            assert classes.keys() == groups.keys()
            for name, rows in groups.items():
                logits = np.asarray(posthoc.logits(point.outcome, rows))
                np.testing.assert_array_equal(classes[name], logits.argmax(axis=1))
                assert classes[name].dtype == np.int32

    @pytest.mark.parametrize("method", EVERY)
    def test_methods_that_rescale_do(self, method, small):
        if not method.linear:
            assert not method.rescales
            return
        points = list(posthoc.sweep(method, small))[::9]
        for point in points:
            given, found = np.asarray(small["weight"]), np.asarray(point.outcome.weight)
            scale = (given * found).sum(axis=1) / (given**2).sum(axis=1)
            apart = np.abs(found - scale[:, None] * given).max()
            assert (apart < 1e-5) == method.rescales

    def test_shares_products(self, small, monkeypatch):
        groups = {"val": small["val_features"]}
        shared = {"val": posthoc.products(small["val_features"], small["weight"])}
        calls = []
        monkeypatch.setattr(curves, "products", lambda *args: calls.append(args))
        for name in ("few_offset", "tau_normalization", "nearest_class_mean_l2n"):
            list(posthoc.curve(METHODS[name], small, groups, shared=shared))
        assert not calls

    def test_products(self, small, tmp_path, monkeypatch):
        monkeypatch.setattr(streaming, "rows_at_a_time", lambda _: 5)
        np.save(tmp_path / "x.npy", small["features"].astype(np.float16))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        found = posthoc.products(mapped, small["weight"])
        assert found.dtype == np.float32
        wanted = np.float64(mapped) @ np.float64(small["weight"]).T
        close(found, wanted, atol=1e-5)
        with pytest.raises(ValueError, match=r"\(2, 3\) and \(5, 4\)"):
            posthoc.products(np.zeros((2, 3)), np.zeros((5, 4)))

    def test_no_samples(self, small):
        groups = {"none": np.zeros((0, 4), np.float32)}
        for name in ("few_offset", "nearest_class_mean_un"):
            for _, classes in posthoc.curve(METHODS[name], small, groups):
                assert classes["none"].shape == (0,)


def test_options_are_by_name():
    """Arrays first, and nothing else without its name."""
    for name in posthoc.__all__:
        function = getattr(posthoc, name)
        if not inspect.isfunction(function) or name in ("apply", "adjusted"):
            continue
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is not inspect.Parameter.empty:
                assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.slow
@pytest.mark.parametrize("with_val", [True, False])
def test_alphanet_plus_of_the_table_is_the_function(small, with_val):
    names = ("features", "labels", "num_classes")
    given = {name: small[name] for name in names}
    val = (small["val_features"], small["val_labels"]) if with_val else None
    inputs = {
        name: value
        for name, value in small.items()
        if with_val or not name.startswith("val_")
    }
    head = Linear(small["weight"], small["bias"])
    steps = []
    inputs["on_step"] = steps.append
    for factor in (1.0, 2.0):
        found = posthoc.apply(METHODS["alphanet_plus"], inputs, l2_factor=factor)
        l2 = factor * convex_head.default_l2(8)
        wanted = posthoc.alphanet_plus(
            **given, val=val, l2=l2, tau=0.0, classifier=head
        ).head
        close(found.weight, wanted.weight)
        close(found.bias, wanted.bias)
    assert steps
    for tau in (0.0, 0.5):
        one = posthoc.apply(METHODS["balanced_softmax_head"], inputs, tau)
        own = posthoc.balanced_softmax_head(
            **given,
            l2=0.5 * convex_head.default_l2(8),
            classifier=head,
        )
        close(one.weight, own.weight)
        shares = small["counts"] / small["counts"].sum()
        close(one.bias, own.bias - tau * np.log(shares))


def test_the_mix_of_the_table_is_compared_on_validation_features(small):
    found = posthoc.apply(METHODS["gaussian_mix"], small, 0.5)
    scores = posthoc.gaussian_scores(small["features"], small["labels"], num_classes=5)
    wanted = posthoc.gaussian_mix(
        Linear(small["weight"], small["bias"]),
        scores,
        small["counts"],
        small["val_features"],
        tau=0.5,
    )
    close(found.weight, wanted.weight)
    close(found.bias, wanted.bias)


def test_products_are_taken_once_for_weights_that_stay(small, monkeypatch):
    taken = []
    products = curves.products

    def watched(features, weight):
        taken.append(len(features))
        return products(features, weight)

    monkeypatch.setattr(curves, "products", watched)
    method = METHODS["gaussian_scores"]
    rows = {"val": small["val_features"]}
    for point, classes in posthoc.curve(method, small, rows):
        wanted = curves.predict(point.outcome, rows["val"], num_classes=5)
        assert (classes["val"] == wanted).all()
    assert len(taken) == len(method.choices)
