import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from alphanet_jax import model
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.experiment import loop
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.posthoc.plus import L2_FACTORS

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


@pytest.mark.slow
def test_few_classes_do_badly_and_training_mends_them(
    synthetic: ModuleType, tiny: Dataset
) -> None:
    problem = problem_lib.prepare(tiny, synthetic.settings("tiny"))
    outcome = loop.run(problem, [0])
    few, medium, many = outcome.baseline_test.acc_per_split
    assert few < medium
    assert few < many
    assert outcome.test.acc_per_split[0, 0] > few
    assert outcome.epoch_loss[0, -1] < outcome.epoch_loss[0, 0]


@pytest.mark.parametrize("layer", ["batched", "original", "convolution", "linear"])
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
    problem = problem_lib.prepare(tiny, settings)
    params = loop.initial_params(problem, [3])
    batches = loop.epoch_batches(problem, [3])
    assert not batches[0].valid.all()  # the last batch is not full
    ours = loop.run(problem, [3], params=params, batches=batches)
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
def test_the_original_way_makes_the_same_classifier(
    synthetic: ModuleType, tiny: Dataset
) -> None:
    torch = pytest.importorskip("torch")
    way = importlib.import_module("original_way")
    problem = problem_lib.prepare(tiny, synthetic.settings("tiny"))
    few, base = tiny.few_classes.tolist(), tiny.base_classes.tolist()
    train = torch.utils.data.TensorDataset(
        torch.tensor(tiny.train.features), torch.tensor(tiny.train.labels).long()
    )
    neighbors = way.nearest_base_classes(train, few, base, 5)
    np.testing.assert_array_equal(neighbors, problem.neighbors)
    classifier = way.CorrectedClassifier(
        torch.tensor(tiny.weight), torch.tensor(tiny.bias), few, base, neighbors
    )
    params = jax.tree.map(lambda a: a[0], loop.initial_params(problem, [3]))
    arrays = model.params_to_torch(params).values()
    with torch.no_grad():
        for own, given in zip(classifier.parameters(), arrays, strict=True):
            own.copy_(torch.tensor(np.array(given)))
        theirs = classifier(train.tensors[0]).numpy()
    sources = problem.frozen.sources
    weight = tiny.weight.copy()
    weight[few] = model.combine(model.apply(params, sources), sources)
    np.testing.assert_allclose(
        theirs, tiny.train.features @ weight.T + tiny.bias, rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
def test_the_original_way_trains(
    synthetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    way = importlib.import_module("original_way")
    synthetic.ensure("tiny", tmp_path)
    way.main([f"--data={tmp_path}", "--epochs=4", f"--out={tmp_path / 'result.pt'}"])
    *said, test, seconds = capsys.readouterr().out.splitlines()
    losses = [float(line.split("loss")[1].split()[0]) for line in said]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert test.startswith("accuracy")
    assert seconds.split()[0] == "seconds:"
    assert seconds.split()[1::2] == ["load", "epochs", "evaluation"]
    assert (tmp_path / "result.pt").stat().st_size > 0


def test_side_by_side_compares_in_turns(
    synthetic: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    side_by_side = importlib.import_module("side_by_side")
    commands = []

    def measure(command: list[str]) -> dict[str, Any]:
        commands.append(command)
        original = "original_way" in " ".join(command)
        return {
            "seconds": 30.0 if original else 10.0,
            "processor_seconds": 60.0 if original else 5.0,
            "phases": {"epochs": 20.0} if original else {"epochs": 1.0},
        }

    monkeypatch.setattr(side_by_side, "measure", measure)
    side_by_side.main(
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--seeds=3",
            "--epochs=10",
            "--original_epochs=2",
            "--repeats=2",
            f"--json={tmp_path / 'record.json'}",
        ]
    )
    ran = ["original_way" in " ".join(command) for command in commands]
    assert ran == 2 * [False, True, False]
    # One turn finds compiled what its first process has compiled, and no other's.
    kept = [next(x for x in c if "compilation" in x) for c in commands[::3]]
    assert kept[0] != kept[1]
    figures = json.loads((tmp_path / "record.json").read_text())["figures"]
    # 10 s are no epochs, 20 s two of them; of ten, and three seeds.
    assert figures["original_seconds"] == pytest.approx(3 * (10 + 100))
    assert figures["original_processor_seconds"] == pytest.approx(3 * (20 + 200))
    assert figures["second_seconds_ratio"] == pytest.approx(33)
    assert figures["first_processor_seconds_ratio"] == pytest.approx(132)
    assert figures["epoch_ratio"] == pytest.approx(3 * 10 / 0.1)
    assert "33.0 x" in capsys.readouterr().out


def test_a_dataset_in_memory_has_the_shape_asked_for(synthetic: ModuleType) -> None:
    counts = synthetic.tail_counts(20, most=60, least=5)
    assert (counts[0], counts[-1]) == (60, 5)
    made = synthetic.make_dataset(
        counts, num_features=16, val_per_class=0, test_per_class=2
    )
    np.testing.assert_array_equal(made.class_counts, counts)
    assert made.train.features.shape == (counts.sum(), 16)
    assert made.val is None
    assert len(made.test.labels) == 40
    again = synthetic.make_dataset(
        counts, num_features=16, val_per_class=0, test_per_class=2
    )
    np.testing.assert_array_equal(made.train.features, again.train.features)


@pytest.mark.slow
@pytest.mark.parametrize("pred_scale", [1.0, 3.0])
def test_the_dense_formula_in_jax_gives_the_same_losses(
    synthetic: ModuleType, tiny: Dataset, pred_scale: float
) -> None:
    plain = importlib.import_module("plain")
    measuring = importlib.import_module("measuring")
    settings = synthetic.settings("tiny", train_epochs=1, pred_scale=pred_scale)
    problem = problem_lib.prepare(tiny, settings)
    params = loop.initial_params(problem, [3])
    batches = loop.epoch_batches(problem, [3])
    ours = loop.run(problem, [3], params=params, batches=batches).step_loss[0][0]
    theirs = plain.epoch_losses(
        problem,
        *jax.tree.map(lambda array: np.asarray(array)[0], (params, batches[0])),
    )
    assert len(theirs) == measuring.steps_of(batches[0].valid)
    assert measuring.relative_difference(ours, theirs) < 1e-4


def test_tables_are_aligned(synthetic: ModuleType) -> None:
    measuring = importlib.import_module("measuring")
    grid = measuring.format_grid(("what", "n"), [("a", "10"), ("longer", "1")])
    assert grid == "what     n\na       10\nlonger   1"
    rows = measuring.format_rows([("a", "10", "s"), ("longer", "1", "")])
    assert rows == "a       10 s\nlonger   1"


def _run(name: str, arguments: list[str], record: Path) -> tuple[str, dict[str, Any]]:
    """Runs a measurement as a person does; gives its output and its record."""
    finished = subprocess.run(
        [
            sys.executable,
            str(BENCHMARKS / f"{name}.py"),
            *arguments,
            f"--json={record}",
        ],
        cwd=BENCHMARKS.parent,
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    read: dict[str, Any] = json.loads(record.read_text())
    machine = read["machine"]
    assert machine["versions"]["jax"]
    assert machine["cores"] >= 1
    assert machine["device"]
    assert "data" not in read["arguments"]  # no paths
    return finished.stdout, read


@pytest.mark.slow
def test_imagenetlt_measures_a_run(synthetic: ModuleType, tmp_path: Path) -> None:
    table, record = _run(
        "imagenetlt",
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--seeds=2",
            "--epochs=2",
            "--repeats=2",
            "--profile_step",
        ],
        tmp_path / "record.json",
    )
    figures, training = record["figures"], record["training"]
    assert "whole process, first" in table
    assert "the plan's estimate" in table
    assert record["arguments"]["seeds"] == 2
    for process in record["processes"].values():
        assert 0 < process["peak_anonymous_mib"] <= process["peak_resident_mib"]
        assert sum(process["phases"].values()) > 0
        assert process["phases"]["epochs"] < process["seconds"]
    assert len(training["epoch"]) == 2
    assert figures["epoch_seconds"] == pytest.approx(np.median(training["epoch"]))
    assert figures["step_seconds"] * training["steps_per_epoch"] == pytest.approx(
        figures["epoch_seconds"] - figures["validation_seconds_per_epoch"]
    )
    layer = record["first_layer"]
    few, places = 10, 6
    assert len(layer["classifiers"]) == places
    assert max(layer["classifiers"]) <= few
    assert layer["flops"] == 2 * sum(layer["classifiers"]) * 24 * 2 * 32
    assert layer["flops_if_not_shared"] == 2 * few * places * 24 * 2 * 32
    for product in ("forward", "gradient"):
        part = layer[product]
        assert part["best_seconds"] <= part["seconds"]
        rate = layer["flops"] / part["seconds"] / 1e9
        assert part["gflops_per_second"] == pytest.approx(rate)
    profile = record["step_profile"]
    assert sum(profile["parts"].values()) == pytest.approx(
        np.median(profile["seconds"]["whole"])
    )
    for difference in training["loss_difference"].values():
        assert difference < 1e-4
    if importlib.util.find_spec("torch"):
        assert set(training["dense_epoch"]) == {"batched", "original"}
        ratio = 2 * np.median(training["dense_epoch"]["batched"])
        assert figures["dense_batched_epoch_ratio"] == pytest.approx(
            ratio / figures["epoch_seconds"]
        )


@pytest.mark.slow
def test_scaling_measures_seeds_and_sizes(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    chart = tmp_path / "chart.svg"
    table, record = _run(
        "scaling",
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--vary=seeds,samples",  # every size takes its own compilation
            "--seeds=1,2",  # as in other measurements
            "--grid=tiny",
            "--epochs=2",
            "--repeats=1",
            f"--chart={chart}",
        ],
        tmp_path / "record.json",
    )
    one, two = record["seeds"]
    assert (one["seeds"], two["seeds"]) == (1, 2)
    assert one["ratio_to_one"] == 1
    assert two["ratio_to_one"] == pytest.approx(
        two["epoch_seconds"] / one["epoch_seconds"]
    )
    varied = [size["varied"] for size in record["sizes"]]
    assert varied == ["samples", "samples"]
    assert len({size["samples"] for size in record["sizes"]}) == 2
    assert len({size["few"] for size in record["sizes"]}) == 1
    for measured in (*record["seeds"], *record["sizes"]):
        assert measured["steps"] > 0
        assert measured["loss_difference"] < 1e-4
    assert "classes" in table
    drawn = chart.read_text()
    assert "together in one process" in drawn
    assert "n separate runs" in drawn


@pytest.mark.slow
def test_sweep_measures_one_dataset_and_precisions(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    table, record = _run(
        "sweep",
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--seeds=2",
            "--epochs=2",
            "--limit=3",
            "--precision=highest,tf32",
        ],
        tmp_path / "record.json",
    )
    assert record["rho"] == [0.1, 1.0, 3.0]
    assert record["num_runs"] == 6
    (plan,) = record["plans"]
    assert plan["runs"] == 6
    assert plan["chunks"] == -(-6 // plan["runs_at_a_time"])
    for turns in record["turns"].values():
        assert len(turns) == 2
        assert turns[1]["compile"] < turns[0]["compile"]
        assert turns[0]["epochs"] < turns[0]["all"]
    found = record["differences"]["tf32"]
    if record["machine"]["backend"] == "cpu":
        assert "makes no difference" in table
        assert found["changed_predictions"] == 0
        assert found["largest_alpha_difference"] == 0


@pytest.mark.slow
def test_sweep_measures_the_papers_grid(synthetic: ModuleType, tmp_path: Path) -> None:
    table, record = _run(
        "sweep",
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--grid=paper",
            "--seeds=2",
            "--epochs=1",
            "--limit=2",
            "--only=places",
        ],
        tmp_path / "record.json",
    )
    assert [part["name"] for part in record["parts"]] == [
        "Places-LT, cRT",
        "Places-LT, LWS",
    ]
    for part in record["parts"]:
        assert (part["points"], part["points_in_all"], part["runs"]) == (2, 12, 4)
        assert part["seconds"]["all"] > 0
    assert table.splitlines()[-1].startswith("all")


def test_the_papers_grid_has_its_points(synthetic: ModuleType) -> None:
    sweep = importlib.import_module("sweep")
    points = {part.name: len(part.settings()) for part in sweep.paper_grid()}
    assert points["ImageNet-LT, cRT"] == 12
    assert points["iNaturalist, cRT"] == 5
    assert points["ImageNet-LT, neighbors"] == 2 * 10 * 4
    assert 10 * sum(points.values()) == 1810  # runs


@pytest.mark.slow
def test_alphanet_plus_is_measured(
    synthetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring = importlib.import_module("alphanet_plus")
    record = tmp_path / "record.json"
    arguments = [f"--data={tmp_path / 'data'}", "--profile=tiny", f"--json={record}"]
    measuring.main([*arguments, "--val"])
    found = json.loads(record.read_text())["alphanet_plus"]
    assert found["converged"]
    # The balanced head, and one for every weight of the prior.
    heads = set(range(1 + len(L2_FACTORS)))
    assert {step[0] for step in found["steps"]} == heads
    assert found["accuracy"]["alphanet+"]["few"] > found["accuracy"]["unchanged"]["few"]
    assert "passes over training samples" in capsys.readouterr().out
    assert {*measuring.CLOSED_FORMS, "alphanet+, as announced"} <= set(found["seconds"])
    measuring.main([*arguments, "--estimate", "--most_per_class=5"])
    assert f"{len(heads)} heads: about" in capsys.readouterr().err


@pytest.mark.slow
def test_classes_that_come_later_are_measured(
    synthetic: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measuring = importlib.import_module("new_classes")
    synthetic.ensure("tiny", tmp_path / "data")
    whole = synthetic.load("tiny", tmp_path / "data")
    monkeypatch.setattr(measuring, "embedded", lambda: whole)
    record = tmp_path / "record.json"
    measuring.main(["--seeds=1", "--limit=1", f"--json={record}"])
    found = json.loads(record.read_text())["new_classes"]
    for rows in found.values():
        assert rows["fitted rows"]["new"] > 0
        assert rows["fitted rows"]["base"] <= rows["before"]["base"] + 1
    assert "all fitted again" in capsys.readouterr().out


@pytest.mark.slow
def test_logs_are_measured(
    synthetic: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measuring = importlib.import_module("logs")
    record = tmp_path / "record.json"
    arguments = [f"--data={tmp_path / 'data'}", "--profile=tiny", f"--json={record}"]
    measuring.main([*arguments, "--seeds=2", "--epochs=2", "--repeats=1"])
    found = json.loads(record.read_text())["logs"]
    assert found["runs"] == 5  # seeds, and the mean, the least and the most
    assert 1000 < found["bytes"] < 100_000
    assert [len(taken) for taken in found["seconds"].values()] == [1, 1]
    assert "logs cost" in capsys.readouterr().out


@pytest.mark.slow
def test_every_second_of_a_whole_process_is_counted(
    synthetic: ModuleType, tmp_path: Path
) -> None:
    table, record = _run(
        "whole_process",
        [
            f"--data={tmp_path / 'data'}",
            "--profile=tiny",
            "--epochs=2",
            "--repeats=1",
        ],
        tmp_path / "record.json",
    )
    assert set(record["processes"]) == {"cold", "warm"}
    for (process,) in record["processes"].values():
        seen = [part for part in process["seconds"] if part["phase"] != "not seen"]
        counted = sum(part["seconds"] for part in seen)
        assert counted == pytest.approx(process["whole"], rel=0.05)
        phases = {part["phase"] for part in process["seconds"]}
        assert {"Python begins", "start of jax", "epochs", "controls"} <= phases
    cold, warm = (record["processes"][kind][0]["programs"] for kind in ("cold", "warm"))
    (name,) = (name for name in cold if name.startswith("train_epoch"))
    assert cold[name]["times"] == warm[name]["times"] == 1
    assert cold[name]["compile"] > warm[name]["compile"]
    assert "train_epoch" in table
