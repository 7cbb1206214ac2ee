"""TensorBoard logs: every tag, step and value, read back from the files."""

import collections
import dataclasses
import io
import os
import pathlib
import re
import struct
import sys
import threading

import numpy as np
import pytest
from stopped import uneven
from test_experiment import SETTINGS, make_dataset

from alphanet_jax.commands import cli
from alphanet_jax.errors import UserError
from alphanet_jax.eval import Metrics
from alphanet_jax.experiment import checkpoints, cohorts, event_files, loop, tb_logs
from alphanet_jax.experiment import problem as problem_lib
from alphanet_jax.experiment.cohorts import Part
from alphanet_jax.results import file as results

ROOT = pathlib.Path(__file__).parents[1]
QUICKSTART = f"--config={ROOT / 'configs' / 'quickstart.py'}"
EPOCHS = 3
SEEDS = (4, 9)
METRICS = ("accuracy", "top-5 accuracy", "f1")
CURVES = ("few", "medium", "many", "overall")
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
    from tensorboardX.record_writer import masked_crc32c

    content = path.read_bytes()
    at = 0
    while at < len(content):
        length, check = struct.unpack_from("<QI", content, at)
        assert check == masked_crc32c(content[at : at + 8])
        record = content[at + 12 : at + 12 + length]
        assert len(record) == length, "cut off"
        (check,) = struct.unpack_from("<I", content, at + 12 + length)
        assert check == masked_crc32c(record)
        yield record
        at += 12 + length + 4


def read_events(directory):
    """Yields the events of a directory, of its one file."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = pathlib.Path(directory).glob("events.out.tfevents.*")
    found = [Event.FromString(record) for record in read_records(path)]
    assert found[0].file_version == "brain.Event:2"
    assert not any(event.file_version for event in found[1:])
    assert all(event.wall_time > 1.5e9 for event in found)
    return found


def read(directory):
    """Reads the numbers of a directory: lists of (step, value) by tag."""
    found = collections.defaultdict(list)
    for event in read_events(directory):
        for value in event.summary.value:
            kind = value.WhichOneof("value")
            if kind == "tensor":
                assert value.tag == "custom_scalars__config__"
                continue
            assert kind in ("simple_value", "histo")
            found[value.tag].append((event.step, getattr(value, kind)))
    return dict(found)


def read_curve(run, tag, curve, *, subruns):
    """Reads one of several curves of a tag, wherever it is."""
    if not subruns:
        return read(run)[f"{tag}/{curve}"]
    found = read(run / tag / curve)
    assert set(found) == {tag}
    return found[tag]


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

    def resumed(self, *arguments):
        self.to.resumed(*arguments)

    def flush(self):
        self.to.flush()

    def tested(self, *arguments):
        self.to.tested(*arguments)


def make_points(*changes, val=True, seeds=SEEDS):
    settings = [dataclasses.replace(BASE, **change) for change in changes]
    problems = problem_lib.prepare_all(
        uneven(make_dataset(val=val)), [(s, 0) for s in settings]
    )
    return [Part(p, seeds, f"point {n}") for n, p in enumerate(problems)]


def train(root, points, *, subruns=False, **arguments):
    """Trains points with logs; gives their outcomes and what the logs were told."""
    names = {p.name: p.name.replace(" ", "/") for p in points}
    logs = tb_logs.TensorBoardLogs(root, names, subruns=subruns)
    watcher = Recorder(logs)
    found = {}
    try:
        for number, outcome in loop.run_parts(points, watcher=watcher, **arguments):
            found[number] = outcome
            logs.point_ended(points[number].name, outcome)
    finally:
        logs.close()
    return found, watcher


@pytest.fixture(scope="module", params=[False, True], ids=["runs", "subruns"])
def subruns(request):
    return request.param


@pytest.fixture(scope="module")
def logged(tmp_path_factory, subruns):
    """A point with validation data."""
    root = tmp_path_factory.mktemp("logs")
    before = set(threading.enumerate())
    found, watcher = train(root, make_points({}), subruns=subruns)
    assert not {t for t in set(threading.enumerate()) - before if "tensorboardX" in
                type(t).__module__}  # fmt: skip
    return root / "point" / "0", found[0], watcher


def same(found, wanted):
    np.testing.assert_array_equal(
        np.asarray(found, np.float32), np.asarray(wanted, np.float32)
    )


def tags_of(*, subruns, with_alphas):
    """The tags of a run's own directory."""
    several = [f"{group}/per_split_acc" for group in ("validation", "test")]
    found = {f"{group}/{name}" for group in ("validation", "test") for name in METRICS}
    found |= {"batch_loss"}
    if not subruns:
        found |= {f"{tag}/{curve}" for tag in several for curve in CURVES}
    if with_alphas:
        found |= {f"alphas/alpha_{place}_hist" for place in range(PLACES)}
        if not subruns:
            found |= {
                f"alphas/{kind}/{place}"
                for kind in ("mean", "min", "max")
                for place in range(PLACES)
            }
    return found


