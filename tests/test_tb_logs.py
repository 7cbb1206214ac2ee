"""TensorBoard logs: every tag, step and value, read back from the files."""

import collections
import dataclasses
import gc
import pathlib
import struct
import sys
import threading
import time

import numpy as np
import pytest
from test_checkpoints import uneven
from test_experiment import SETTINGS, make_dataset

from alphanet_jax.commands import cli
from alphanet_jax.experiment import checkpoints, cohorts, loop, tb_logs
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
EPOCHS = 3
SEEDS = (4, 9)
TOP5 = "top-5_accuracy"  # tensorboardX puts it where a space was
PLACES = SETTINGS.n_neighbors + 1
# Epochs that differ in their number of steps, and seeds in theirs.
BASE = dataclasses.replace(
    SETTINGS,
    train_epochs=EPOCHS,
    train_batch_size=3,
    sampler_classes=("AllFewSampler", "UniformBaseClassSampler"),
    rho=1.0,
)


def read_records(path):
    """Yields the records of a file: each with its length before it, and two sums."""
    content = path.read_bytes()
    at = 0
    while at < len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        record = content[at + 12 : at + 12 + length]
        assert len(record) == length, "cut off"
        yield record
        at += 12 + length + 4


def read(directory):
    """Reads the files of a directory itself: lists of (step, value) by tag."""
    from tensorboardX.proto.event_pb2 import Event

    found = collections.defaultdict(list)
    for path in sorted(pathlib.Path(directory).glob("events.out.tfevents.*")):
        for record in read_records(path):
            event = Event.FromString(record)
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                assert kind in ("simple_value", "histo")
                found[value.tag].append((event.step, getattr(value, kind)))
    return dict(found)


def directories(root):
    """All directories with event files, relative to one."""
    return {
        path.parent.relative_to(root).as_posix()
        for path in pathlib.Path(root).rglob("events.out.tfevents.*")
    }


def values(series):
    return np.asarray([value for _, value in series])


def steps(series):
    return [step for step, _ in series]


class Recorder:
    """A watcher that passes everything on, and keeps what it was told."""

    def __init__(self, to):
        self.to, self.epochs, self.hook = to, [], lambda: None

    def epoch_ended(self, *arguments):
        self.epochs.append(arguments)
        self.to.epoch_ended(*arguments)
        self.hook()

    def skip_steps(self, *arguments):
        self.to.skip_steps(*arguments)

    def tested(self, *arguments):
        self.to.tested(*arguments)


def assert_no_more_threads(before):
    """Every writer that is open has some; those of a closed one end soon."""
    most = time.monotonic() + 10
    while left := {
        type(thread).__module__ + "." + thread.name
        for thread in set(threading.enumerate()) - before
        if "tensorboardX" in type(thread).__module__ or "Queue" in thread.name
    }:
        gc.collect()
        assert time.monotonic() < most, left
        time.sleep(0.05)


def make_points(*changes, val=True, seeds=SEEDS):
    settings = [dataclasses.replace(BASE, **change) for change in changes]
    problems = problem_lib.prepare_all(
        uneven(make_dataset(val=val)), [(s, 0) for s in settings]
    )
    return [Part(p, seeds, f"point {n}") for n, p in enumerate(problems)]


