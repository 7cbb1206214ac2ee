"""The estimator, by scikit-learn's own checks and on classes that are rare."""

import pickle
import subprocess
import sys
import unittest

import jax.numpy as jnp
import numpy as np
import pytest

import alphanet_jax
from alphanet_jax import correction, splits
from alphanet_jax.errors import UserError

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import (  # noqa: E402
    LinearRegression,
    LogisticRegression,
    RidgeClassifier,
)
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.svm import SVC  # noqa: E402
from sklearn.utils.estimator_checks import estimator_checks_generator  # noqa: E402

from alphanet_jax.estimator import AlphaNetClassifier  # noqa: E402

COUNTS = [40, 35, 30, 25, 6, 5]
NAMES = np.array(["ant", "bee", "cat", "dog", "eel", "fox"])
CENTERS = np.random.default_rng(0).normal(size=(6, 8))
SHORT = {
    "few_below": 10,
    "many_above": 30,
    "seeds": 2,
    "n_neighbors": 2,
    "train_epochs": 3,
    "settings": {"hdims": (4,), "min_epochs": 1, "eval_batch_size": 64},
}


def make_samples(counts, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(6), counts)
    rows = CENTERS[labels] + rng.normal(size=(len(labels), 8))
    order = rng.permutation(len(labels))
    return rows[order].astype(dtype), labels[order]


X, Y = make_samples(COUNTS, 1)
X_VAL, Y_VAL = make_samples([9] * 6, 2)
WEIGHT = CENTERS.astype(np.float32)
BIAS = np.linspace(-1, 1, 6).astype(np.float32)


@pytest.fixture(scope="module")
def fitted():
    found = AlphaNetClassifier(**SHORT)
    assert found.fit(X, NAMES[Y], WEIGHT, BIAS, X_VAL, NAMES[Y_VAL]) is found
    return found