@pytest.mark.slow
class TestSeeds:
    def test_directories(self, logged, subruns):
        root, _, _ = logged
        expected = {f"seed_{seed}" for seed in SEEDS} | {"mean", "min", "max"}
        if subruns:
            of_metrics = {
                f"{group}/per_split_acc/{curve}"
                for group in ("validation", "test")
                for curve in CURVES
            }
            of_alphas = {
                f"alphas/{kind}/{place}"
                for kind in ("mean", "min", "max")
                for place in range(PLACES)
            }
            for run in list(expected):
                below = of_metrics | (of_alphas if "seed" in run else set())
                expected |= {f"{run}/{name}" for name in below}
        assert directories(root) == expected

    def test_tags(self, logged, subruns):
        root, _, _ = logged
        for seed in SEEDS:
            found = read(root / f"seed_{seed}")
            assert set(found) == tags_of(subruns=subruns, with_alphas=True)
        for kind in ("mean", "min", "max"):
            found = read(root / kind)
            assert set(found) == tags_of(subruns=subruns, with_alphas=False)

    def test_the_layout_has_few_medium_and_many_in_one_chart(self, logged, subruns):
        from tensorboardX.proto.layout_pb2 import Layout

        root, _, _ = logged
        for run in root.iterdir():
            made = [
                value
                for event in read_events(run)
                for value in event.summary.value
                if value.tag == "custom_scalars__config__"
            ]
            if subruns:  # sub-runs share a chart by themselves
                assert not made
                continue
            (value,) = made
            assert value.metadata.plugin_data.plugin_name == "custom_scalars"
            layout = Layout.FromString(value.tensor.string_val[0])
            charts = [chart for c in layout.category for chart in c.chart]
            tags = tags_of(subruns=False, with_alphas=True)
            shown = [
                {tag for tag in tags for regex in chart.multiline.tag
                 if re.match(regex, tag)}
                for chart in charts
            ]  # fmt: skip
            for group in ("validation", "test"):
                assert {f"{group}/per_split_acc/{c}" for c in CURVES} in shown
            for kind in ("mean", "min", "max"):
                assert {f"alphas/{kind}/{p}" for p in range(PLACES)} in shown
            assert len({chart.title for chart in charts}) == len(shown) == 5

    def test_size(self, logged, subruns):
        """Little more than the numbers, their names and a frame."""
        root, outcome, _ = logged
        (path,) = (root / f"seed_{SEEDS[0]}").glob("events.*")
        num_steps = max(losses.shape[1] for losses in outcome.step_loss)
        few = outcome.alphas.shape[1]
        most = tb_logs.bytes_of_run(
            num_epochs=EPOCHS, num_steps=num_steps, places=PLACES, few=few
        )
        assert path.stat().st_size < most < 30_000
        losses = sum(
            len(record) + 16 for record in read_records(path) if b"batch_loss" in record
        )
        real = np.concatenate([x[0] for x in outcome.step_loss])
        assert losses <= 50 * np.count_nonzero(~np.isnan(real))

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
    def test_alphas(self, logged, index, subruns):
        root, outcome, watcher = logged
        run = root / f"seed_{SEEDS[index]}"
        alphas = np.stack([epoch[3][index] for epoch in watcher.epochs])  # (E, F, k+1)
        np.testing.assert_allclose(
            alphas.mean(axis=1), outcome.mean_alphas[index], rtol=1e-5, atol=1e-6
        )
        for place in range(PLACES):
            column = alphas[:, :, place]
            for kind in ("mean", "min", "max"):
                series = read_curve(run, f"alphas/{kind}", str(place), subruns=subruns)
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
                assert histogram.bucket_limit[-1] == histogram.max
                below = (numbers[:, None] <= histogram.bucket_limit).sum(axis=0)
                np.testing.assert_array_equal(np.cumsum(histogram.bucket), below)

    @pytest.mark.parametrize("index", [0, 1])
    @pytest.mark.parametrize("group", ["validation", "test"])
    def test_metrics(self, logged, index, group, subruns):
        root, outcome, _ = logged
        run = root / f"seed_{SEEDS[index]}"
        metrics = outcome.val if group == "validation" else outcome.test
        when = [1, 2, 3] if group == "validation" else [0]  # without a step
        found = read(run)
        for name, array in (
            ("accuracy", metrics.accuracy),
            ("top-5 accuracy", metrics.top5),
            ("f1", metrics.f1),
        ):
            series = found[f"{group}/{name}"]
            assert steps(series) == when
            same(values(series), np.ravel(array[index]))
        by_split = np.atleast_2d(metrics.acc_per_split[index])
        for place, name in enumerate(CURVES):
            series = read_curve(run, f"{group}/per_split_acc", name, subruns=subruns)
            assert steps(series) == when
            wanted = by_split[:, place] if place < 3 else metrics.accuracy[index]
            same(values(series), np.ravel(wanted))