def train(root, points, **arguments):
    """Trains points with logs; gives their outcomes and what the logs were told."""
    names = {p.name: p.name.replace(" ", "/") for p in points}
    logs = tb_logs.TensorBoardLogs(root, names)
    watcher = Recorder(logs)
    found = {}
    try:
        for number, outcome in loop.run_parts(points, watcher=watcher, **arguments):
            found[number] = outcome
            logs.point_ended(points[number].name, outcome)
    finally:
        logs.close()
    return found, watcher


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A point with validation data."""
    root = tmp_path_factory.mktemp("logs")
    before = set(threading.enumerate())
    found, watcher = train(root, make_points({}))
    assert_no_more_threads(before)
    return root / "point" / "0", found[0], watcher


def same(found, wanted):
    np.testing.assert_array_equal(
        np.asarray(found, np.float32), np.asarray(wanted, np.float32)
    )


@pytest.mark.slow
class TestSeeds:
    @pytest.mark.slow
    def test_directories(self, logged):
        root, _, _ = logged
        split_runs = {"few", "medium", "many", "overall"}
        of_metrics = {
            f"{group}/per_split_acc/{run}"
            for group in ("validation", "test")
            for run in split_runs
        }
        of_alphas = {
            f"alphas/{kind}/{place}"
            for kind in ("mean", "min", "max")
            for place in range(PLACES)
        }
        expected = set()
        for seed in SEEDS:
            expected |= {f"seed_{seed}"}
            expected |= {f"seed_{seed}/{run}" for run in of_metrics | of_alphas}
        for kind in ("mean", "min", "max"):
            expected |= {kind} | {f"{kind}/{run}" for run in of_metrics}
        assert directories(root) == expected

    def test_tags(self, logged):
        root, _, _ = logged
        metrics = {
            f"{group}/{name}"
            for group in ("validation", "test")
            for name in ("accuracy", TOP5, "f1")
        }
        histograms = {f"alphas/alpha_{place}_hist" for place in range(PLACES)}
        for seed in SEEDS:
            found = read(root / f"seed_{seed}")
            assert set(found) == {"batch_loss"} | metrics | histograms
        for kind in ("mean", "min", "max"):
            assert set(read(root / kind)) == {"batch_loss"} | metrics

    @pytest.mark.parametrize("index", [0, 1])
    def test_losses(self, logged, index):
        root, outcome, _ = logged
        found = read(root / f"seed_{SEEDS[index]}")["batch_loss"]
        losses = [epoch[index] for epoch in outcome.step_loss]
        real = np.concatenate([loss[~np.isnan(loss)] for loss in losses])
        assert steps(found) == list(range(1, len(real) + 1))
        same(values(found), real)

    def test_the_data_has_epochs_of_several_lengths(self, logged):
        _, outcome, _ = logged
        lengths = [(~np.isnan(loss)).sum(axis=1) for loss in outcome.step_loss]
        assert len({int(n) for n in np.ravel(lengths)}) > 1

    @pytest.mark.parametrize("index", [0, 1])
    def test_alphas(self, logged, index):
        root, outcome, watcher = logged
        run = root / f"seed_{SEEDS[index]}"
        alphas = np.stack([epoch[3][index] for epoch in watcher.epochs])  # (E, F, k+1)
        np.testing.assert_allclose(
            alphas.mean(axis=1), outcome.mean_alphas[index], rtol=1e-5, atol=1e-6
        )
        for place in range(PLACES):
            column = alphas[:, :, place]
            for kind in ("mean", "min", "max"):
                found = read(run / "alphas" / kind / str(place))
                assert set(found) == {f"alphas/{kind}"}
                series = found[f"alphas/{kind}"]
                assert steps(series) == [1, 2, 3]
                same(values(series), getattr(column, kind)(axis=1))
            series = read(run)[f"alphas/alpha_{place}_hist"]
            assert steps(series) == [1, 2, 3]
            for (_, histogram), numbers in zip(series, column, strict=True):
                assert histogram.num == len(numbers)
                assert np.isclose(histogram.min, numbers.min())
                assert np.isclose(histogram.max, numbers.max())
                assert np.isclose(histogram.sum, numbers.sum(), atol=1e-6)
                assert sum(histogram.bucket) == len(numbers)

    @pytest.mark.parametrize("index", [0, 1])
    @pytest.mark.parametrize("group", ["validation", "test"])
    def test_metrics(self, logged, index, group):
        root, outcome, _ = logged
        run = root / f"seed_{SEEDS[index]}"
        metrics = outcome.val if group == "validation" else outcome.test
        when = [1, 2, 3] if group == "validation" else [0]  # without a step
        found = read(run)
        for name, array in (
            ("accuracy", metrics.accuracy),
            (TOP5, metrics.top5),
            ("f1", metrics.f1),
        ):
            series = found[f"{group}/{name}"]
            assert steps(series) == when
            same(values(series), np.ravel(array[index]))
        by_split = np.atleast_2d(metrics.acc_per_split[index])
        for place, name in enumerate(("few", "medium", "many", "overall")):
            found = read(run / group / "per_split_acc" / name)
            series = found[f"{group}/per_split_acc"]
            assert set(found) == {f"{group}/per_split_acc"}
            assert steps(series) == when
            wanted = by_split[:, place] if place < 3 else metrics.accuracy[index]
            same(values(series), np.ravel(wanted))


class TestOverSeeds:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["mean", "min", "max"])
    def test_numbers(self, logged, kind):
        root, outcome, _ = logged
        reduce = getattr(np, kind)
        found = read(root / kind)
        # Of the steps that all seeds have.
        losses = [epoch[:, ~np.isnan(epoch).any(axis=0)] for epoch in outcome.step_loss]
        wanted = reduce(np.concatenate(losses, axis=1), axis=0)
        assert steps(found["batch_loss"]) == list(range(1, len(wanted) + 1))
        same(values(found["batch_loss"]), wanted)
        for group, metrics, when in (
            ("validation", outcome.val, [1, 2, 3]),
            ("test", outcome.test, [0]),
        ):
            for name, array in (
                ("accuracy", metrics.accuracy),
                (TOP5, metrics.top5),
                ("f1", metrics.f1),
            ):
                assert steps(found[f"{group}/{name}"]) == when
                same(values(found[f"{group}/{name}"]), np.ravel(reduce(array, axis=0)))
            for place, split in enumerate(("few", "medium", "many", "overall")):
                runs = read(root / kind / group / "per_split_acc" / split)
                array = (
                    metrics.acc_per_split[..., place] if place < 3 else metrics.accuracy
                )
                series = runs[f"{group}/per_split_acc"]
                assert steps(series) == when
                same(values(series), np.ravel(reduce(array, axis=0)))

    @pytest.mark.slow
    def test_they_differ(self, logged):
        root, _, _ = logged
        least, mean, most = (
            values(read(root / kind)["batch_loss"]) for kind in ("min", "mean", "max")
        )
        assert (least < mean).all()
        assert (mean < most).all()


class TestRuns:
    @pytest.mark.slow
    def test_without_validation_data(self, tmp_path):
        found, _ = train(tmp_path, make_points({}, val=False))
        run = tmp_path / "point" / "0" / f"seed_{SEEDS[0]}"
        tags = set(read(run))
        assert not any(tag.startswith("validation") for tag in tags)
        assert {"batch_loss", "test/accuracy"} <= tags
        same(values(read(run)["test/accuracy"]), found[0].test.accuracy[:1])
        assert not any("validation" in name for name in directories(tmp_path))

    @pytest.mark.slow
    def test_points_of_a_sweep(self, tmp_path):
        points = make_points({"rho": 0.5}, {"rho": 1.0})
        found, _ = train(tmp_path, points)
        for number, outcome in found.items():
            for index, seed in enumerate(SEEDS):
                run = tmp_path / "point" / str(number) / f"seed_{seed}"
                real = np.concatenate([x[index] for x in outcome.step_loss])
                same(values(read(run)["batch_loss"]), real[~np.isnan(real)])

    def test_many_at_a_time_are_written_at_the_end(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tb_logs, "_MOST_OPEN", 1)
        points = make_points({})
        logs = tb_logs.TensorBoardLogs(tmp_path, {"point 0": ""})
        watcher = Recorder(logs)
        there = []
        watcher.hook = lambda: there.append(directories(tmp_path))
        ((_, outcome),) = loop.run_parts(points, watcher=watcher)
        logs.close()
        assert there == [set()] * EPOCHS
        for index, seed in enumerate(SEEDS):
            found = read(tmp_path / f"seed_{seed}")
            real = np.concatenate([x[index] for x in outcome.step_loss])
            same(values(found["batch_loss"]), real[~np.isnan(real)])
            assert steps(found["validation/f1"]) == [1, 2, 3]

    @pytest.mark.slow
    def test_seventeen_seeds(self, tmp_path):
        points = make_points({}, seeds=tuple(range(17)))
        (plan,) = cohorts.plan_parts(points)
        assert plan.runs_at_a_time == 17
        before = set(threading.enumerate())
        found, _ = train(tmp_path, points, plans=[plan])
        assert_no_more_threads(before)
        for seed in range(17):
            series = read(tmp_path / "point" / "0" / f"seed_{seed}")
            assert steps(series["validation/accuracy"]) == [1, 2, 3]
            same(values(series["test/f1"]), found[0].test.f1[seed : seed + 1])

    @pytest.mark.slow
    def test_a_group_that_is_filled_up(self, tmp_path):
        """Runs that repeat the last one, for equal shapes, are logged once."""
        points = make_points({}, seeds=(1, 2, 3))
        (plan,) = cohorts.plan_parts(points)
        plan = dataclasses.replace(plan, runs_at_a_time=2)
        found, _ = train(tmp_path, points, plans=[plan])
        for index, seed in enumerate((1, 2, 3)):
            series = read(tmp_path / "point" / "0" / f"seed_{seed}")
            real = np.concatenate([x[index] for x in found[0].step_loss])
            same(values(series["batch_loss"]), real[~np.isnan(real)])
            assert steps(series["test/accuracy"]) == [0]

    @pytest.mark.slow
    def test_a_resumed_run_goes_on_counting(self, tmp_path):
        points = make_points({})

        def open_store():
            return checkpoints.open_store(
                tmp_path / "c",
                configs={"": {}},
                file_hashes={},
                plans=cohorts.plan_parts(points),
            )[0]

        logs = tb_logs.TensorBoardLogs(tmp_path / "logs", {"point 0": ""})
        watcher = Recorder(logs)

        def hook():
            if len(watcher.epochs) == 2:
                raise KeyboardInterrupt

        watcher.hook = hook
        store = open_store()
        with pytest.raises(KeyboardInterrupt):
            list(loop.run_parts(points, watcher=watcher, checkpoints=store))
        logs.close()
        store.close()
        time.sleep(1.1)  # files are named after the second in which they are opened
        logs = tb_logs.TensorBoardLogs(tmp_path / "logs", {"point 0": ""})
        store = open_store()
        ((_, outcome),) = loop.run_parts(points, watcher=logs, checkpoints=store)
        logs.point_ended("point 0", outcome)
        logs.close()
        store.close()
        for index, seed in enumerate(SEEDS):
            found = read(tmp_path / "logs" / f"seed_{seed}")
            real = np.concatenate([x[index] for x in outcome.step_loss])
            real = real[~np.isnan(real)]
            # The epoch between whose log and checkpoint it was stopped comes twice,
            # with the same values.
            second = outcome.step_loss[1][index]
            repeated = np.count_nonzero(~np.isnan(second))
            assert len(found["batch_loss"]) == len(real) + repeated
            in_order = sorted(set(found["batch_loss"]))
            assert steps(in_order) == list(range(1, len(real) + 1))
            same(values(in_order), real)
            assert steps(sorted(found["validation/accuracy"])) == [1, 2, 2, 3]
            series = sorted(set(found["validation/accuracy"]))
            assert steps(series) == [1, 2, 3]
            same(values(series), outcome.val.accuracy[index])
            assert steps(found["test/accuracy"]) == [0]
        mean = read(tmp_path / "logs" / "mean")["batch_loss"]
        assert steps(mean) == list(range(1, len(mean) + 1))

    def test_no_epochs(self, tmp_path):
        found, _ = train(tmp_path, make_points({"train_epochs": 0}))
        run = read(tmp_path / "point" / "0" / f"seed_{SEEDS[0]}")
        assert set(run) == {"test/accuracy", f"test/{TOP5}", "test/f1"}
        same(values(run["test/accuracy"]), found[0].test.accuracy[:1])


class TestCommand:
    @pytest.fixture(autouse=True)
    def _own_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
        monkeypatch.delitem(sys.modules, "config_config", raising=False)

    @pytest.mark.slow
    def test_a_sweep(self, tmp_path, capsys):
        arguments = [
            QUICKSTART, "--workdir=w", "--config.rho=(0.1, 0.5)", "--config.seeds=2",
            "--config.training.train_epochs=2", "--config.training.min_epochs=1",
        ]  # fmt: skip
        before = set(threading.enumerate())
        assert cli.main(["main.py", *arguments, "--tb_logs=logs"]) == 0
        assert_no_more_threads(before)
        runs = {f"{p}/{r}" for p in ("rho_0.1", "rho_0.5") for r in (
            "seed_0", "seed_1", "mean", "min", "max"
        )}  # fmt: skip
        found = directories("logs")
        assert runs <= found
        assert {"/".join(name.split("/")[:2]) for name in found} == runs
        for point in ("rho_0.1", "rho_0.5"):
            result = results.load_result(pathlib.Path("w") / point / "result.npz")
            for seed in (0, 1):
                series = read(f"logs/{point}/seed_{seed}")
                same(values(series["validation/f1"]), result["val_f1"][seed])
                same(values(series["test/f1"]), result["test_f1"][seed : seed + 1])
                losses = values(series["batch_loss"]).reshape(2, -1)
                np.testing.assert_allclose(
                    losses.mean(axis=1), result["epoch_loss"][seed], rtol=1e-5
                )
            mean = read(f"logs/{point}/mean")
            np.testing.assert_allclose(
                values(mean["test/accuracy"]), result["test_accuracy"].mean(), rtol=1e-6
            )
        # Logs change nothing, and what is done is not logged again.
        once = pathlib.Path("w/rho_0.1/result.npz").read_bytes()
        assert cli.main(["main.py", *arguments, "--tb_logs=again"]) == 0
        assert not pathlib.Path("again").exists()
        arguments[1] = "--workdir=plain"
        assert cli.main(["main.py", *arguments]) == 0
        assert pathlib.Path("plain/rho_0.1/result.npz").read_bytes() == once
