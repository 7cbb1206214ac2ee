"""Other corrections than AlphaNet, as `fit` gives them: results, heads, copies."""

import json

import numpy as np
import pytest

import alphanet_jax
from alphanet_jax import correction, posthoc
from alphanet_jax.comparison import fitting
from alphanet_jax.errors import UserError
from alphanet_jax.results.corrected import Head

COUNTS = np.array([60, 50, 40, 30, 25, 9, 8, 2])
CLASSES = len(COUNTS)
LINEAR = fitting.linear_methods()
TRAINED = ("crt", "lws", "marc")


@pytest.fixture(scope="module")
def made():
    """Samples of eight classes around their centers, and a head that is off."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLASSES, 6))

    def group(counts):
        labels = np.repeat(np.arange(CLASSES), counts)
        rows = centers[labels] + rng.normal(size=(len(labels), 6))
        return rows.astype(np.float32), labels

    return {
        "train": group(COUNTS),
        "val": group([12] * CLASSES),
        "test": group([15] * CLASSES),
        "weight": centers.astype(np.float32),
        "bias": (np.log(COUNTS) - (centers**2).sum(axis=1) / 2).astype(np.float32),
    }


def fit(made, method, *, val=True, **options):
    groups = {"test": made["test"]} | ({"val": made["val"]} if val else {})
    return alphanet_jax.fit(
        *made["train"],
        made["weight"],
        made["bias"],
        method=method,
        n_neighbors=2,
        **groups,
        **options,
    )


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.slow) for name in LINEAR],
)
def test_outside_as_inside(made, tmp_path, method):
    """The head predicts in NumPy what the result says, alone and in a copy."""
    np.savez(
        tmp_path / "model.npz",
        **{"fc.weight": made["weight"], "fc.bias": made["bias"], "conv": np.ones(3)},
    )
    found = fit(made, method, workdir=tmp_path / "w")
    assert found.method == method
    rows, labels = made["test"]
    predicted = (rows @ found.weight.T + found.bias).argmax(axis=1)
    np.testing.assert_array_equal(predicted, found.result["test_pred"][0])
    assert found.result["test_accuracy"][0] == (predicted == labels).mean()
    for seed in ("best", "mean", 0):
        np.testing.assert_array_equal(found.head(seed).weight, found.weight)
    found.save(tmp_path / "alone.npz")
    found.save(tmp_path / "copy.npz", into=tmp_path / "model.npz")
    with (
        np.load(tmp_path / "alone.npz") as alone,
        np.load(tmp_path / "copy.npz") as copy,
    ):
        np.testing.assert_array_equal(alone["weight"], found.weight)
        np.testing.assert_array_equal(copy["fc.weight"], found.weight)
        # A change of a bias is added to what was there.
        np.testing.assert_allclose(copy["fc.bias"], found.bias, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(copy["conv"], np.ones(3))
    again = alphanet_jax.load_correction(tmp_path / "w")
    assert (again.method, again.knob) == (found.method, found.knob)
    for one, other in zip(again.original, found.original, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.logits(rows), found.logits(rows))
    assert method in str(found.report(*made["test"]))
    assert method in again.explain(5)


class TestKnob:
    def test_the_best_on_validation_samples(self, made):
        """Against every value of the offset, in NumPy."""
        found = fit(made, "few_offset")
        rows, labels = made["val"]
        few = np.isin(np.arange(CLASSES), found.splits["few"])
        grid = posthoc.METHODS["few_offset"].grid
        scores = rows @ made["weight"].T + made["bias"]
        shares = [
            ((scores + offset * few).argmax(axis=1) == labels).mean() for offset in grid
        ]
        assert found.knob == grid[int(np.argmax(shares))]
        assert found.val_accuracy() == pytest.approx(max(shares))
        assert found.options["chosen"][0].startswith("chosen: few_offset (offset ")

    @pytest.mark.slow
    def test_without_validation_samples(self, made):
        lines = []
        found = fit(made, "logit_adjustment", val=False, report=lines.append)
        assert any("chosen by cross-validation" in line for line in found.remarks)
        assert np.isnan(found.val_accuracy()).all()
        assert not found.has_validation

    @pytest.mark.slow
    def test_alphanet_plus_has_defaults(self, made):
        found = fit(made, "alphanet+", val=False)
        plus = posthoc.alphanet_plus(
            *made["train"],
            num_classes=CLASSES,
            classifier=posthoc.Linear(made["weight"], made["bias"]),
        )
        np.testing.assert_allclose(found.weight, plus.head.weight, atol=2e-2)
        assert (found.method, found.knob) == ("alphanet_plus", 0.0)
        assert found.options == {"covariance_shrinkage": 0.3, "l2_factor": 1.0}
        np.testing.assert_array_equal(
            found.result["borrowed_from"], plus.neighborhood.classes
        )
        text = found.explain(7, mistakes=1)
        assert text.splitlines()[1].startswith("[class 7] is drawn towards (0.")
        assert "Training samples: 2" in text
        with pytest.raises(UserError, match="learns no coefficients"):
            _ = found.alphas


@pytest.mark.slow
class TestAuto:
    def test_what_was_chosen(self, made, tmp_path):
        lines = []
        found = fit(made, "auto", workdir=tmp_path, report=lines.append)
        assert found.method in fitting.AUTO_METHODS
        assert list(found.options["chosen"]) == [
            line
            for line in lines
            if line.startswith(("chosen: ", "why: ", "how sure: "))
        ]
        config = json.loads(str(found.result["config"]))
        assert config["method"] == "auto"
        # Again, it is read; with another target, it is made anew.
        lines.clear()
        again = fit(made, "auto", workdir=tmp_path, report=lines.append)
        np.testing.assert_array_equal(again.weight, found.weight)
        assert any(line.startswith("done already") for line in lines)
        lines.clear()
        changed = {"targets": ["few >= +3"], "report": lines.append}
        with pytest.raises(UserError, match=r"is of another run: .*--overwrite"):
            fit(made, "auto", workdir=tmp_path, **changed)
        fit(made, "auto", workdir=tmp_path, overwrite=True, **changed)
        assert any("is of another run and will be replaced" in line for line in lines)

    def test_a_method_that_fails_is_left_out(self, made, monkeypatch):
        def fail(**inputs):
            raise ValueError("cannot be done.\nAt all.")

        method = posthoc.METHODS["gaussian_mix"]
        broken = {**posthoc.METHODS, "gaussian_mix": method.__class__(
            **{**vars(method), "function": fail})}  # fmt: skip
        monkeypatch.setattr(posthoc, "METHODS", broken)
        found = fit(made, "auto")
        assert "note: gaussian_mix failed: cannot be done." in found.remarks
        with pytest.raises(UserError, match=r"^gaussian_mix: cannot be done\."):
            fit(made, "gaussian_mix")

    def test_refit_on_validation_samples(self, made):
        found = fit(made, "logit_adjustment", refit_on_val=True)
        first = fit(made, "logit_adjustment")
        assert found.knob == first.knob
        together = np.bincount(
            np.concatenate([made[group][1] for group in ("train", "val")])
        )
        prior = np.log(together / together.sum())
        np.testing.assert_allclose(
            found.bias, made["bias"] - found.knob * prior, rtol=1e-5, atol=1e-6
        )
        # Validation accuracy is of what had not seen them.
        assert found.val_accuracy() == first.val_accuracy()
        assert "only test data can judge it" in found.remarks[-1]


@pytest.mark.slow
def test_refit_is_a_fit_on_both(made):
    """alphanet+ of all rows, with what was chosen on validation samples."""
    found = fit(made, "alphanet_plus", refit_on_val=True)
    rows, labels = (
        np.concatenate([made[group][place] for group in ("train", "val")])
        for place in (0, 1)
    )
    usual = found.options["l2_factor"] * posthoc.convex_head.default_l2(len(COUNTS))
    plus = posthoc.alphanet_plus(
        rows,
        labels,
        num_classes=CLASSES,
        covariance_shrinkage=found.options["covariance_shrinkage"],
        l2=usual,
        tau=found.knob,
    )
    scores = [
        rows @ np.asarray(w).T + np.asarray(b) for w, b in (found.head(), plus.head)
    ]
    assert (scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).mean() > 0.98


@pytest.mark.slow
def test_large_groups_are_joined_in_a_file(made, monkeypatch):
    first = fit(made, "gaussian_scores", refit_on_val=True)
    monkeypatch.setattr(fitting, "_IN_MEMORY_BYTES", 0)
    second = fit(made, "gaussian_scores", refit_on_val=True)
    np.testing.assert_array_equal(first.weight, second.weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "alphanet++"}, "did you mean 'alphanet' or 'alphanet_plus'"),
        ({"method": "unchanged"}, "unknown method 'unchanged'"),
        ({"method": "nearest_class_mean_l2n"}, "does not come to a linear classifier"),
        ({"method": "disalign"}, "does not come to a linear classifier"),
        ({"method": "few_offset", "rho": 0.1}, "'rho' is of AlphaNet's training"),
        ({"method": "auto", "train_epochs": 3}, "'train_epochs' is of AlphaNet's"),
        ({"method": "few_offset", "nothing": 3}, "unknown setting 'nothing'"),
        ({"method": "alphanet", "targets": ["few >= 4"]}, "are for other methods than"),
        ({"method": "alphanet", "refit_on_val": True}, "are for other methods than"),
        ({"method": "auto", "targets": ["few > 4"]}, "must have >=, got >"),
        ({"method": "auto", "refit_on_val": True, "val": False}, "no validation data"),
    ],
)
def test_refused(made, tmp_path, options, said):
    with pytest.raises(UserError) as error:
        fit(made, workdir=tmp_path / "w", **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_settings_of_training_are_told_apart(made, tmp_path):
    """A result of AlphaNet and one of another method are two experiments."""
    from alphanet_jax.results import sets

    fit(made, "few_offset", workdir=tmp_path / "a", name="x")
    fit(made, "alphanet", workdir=tmp_path / "b", name="x", seeds=1, train_epochs=0)
    paths = sets.find_results(tmp_path)
    assert len(sets.group_by_setting(paths, tmp_path)) == 2
    loaded = sets.load_sets({"a": [paths[0]], "b": [paths[1]]})
    assert [each.files[0].method for each in loaded] == ["few_offset", "alphanet"]


def test_methods_are_all_that_are_linear():
    assert ("alphanet", "auto", *LINEAR) == correction.METHODS
    assert set(fitting.AUTO_METHODS[1:]) <= set(LINEAR)


@pytest.mark.slow
def test_a_head_without_bias_gets_one(made, tmp_path):
    """In a checkpoint that has no bias there is no place for one."""
    np.savez(tmp_path / "model.npz", **{"fc.weight": made["weight"]})
    found = alphanet_jax.fit(
        *made["train"], made["weight"], val=made["val"], method="few_offset"
    )
    assert isinstance(found.head(), Head)
    assert (found.bias != 0).any()
    with pytest.raises(UserError, match="bias"):
        found.save(tmp_path / "copy.npz", into=tmp_path / "model.npz")
    assert not (tmp_path / "copy.npz").exists()