# Checks that skip a part of them on most machines, and what that needs.
PARTIAL = {
    "check_array_api_input": "SCIPY_ARRAY_API is not set",
    "check_classifier_data_not_an_array": "pandas is not installed",
}
# Their own data have at most three classes, which leaves nothing to correct.
CHECKS = [
    pytest.param(*pair, id=f"{name}-{pair[1].func.__name__}-{number}")
    for name, made in {
        "default": AlphaNetClassifier(),
        "ridge": AlphaNetClassifier(RidgeClassifier(), **SHORT),
    }.items()
    for number, pair in enumerate(estimator_checks_generator(made))
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the classifier is left as it is")
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_checks_of_scikit_learn(estimator, check):
    try:
        check(estimator)
    except unittest.SkipTest as error:
        if PARTIAL.get(check.func.__name__, "-") not in str(error):
            raise


@pytest.mark.slow
class TestFit:
    def test_is_exported(self):
        assert alphanet_jax.AlphaNetClassifier is AlphaNetClassifier

    @pytest.mark.slow
    def test_is_the_one_call(self, fitted):
        found = correction.fit(
            X, Y, WEIGHT, BIAS, val=(X_VAL, Y_VAL),
            splits=splits.splits_from_counts(COUNTS, few_below=10, many_above=30),
            **{k: v for k, v in SHORT.items() if k not in ("settings", "few_below",
                                                           "many_above")},
            **SHORT["settings"],
        )  # fmt: skip
        np.testing.assert_array_equal(fitted.coef_, found.weight)
        np.testing.assert_array_equal(fitted.intercept_, BIAS)
        np.testing.assert_array_equal(fitted.coef_[:4], WEIGHT[:4])
        assert (fitted.coef_[4:] != WEIGHT[4:]).any(axis=1).all()
        assert fitted.correction_.splits["few"].tolist() == [4, 5]
        assert fitted.correction_.result["label_names"].tolist() == NAMES.tolist()

    def test_attributes(self, fitted):
        assert fitted.classes_.tolist() == NAMES.tolist()
        assert fitted.n_features_in_ == 8
        assert fitted.remarks_ == fitted.correction_.remarks
        assert fitted.correction_.data is None  # which would be pickled, too

    def test_predictions(self, fitted):
        scores = X_VAL @ fitted.coef_.T.astype(np.float64) + fitted.intercept_
        np.testing.assert_allclose(fitted.decision_function(X_VAL), scores)
        predicted = NAMES[scores.argmax(axis=1)]
        np.testing.assert_array_equal(fitted.predict(X_VAL), predicted)
        odds = np.exp(scores)
        wanted = odds / odds.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(fitted.predict_proba(X_VAL), wanted)
        np.testing.assert_allclose(fitted.predict_log_proba(X_VAL), np.log(wanted))
        accuracy = np.mean(predicted == NAMES[Y_VAL])
        assert fitted.score(X_VAL, NAMES[Y_VAL]) == accuracy

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("first", "options"),
        [
            (LogisticRegression(max_iter=1000), {}),
            (RidgeClassifier(), {"estimator": RidgeClassifier()}),
            (
                LogisticRegression(max_iter=1000, fit_intercept=False),
                {"estimator": LogisticRegression(max_iter=1000, fit_intercept=False)},
            ),
        ],
    )
    def test_fits_one_first(self, first, options):
        untrained = SHORT | {"train_epochs": 0}
        found = AlphaNetClassifier(**options, **untrained).fit(X, NAMES[Y])
        first.fit(X, Y)
        np.testing.assert_array_equal(found.coef_[:4], first.coef_[:4].astype("f4"))
        bias = np.broadcast_to(first.intercept_, 6).astype("f4")
        np.testing.assert_array_equal(found.intercept_, bias)
        assert not hasattr(options.get("estimator"), "coef_")
        assert not found.correction_.has_validation

    def test_random_state_and_seed(self, fitted):
        def coefs(**changes):
            made = clone(fitted).set_params(**changes)
            return made.fit(X, NAMES[Y], WEIGHT, BIAS, X_VAL, NAMES[Y_VAL])

        for state, other in ((None, None), (3, 3), (3, np.random.RandomState(3))):
            one, two = (coefs(random_state=s, seed=1) for s in (state, other))
            np.testing.assert_array_equal(one.coef_, two.coef_)
        seeds = one.correction_.result["seeds"]
        assert seeds[0] > 0
        np.testing.assert_array_equal(
            one.coef_, one.correction_.head(int(seeds[1])).weight
        )
        assert (one.coef_ != coefs(seed=1).coef_).any()
        mean = coefs(seed="mean")
        np.testing.assert_array_equal(mean.coef_, mean.correction_.head("mean").weight)

    @pytest.mark.slow
    def test_in_a_pipeline_and_pickled(self, fitted):
        pipeline = make_pipeline(StandardScaler(), clone(fitted)).fit(X, NAMES[Y])
        again = pickle.loads(pickle.dumps(pipeline))
        np.testing.assert_array_equal(again.predict(X_VAL), pipeline.predict(X_VAL))

    def test_float32_is_not_copied(self, monkeypatch):
        seen = []

        def look(features, labels, *arguments, **options):
            seen.append(features)
            raise UserError("seen")

        monkeypatch.setattr(correction, "fit", look)
        for dtype in (np.float32, np.float64):
            rows = X.astype(dtype)
            with pytest.raises(UserError, match="seen"):
                AlphaNetClassifier(**SHORT).fit(rows, Y, WEIGHT)
            assert np.shares_memory(seen[-1], rows)
        with pytest.raises(UserError, match="seen"):
            AlphaNetClassifier(**SHORT).fit(jnp.asarray(X, jnp.bfloat16), Y, WEIGHT)
        assert seen[-1].dtype == np.float32


