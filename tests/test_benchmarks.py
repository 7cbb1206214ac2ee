import importlib
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from alphanet_jax import experiment
from alphanet_jax.dataset import Dataset

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def synthetic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("synthetic")


@pytest.fixture
def tiny(synthetic: ModuleType, tmp_path: Path) -> Dataset:
    synthetic.main(["--profile=tiny", f"--out={tmp_path}"])
    return synthetic.load("tiny", tmp_path)


@pytest.mark.parametrize(
    ("name", "num_samples", "splits"),
    [
        ("imagenetlt", 115_846, (136, 479, 385)),
        ("placeslt", 62_500, (71, 163, 131)),
        ("inaturalist", 437_513, (3_224, 4_076, 842)),
        ("cifar", 10_847, (30, 35, 35)),
    ],
)
def test_profiles_have_the_published_totals(
    synthetic: ModuleType, name: str, num_samples: int, splits: tuple[int, ...]
) -> None:
    counts = synthetic.class_counts(name)
    assert counts.sum() == num_samples
    made = synthetic.make_splits(counts)
    assert tuple(len(made[split]) for split in ("few", "medium", "many")) == splits


def test_generated_data_has_its_class_sizes(
    synthetic: ModuleType, tiny: Dataset
) -> None:
    np.testing.assert_array_equal(tiny.class_counts, synthetic.class_counts("tiny"))
    assert tiny.val is not None
    np.testing.assert_array_equal(np.bincount(tiny.val.labels), np.full(30, 5))
    np.testing.assert_array_equal(np.bincount(tiny.test.labels), np.full(30, 10))
    assert tiny.train.features.dtype == np.float32


def test_generating_is_determined_by_the_seed(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    for directory, seed in (("a", 0), ("b", 0), ("c", 1)):
        synthetic.ensure("tiny", tmp_path / directory, seed=seed)
    a, b, c = (
        (tmp_path / directory / "features/synthetic/train.npy").read_bytes()
        for directory in "abc"
    )
    assert a == b
    assert a != c


def test_data_that_is_there_is_kept_and_other_data_refused(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    assert synthetic.ensure("tiny", tmp_path)
    assert not synthetic.ensure("tiny", tmp_path)
    with pytest.raises(SystemExit, match="choose another directory"):
        synthetic.ensure("tiny", tmp_path, seed=1)


def test_few_classes_do_badly_and_training_mends_them(
    synthetic: ModuleType, tiny: Dataset
) -> None:
    problem = experiment.prepare(tiny, synthetic.settings("tiny"))
    outcome = experiment.run(problem, [0])
    few, medium, many = outcome.baseline_test.acc_per_split
    assert few < medium
    assert few < many
    assert outcome.test.acc_per_split[0, 0] > few
    assert outcome.epoch_loss[0, -1] < outcome.epoch_loss[0, 0]


@pytest.mark.parametrize("layer", ["original", "convolution", "linear"])
@pytest.mark.parametrize("pred_scale", [1.0, 3.0])
def test_dense_training_gives_the_same_numbers(
    synthetic: ModuleType, tiny: Dataset, layer: str, pred_scale: float
) -> None:
    pytest.importorskip("torch")
    dense = importlib.import_module("dense")
    settings = synthetic.settings(
        "tiny",
        train_epochs=1,
        min_epochs=1,
        train_batch_size=20,
        eval_batch_size=64,
        pred_scale=pred_scale,
    )
    problem = experiment.prepare(tiny, settings)
    params = experiment.initial_params(problem, [3])
    batches = experiment.epoch_batches(problem, [3])
    assert not batches[0].valid.all()  # the last batch is not full
    ours = experiment.run(problem, [3], params=params, batches=batches)
    theirs = dense.train(
        problem,
        dense.first_seed(params),
        [dense.first_seed(epoch) for epoch in batches],
        layer=layer,
    )
    np.testing.assert_allclose(ours.step_loss[0][0], theirs.step_loss[0], 1e-5, 1e-4)
    np.testing.assert_allclose(ours.alphas[0], theirs.alphas, atol=1e-4)
    np.testing.assert_allclose(ours.val.accuracy[0], theirs.val_accuracy)


@pytest.mark.slow
def test_the_measurement_runs(
    synthetic: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measurement = importlib.import_module("imagenetlt")
    monkeypatch.setattr(measurement, "_PRODUCT_REPEATS", 1)
    record_file = tmp_path / "record.json"
    measurement.main(
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--seeds=2",
            "--epochs=2",
            "--repeats=1",
            f"--json={record_file}",
        ]
    )
    table = capsys.readouterr().out
    record = json.loads(record_file.read_text())
    assert "whole process, first" in table
    assert "share of a step" in table
    assert record["arguments"]["seeds"] == 2
    assert record["machine"]["versions"]["jax"]
    assert len(record["training"]["epoch"]) == 1
    for difference in record["training"]["loss_difference"].values():
        assert difference < 1e-4