class TestOverSeeds:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["mean", "min", "max"])
    def test_numbers(self, logged, kind, subruns):
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
                ("top-5 accuracy", metrics.top5),
                ("f1", metrics.f1),
            ):
                assert steps(found[f"{group}/{name}"]) == when
                same(values(found[f"{group}/{name}"]), np.ravel(reduce(array, axis=0)))
            for place, split in enumerate(CURVES):
                tag = f"{group}/per_split_acc"
                series = read_curve(root / kind, tag, split, subruns=subruns)
                array = (
                    metrics.acc_per_split[..., place] if place < 3 else metrics.accuracy
                )
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

    @pytest.mark.slow
    def test_seventeen_seeds(self, tmp_path):
        points = make_points({}, seeds=tuple(range(17)))
        (plan,) = cohorts.plan_parts(points)
        assert plan.runs_at_a_time == 17
        found, _ = train(tmp_path, points, plans=[plan])
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

    def test_no_epochs(self, tmp_path):
        found, _ = train(tmp_path, make_points({"train_epochs": 0}))
        run = read(tmp_path / "point" / "0" / f"seed_{SEEDS[0]}")
        curves = {f"test/per_split_acc/{curve}" for curve in CURVES}
        assert set(run) == {f"test/{name}" for name in METRICS} | curves
        same(values(run["test/accuracy"]), found[0].test.accuracy[:1])


class Stopped(BaseException):
    """Stands for whatever ends a process."""


def whole(root, outcome):
    """Checks that every step and every epoch is there once, with its values."""
    for index, seed in enumerate(SEEDS):
        found = read(root / f"seed_{seed}")
        real = np.concatenate([x[index] for x in outcome.step_loss])
        real = real[~np.isnan(real)]
        assert steps(found["batch_loss"]) == list(range(1, len(real) + 1))
        same(values(found["batch_loss"]), real)
        for tag, array in (
            ("validation/accuracy", outcome.val.accuracy[index]),
            ("validation/per_split_acc/few", outcome.val.acc_per_split[index, :, 0]),
            ("alphas/mean/1", outcome.mean_alphas[index, :, 1]),
        ):
            assert steps(found[tag]) == [1, 2, 3]
            np.testing.assert_allclose(values(found[tag]), array, rtol=1e-5)
        assert steps(found["test/accuracy"]) == [0]
    assert directories(root) == {"mean", "min", "max", *(f"seed_{s}" for s in SEEDS)}