class TestNothingToCorrect:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"few_below": 2},
                "no class is few: classes have 5 to 40 training samples",
            ),
            ({"few_below": 99, "many_above": 200}, "all classes are few: "),
            (
                {"few_below": 34, "many_above": 40},
                "2 of its 6 classes are not few, and",
            ),
        ],
    )
    def test_stays_and_warns(self, changes, message):
        made = AlphaNetClassifier(**(SHORT | changes))
        with pytest.warns(UserWarning, match=message) as caught:
            made.fit(X, NAMES[Y], WEIGHT, BIAS)
        assert caught[0].filename == __file__
        np.testing.assert_array_equal(made.coef_, WEIGHT)
        np.testing.assert_array_equal(made.intercept_, BIAS)
        assert made.correction_ is None
        assert made.remarks_ == (str(caught[0].message),)
        wanted = NAMES[(X @ WEIGHT.T + BIAS).argmax(axis=1)]
        np.testing.assert_array_equal(made.predict(X), wanted)

    @pytest.mark.filterwarnings("ignore:the classifier is left as it is")
    def test_two_classes(self):
        two = Y < 2
        first = LogisticRegression(max_iter=1000).fit(X[two], NAMES[Y[two]])
        made = AlphaNetClassifier().fit(X[two], NAMES[Y[two]])
        again = AlphaNetClassifier().fit(
            X[two], NAMES[Y[two]], first.coef_, first.intercept_
        )
        for found in (made, again):
            np.testing.assert_allclose(found.coef_, first.coef_)
            np.testing.assert_allclose(found.intercept_, first.intercept_)
            for name in ("decision_function", "predict_proba"):
                np.testing.assert_allclose(
                    getattr(found, name)(X_VAL), getattr(first, name)(X_VAL)
                )
            np.testing.assert_array_equal(found.predict(X_VAL), first.predict(X_VAL))

    def test_neighbors_are_limited(self, monkeypatch):
        def look(*arguments, n_neighbors, **options):
            raise UserError(f"with {n_neighbors} neighbors")

        monkeypatch.setattr(correction, "fit", look)
        for asked, given in ((5, 2), (2, 2), (1, 1)):
            changes = {"few_below": 27, "many_above": 35, "n_neighbors": asked}
            with pytest.raises(UserError, match=f"with {given} neighbors"):
                AlphaNetClassifier(**(SHORT | changes)).fit(X, Y, WEIGHT)


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"weight": WEIGHT[:5]}, r"weight must have shape \(6, 8\)"),
            ({"weight": WEIGHT, "bias": BIAS[:5]}, r"and bias \(6,\), for the labels"),
            ({"bias": BIAS}, "bias is given, but no weight"),
            ({"X_val": X_VAL}, "X_val and y_val belong together, but y_val is None"),
            ({"X_val": X_VAL, "y_val": Y_VAL + 1}, r"has labels that y has not: \[6\]"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            AlphaNetClassifier(**SHORT).fit(X, Y, **arguments)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"few_below": 50, "many_above": 10}, "must not be more than many_above"),
            ({"few_below": "x"}, "few_below must be a number of samples"),
            ({"method": "betanet"}, "unknown method 'betanet'"),
            ({"settings": {"rate": 1}}, "unknown setting 'rate'"),
            ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
            ({"seeds": 0}, "seeds must be at least 1, got 0"),
            ({"estimator": SVC()}, "must be a linear classifier with coef_ and inter"),
            ({"estimator": LinearRegression()}, "weight must have shape"),
        ],
    )
    def test_parameters(self, changes, message):
        weight = None if "estimator" in changes else WEIGHT
        with pytest.raises(ValueError, match=message):
            AlphaNetClassifier(**(SHORT | changes)).fit(X, Y, weight)

    def test_not_fitted(self):
        with pytest.raises(NotFittedError):
            AlphaNetClassifier().predict(X)


@pytest.mark.slow
def test_without_scikit_learn():
    code = """
import sys
sys.modules["sklearn"] = None
import alphanet_jax
try:
    alphanet_jax.AlphaNetClassifier(rho=0.1)
except alphanet_jax.errors.UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "AlphaNetClassifier needs scikit-learn: pip install 'alphanet_jax[sklearn]'\n"
    )


@pytest.mark.slow
def test_scikit_learn_is_imported_when_it_is_used():
    code = (
        "import sys, alphanet_jax; alphanet_jax.fit; sys.exit('sklearn' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
