"""The full record of a run: what came of every step, class and epoch."""

import made_data
import numpy as np
import pytest
import results_of_data

from alphanet_jax.results.file import load_result

MORE = ("--config.rho=0.7", "--config.training.train_epochs=4")
RECORD = {
    "step_loss",
    "epoch_least_alphas",
    "epoch_most_alphas",
    "drawn_per_class",
    "val_class_counts",
    "val_correct_per_class",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("record")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield made_data.make(root / "data")


@pytest.fixture(scope="module")
def result(made, tmp_path_factory):
    return load_result(
        results_of_data.train(made, tmp_path_factory.mktemp("w") / "w", *MORE)
    )


def test_losses_of_every_step(result):
    losses = result["step_loss"]
    assert losses.shape[:2] == (2, 4)
    assert losses.shape[2] > 1
    np.testing.assert_array_equal(np.nanmean(losses, axis=2), result["epoch_loss"])


def test_coefficients_lie_between(result):
    least, mean, most = (
        result[f"epoch_{name}_alphas"] for name in ("least", "mean", "most")
    )
    assert least.shape == mean.shape == most.shape
    assert (least <= mean + 1e-6).all()
    assert (mean <= most + 1e-6).all()
    for seed, epoch in enumerate(result["selected_epoch"]):
        tested = result["alphas"][seed]
        np.testing.assert_allclose(least[seed, epoch], tested.min(axis=0), atol=1e-6)
        np.testing.assert_allclose(most[seed, epoch], tested.max(axis=0), atol=1e-6)


def test_what_was_drawn(result, made):
    """All samples of few classes in every epoch, and 0.7 times as many of base ones."""
    drawn, counts = result["drawn_per_class"], result["class_counts"]
    assert drawn.dtype == np.uint8
    few = result["few_classes"]
    assert (drawn[..., few] == counts[few]).all()
    base = np.delete(np.arange(len(counts)), few)
    wanted = int(0.7 * counts[few].sum())
    assert abs(drawn[..., base].sum(axis=-1) - wanted).max() <= 1
    # Others for every seed and epoch.
    assert len({tuple(row) for seed in drawn for row in seed}) > 3


def test_validation_by_class(result, made):
    right, counts = result["val_correct_per_class"], result["val_class_counts"]
    labels = np.asarray(made.groups["val"]["labels"])
    np.testing.assert_array_equal(counts, np.bincount(labels, minlength=6))
    assert (right <= counts).all()
    np.testing.assert_allclose(
        right.sum(axis=-1) / counts.sum(), result["val_accuracy"], rtol=1e-12
    )
    for split, name in enumerate(("few", "medium", "many")):
        own = result[f"{name}_classes"]
        np.testing.assert_allclose(
            right[..., own].sum(axis=-1) / counts[own].sum(),
            result["val_acc_per_split"][..., split],
            rtol=1e-12,
        )


@pytest.mark.slow
def test_brief(result, made, tmp_path):
    """All else stays as it is."""
    brief = load_result(
        results_of_data.train(made, tmp_path / "w", *MORE, "--brief_result")
    )
    left_out = result.keys() - brief.keys()
    network = {name for name in result if name.startswith("network.")}
    assert network
    assert left_out == RECORD | network | {"class_means"}
    for name, array in brief.items():
        np.testing.assert_array_equal(array, result[name])


@pytest.mark.slow
def test_without_validation_data(made, tmp_path):
    found = load_result(
        results_of_data.train(
            made, tmp_path / "w", *MORE, "--config.training.val_datagrp="
        )
    )
    assert found.keys() & RECORD == RECORD - {
        "val_class_counts",
        "val_correct_per_class",
    }