class TestGoesOn:
    """A run that was stopped, at any moment, and goes on."""

    def start(self, root, points, *, logs=True, stop=None):
        """Trains; `stop(what, epoch)` may end it before or after what is done."""

        class Store:
            def __init__(self, store):
                self.store = store

            def restore(self, *arguments):
                return self.store.restore(*arguments)

            def save(self, name, epochs_done, state):
                stop("logged", epochs_done)
                self.store.save(name, epochs_done, state)
                stop("saved", epochs_done)

        stop = stop or (lambda what, epoch: None)
        store, _ = checkpoints.open_store(
            root / "c",
            configs={"": {}},
            file_hashes={},
            plans=cohorts.plan_parts(points),
        )
        watcher = None
        if logs:
            watcher = tb_logs.TensorBoardLogs(root / "logs", {"point 0": ""})
        ((_, outcome),) = loop.run_parts(
            points, watcher=watcher, checkpoints=Store(store)
        )
        stop("trained", EPOCHS)
        if watcher is not None:
            watcher.point_ended("point 0", outcome)
        store.close()
        return outcome

    def stop_at(self, moment):
        def stop(what, epoch):
            if (what, epoch) == moment:
                raise Stopped

        return stop

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "moment", [("logged", 1), ("logged", 2), ("saved", 2), ("trained", EPOCHS)]
    )
    def test_without_losing_or_repeating_steps(self, tmp_path, moment):
        points = make_points({})
        with pytest.raises(Stopped):
            self.start(tmp_path, points, stop=self.stop_at(moment))
        # What is there can be read, though nothing was closed.
        cut = read(tmp_path / "logs" / f"seed_{SEEDS[0]}")
        assert steps(cut["validation/accuracy"]) == list(range(1, moment[1] + 1))
        whole(tmp_path / "logs", self.start(tmp_path, points))

    @pytest.mark.slow
    def test_where_a_record_was_cut_off(self, tmp_path):
        points = make_points({})
        with pytest.raises(Stopped):
            self.start(tmp_path, points, stop=self.stop_at(("saved", 2)))
        first, second = (
            next((tmp_path / "logs" / f"seed_{seed}").iterdir()) for seed in SEEDS
        )
        os.truncate(first, first.stat().st_size - 5)
        with second.open("ab") as file:
            file.write(bytes(100))
        outcome = self.start(tmp_path, points)
        whole(tmp_path / "logs", outcome)

    @pytest.mark.slow
    def test_what_was_trained_without_logs_is_made_up_for(self, tmp_path):
        points = make_points({})
        with pytest.raises(Stopped):
            self.start(tmp_path, points, logs=False, stop=self.stop_at(("saved", 2)))
        whole(tmp_path / "logs", self.start(tmp_path, points))
        found = read(tmp_path / "logs" / f"seed_{SEEDS[0]}")
        assert steps(found["alphas/alpha_1_hist"]) == [3]  # of others nothing is kept

    @pytest.mark.slow
    def test_without_checkpoints_it_begins_again(self, tmp_path):
        points = make_points({})
        logs = tb_logs.TensorBoardLogs(tmp_path / "logs", {"point 0": ""})
        watcher = Recorder(logs)

        def hook():
            logs.flush()
            if len(watcher.epochs) == 2:
                raise Stopped

        watcher.hook = hook
        with pytest.raises(Stopped):
            list(loop.run_parts(points, watcher=watcher))
        logs = tb_logs.TensorBoardLogs(tmp_path / "logs", {"point 0": ""})
        ((_, outcome),) = loop.run_parts(points, watcher=logs)
        logs.point_ended("point 0", outcome)
        whole(tmp_path / "logs", outcome)


def metrics(count):
    rng = np.random.default_rng(0)
    return Metrics(
        *rng.random((3, count)), rng.random((count, 3)), rng.random((count, 9))
    )


class TestWriting:
    RUN = (tb_logs.RunName("p", 3),)

    def logs(self, tmp_path, **options):
        return tb_logs.TensorBoardLogs(tmp_path, {"p": ""}, **options)

    def epoch(self, logs, epoch, alphas, runs=RUN):
        losses = np.full((len(runs), 2), 0.5)
        logs.epoch_ended(runs, epoch, losses, alphas, metrics(len(runs)))

    def test_coefficients_that_are_not_finite_have_no_histogram(self, tmp_path):
        logs = self.logs(tmp_path)
        alphas = np.random.default_rng(0).normal(size=(1, 5, 2))
        self.epoch(logs, 0, alphas)
        broken = alphas.copy()
        broken[0, 2, 1] = np.nan
        self.epoch(logs, 1, broken)
        logs.close()
        found = read(tmp_path / "seed_3")
        assert sorted(steps(found["alphas/alpha_0_hist"])) == [1, 2]
        assert steps(found["alphas/alpha_1_hist"]) == [1]
        assert np.isnan(dict(found["alphas/mean/1"])[2])
        assert len(found["batch_loss"]) == 4

    def test_they_are_written_together_after_a_while(self, tmp_path, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(tb_logs.time, "monotonic", lambda: now[0])
        logs = self.logs(tmp_path)
        alphas = np.ones((1, 5, 2))
        for epoch in range(50):
            self.epoch(logs, epoch, alphas)
        assert not directories(tmp_path)
        now[0] += 1.5
        self.epoch(logs, 50, alphas)
        assert steps(read(tmp_path / "seed_3")["validation/f1"]) == [*range(1, 52)]
        self.epoch(logs, 51, alphas)
        logs.flush()
        assert len(read(tmp_path / "seed_3")["validation/f1"]) == 52

    def test_points_that_are_done_are_not_logged(self, tmp_path):
        logs = self.logs(tmp_path)
        runs = (*self.RUN, tb_logs.RunName("done before", 3))
        self.epoch(logs, 0, np.ones((2, 5, 2)), runs)
        logs.tested(runs, metrics(2))
        logs.close()
        assert directories(tmp_path) == {"seed_3"}
        same(values(read(tmp_path / "seed_3")["test/f1"]), metrics(2).f1[:1])

    def test_logs_of_something_else_are_not_mixed_in(self, tmp_path):
        config = {"rho": 0.5, "seeds": 2}
        mark = tb_logs.mark_of(config, ["a", "b"])
        assert mark == tb_logs.mark_of({"rho": 0.5, "seeds": 5}, ["b", "a"])
        others = {
            tb_logs.mark_of({"rho": 0.1, "seeds": 2}, ["a", "b"]),
            tb_logs.mark_of(config, ["a"]),
        }
        assert len(others | {mark}) == 3
        logs = self.logs(tmp_path, marks={"p": mark})
        self.epoch(logs, 0, np.ones((1, 5, 2)))
        logs.close()
        tb_logs.check_free(tmp_path, [("", (3, 4), mark)])
        tb_logs.check_free(tmp_path, [("", (4,), "other")])
        with pytest.raises(UserError, match=r"^--tb_logs: \S+seed_3 has logs of other"):
            tb_logs.check_free(tmp_path, [("", (4, 3), "other")])
        assert read(tmp_path / "seed_3")

    @pytest.mark.parametrize("length", [4, 8, 255, 256, 257, 3000])
    def test_checksums(self, length):
        from tensorboardX.record_writer import masked_crc32c

        shape = (3, length)
        made = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        found = event_files._checksums(made).tolist()
        assert found == [masked_crc32c(row.tobytes()) for row in made]

    def test_steps_of_any_size(self, tmp_path):
        wanted = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21, 2**31]
        content = event_files.version_event() + event_files.events(
            event_files.scalar_values("a b", np.arange(8.0)),
            np.full(8, 1.6e9),
            np.asarray(wanted),
        )
        event_files.append(tmp_path / "events.out.tfevents.0", content)
        assert read(tmp_path) == {"a b": list(zip(wanted, range(8), strict=True))}

    def test_all_of_it_or_none(self, tmp_path, monkeypatch):
        """A disk that is full after some bytes."""
        path = tmp_path / "f"
        event_files.append(path, b"before")

        class Full(io.FileIO):
            def write(self, content):
                if len(content) < 50:
                    raise OSError(28, "No space left on device")
                return super().write(content[:60])

        def open_full(self, mode, buffering):
            return Full(self, mode)

        with monkeypatch.context() as patched:
            patched.setattr(pathlib.Path, "open", open_full)
            with pytest.raises(OSError, match="No space"):
                event_files.append(path, bytes(100))
        assert path.read_bytes() == b"before"
        event_files.append(path, b", after")
        assert path.read_bytes() == b"before, after"


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
        assert cli.main(["main.py", *arguments, "--tb_logs=logs"]) == 0
        runs = {f"{p}/{r}" for p in ("rho_0.1", "rho_0.5") for r in (
            "seed_0", "seed_1", "mean", "min", "max"
        )}  # fmt: skip
        found = directories("logs")
        assert found == runs
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
