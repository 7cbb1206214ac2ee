"""The one function that trains, as a notebook calls it."""

import dataclasses
import weakref
from pathlib import Path

import numpy as np
import pytest
from test_experiment import SETTINGS, make_dataset

import alphanet_jax
from alphanet_jax.config.fields import FIELDS, Settings
from alphanet_jax.config.sweep import Point
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError
from alphanet_jax.experiment import cohorts, loop, problem, training

DATA = dataclasses.replace(make_dataset(), file_hashes={"made": "up"})
BASE = SETTINGS
EQUAL = ("seeds", "alphas", "weight_few", "test_pred", "epoch_loss", "selected_epoch")


def train(points, data=DATA, **options):
    lines = []
    trained = training.train(points, data, report=lines.append, **options)
    return trained, lines


def same(one, other):
    found, wanted = one.arrays(), other.arrays()
    assert found.keys() == wanted.keys()
    for name in found.keys() - {"config"}:
        np.testing.assert_array_equal(found[name], wanted[name], name)


@pytest.fixture(scope="module")
def plain():
    (trained,), lines = train(BASE)
    return trained, lines


class TestOnePoint:
    def test_is_exported(self):
        assert alphanet_jax.experiment.train is training.train

    def test_gives_what_the_loop_gives(self, plain):
        outcome = loop.run(problem.prepare(DATA, BASE), [0, 1])
        arrays = plain[0].arrays()
        for name in EQUAL:
            np.testing.assert_array_equal(arrays[name], getattr(outcome, name), name)
        np.testing.assert_array_equal(arrays["test_accuracy"], outcome.test.accuracy)

    @pytest.mark.slow
    def test_is_kept_in_memory_by_default(self, plain, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (trained,), _ = train(BASE)
        assert (trained.path, list(tmp_path.iterdir())) == (None, [])
        same(trained, plain[0])
        assert trained.arrays(["alphas"]).keys() == {"alphas"}

    def test_says_what_it_does(self, plain):
        _, lines = plain
        assert lines[0].startswith("Toy: 12 classes (3 few, 4 medium, 5 many), 6 feat")
        assert "\n2 seeds, 6 epochs of 12 + 9 samples, 3 neighbors" in lines[0]
        assert lines[1].startswith("memory: about")
        assert [line[:9] for line in lines[2:8]] == [f"epoch {i}/6" for i in "123456"]
        assert lines[8].startswith("seconds: compile ")
        assert len(lines) == 9

    @pytest.mark.slow
    def test_everything_on_disk_and_not_again(self, plain, tmp_path):
        places = {
            "workdir": tmp_path / "results",
            "ckpt_dir": str(tmp_path / "checkpoints"),
            "tb_logs": str(tmp_path / "logs"),
        }
        (first,), lines = train(BASE, **places)
        assert first.path == tmp_path / "results" / "result.npz"
        assert lines[-1] == f"saved {first.path}"
        same(first, plain[0])
        assert (tmp_path / "checkpoints" / "run.json").exists()
        assert list((tmp_path / "logs" / "seed_1").glob("events*"))
        (again,), lines = train(BASE, **places)
        assert lines == [f"done already: {first.path}"]
        assert (again.was_done, again.path) == (True, first.path)
        same(again, first)
        changed = dataclasses.replace(BASE, rho=0.3)
        before = first.path.read_bytes()
        message = "is of another run: rho 0.8, now 0.3; choose another --workdir, or gi"
        with pytest.raises(UserError, match=message):
            train(changed, workdir=first.path.parent)
        assert first.path.read_bytes() == before
        (other,), lines = train(changed, workdir=first.path.parent, overwrite=True)
        assert lines[0] == (
            f"{first.path} is of another run and will be replaced: rho 0.8, now 0.3"
        )
        assert not other.was_done

    @pytest.mark.slow
    def test_stopped_and_resumed_gives_the_same(self, plain, tmp_path):
        class Stop(Exception):  # noqa: N818
            pass

        def stop(line):
            if line.startswith("epoch 2/6"):
                raise Stop

        with pytest.raises(Stop):
            training.train(BASE, DATA, ckpt_dir=tmp_path, report=stop)
        (resumed,), lines = train(BASE, ckpt_dir=tmp_path)
        assert "resuming after epoch 2" in lines
        same(resumed, plain[0])

    def test_an_error_comes_when_the_result_is_asked_for(self, tmp_path):
        wild = dataclasses.replace(BASE, optim_params={"lr": 1e30})
        (failed,), lines = train(wild, workdir=tmp_path)
        assert lines[-1].startswith("failed: the loss is nan for seed 0")
        with pytest.raises(UserError, match="a lower learning rate may help"):
            failed.arrays()
        assert list(tmp_path.iterdir()) == []


class TestRowsKnownByHeart:
    """A classifier that has the few training rows right, and others wrong."""

    CALL = "note: the classifier gets 100.0 percent of the few classes' own training"

    def make(self, **changes):
        """Few classes 0 and 1 with 10 samples each, and their validation samples off.

        Args:
          **changes: Fields of the dataset that differ.
        """
        labels = np.concatenate([np.repeat(np.arange(4), 10)] * 2)
        right = 4 * np.eye(4, 6)[labels]
        wrong = 4 * np.eye(4, 6)[np.where(labels < 2, labels + 2, labels)]
        arguments = {
            "train": (right, labels),
            "val": (wrong, labels),
            "test": (right, labels),
            "weight": np.eye(4, 6),
            "splits": {"few": [0, 1], "medium": [2], "many": [3]},
        }
        return Dataset.from_arrays(**(arguments | changes))

    def lines(self, data, **changes):
        """Lists the lines about it before anything is compiled."""

        class Stop(Exception):  # noqa: N818
            pass

        lines = []

        def stop(line):
            lines.append(line)
            if line.startswith("memory"):
                raise Stop

        settings = dataclasses.replace(BASE, n_neighbors=1, **changes)
        points = [settings, dataclasses.replace(settings, rho=0.4)]
        with pytest.raises(Stop):
            training.train(points, data, report=stop)
        return [line for line in lines if line.startswith(self.CALL)]

    def test_is_said_once(self):
        (line,) = self.lines(self.make())
        assert "right, but 0.0 of their validation samples: it knows" in line

    def test_without_validation_data(self):
        wrong = self.make().val
        (line,) = self.lines(self.make(val=None, test=wrong))
        assert "right, but 0.0 of their test samples: it knows" in line
        assert self.lines(self.make(val=None)) == []  # which are those of training

    def test_where_nothing_is_trained(self):
        assert self.lines(self.make(), dummy_mode=True) == []
        assert self.lines(self.make(), train_epochs=0) == []


class TestArgumentsThatAreWrong:
    @pytest.mark.parametrize(
        ("points", "message"),
        [
            ("rho", "points must be Settings or Points of them, got 'rho'"),
            (None, "points must be Settings or Points of them, got None"),
            ([BASE, None], "points must be Settings or Points of them, got None"),
            (Point({"rho": 1}), "points must be Settings or Points of them"),
            (
                [dataclasses.replace(BASE, dataset=name) for name in "ab"],
                "points must be of one dataset, got 'a', 'b'",
            ),
        ],
    )
    def test_points(self, points, message):
        with pytest.raises(UserError, match=message):
            train(points)

    def test_what_is_loaded(self):
        with pytest.raises(UserError, match="settings must be Settings, such as"):
            training.load_data("x")

    def test_data(self):
        with pytest.raises(UserError, match="data must be a Dataset, got a str"):
            train(BASE, "quickstart")

    @pytest.mark.parametrize("name", ["workdir", "ckpt_dir", "tb_logs"])
    def test_places(self, tmp_path, name):
        file = tmp_path / "file"
        file.write_text("mine")
        for place in (file, str(file / "below" / "that")):
            with pytest.raises(UserError, match=f"--{name}: {file} is a file"):
                train(BASE, **{name: place})

    def test_numbers(self, tmp_path):
        with pytest.raises(UserError, match="--n_ckpt must be at least 1, got 0"):
            train(BASE, ckpt_dir=tmp_path, n_ckpt=0)

    @pytest.mark.slow
    def test_names_of_arrays(self, plain):
        with pytest.raises(UserError, match=r"a result has no arrays \['alpha'\]"):
            plain[0].arrays(["alphas", "alpha"])


class TestSeveralPoints:
    @pytest.mark.slow
    def test_settings_are_named_by_what_differs(self, tmp_path, plain):
        ended = []
        points = [BASE, dataclasses.replace(BASE, rho=0.3)]
        trained, lines = train(points, workdir=tmp_path, point_ended=ended.append)
        assert [one.point.title for one in trained] == ["rho=0.8", "rho=0.3"]
        assert trained[1].path == tmp_path / "rho_0.3" / "result.npz"
        assert {one.point.title for one in ended} == {"rho=0.8", "rho=0.3"}
        assert lines[0].endswith("2 points, 4 runs of 6 epochs")
        for name in EQUAL:
            np.testing.assert_allclose(
                trained[0].arrays()[name], plain[0].arrays()[name], 1e-5, 1e-5
            )

    def test_points_that_cannot_be_told_apart(self):
        with pytest.raises(UserError, match="two points have the same directory ''"):
            train([BASE, BASE])
        with pytest.raises(UserError, match="two points have the same title 'a'"):
            train([Point(BASE, "a", "x"), Point(BASE, "a", "y")])

    @pytest.mark.slow
    def test_one_that_fails_does_not_stop_the_others(self):
        wild = dataclasses.replace(BASE, optim_params={"lr": 1e30})
        trained, _ = train([wild, BASE])
        assert "the loss is" in str(trained[0].error)
        assert np.isfinite(trained[1].arrays()["alphas"]).all()

    @pytest.mark.slow
    def test_one_that_fails_does_not_stop_logs(self, tmp_path):
        wild = dataclasses.replace(BASE, optim_params={"lr": 1e30})
        trained, _ = train([wild, BASE], tb_logs=tmp_path)
        assert [one.error is None for one in trained] == [False, True]
        logged = tmp_path / trained[1].point.directory
        assert {path.name for path in logged.iterdir()} == {
            "seed_0", "seed_1", "mean", "min", "max"
        }  # fmt: skip

    @pytest.mark.slow
    def test_seeds_with_neighbors_of_their_own_are_one_point(self):
        settings = dataclasses.replace(BASE, nn_dist="random", nn_per_seed=True)
        (trained,), lines = train(settings)
        assert trained.arrays()["neighbors"].shape == (2, 3, 3)
        assert "2 seeds, 6 epochs" in lines[0]


# Two values for every field that can be swept, or one beside that of BASE.
CHANGES = {
    "seed": 4,
    "rho": 0.3,
    "selection": "reference",
    "pred_scale": 3.0,
    "precision": "tensorfloat32",
    "dummy_mode": True,
    "debug": True,
    "hdims": (5,),
    "hact": "relu",
    "n_neighbors": 2,
    "nn_dist": "cosine",
    "nn_per_seed": True,
    "optim_cls": "Adam",
    "optim_params": {"lr": 0.003, "weight_decay": 0.1},
    "lr_sched_cls": "ConstantLR",
    "lr_sched_params": {"step_size": 1, "gamma": 0.5},
    "train_epochs": 5,
    "min_epochs": 3,
    "train_batch_size": 4,
    "eval_batch_size": 16,
    "sampler_classes": ("AllFewSampler", "AllManySampler"),
    "sampler_args": ({}, {"r": 0.4}),
}


def with_change(name):
    change = {name: CHANGES[name]}
    if name == "lr_sched_cls":
        change["lr_sched_params"] = {"total_iters": 1}
    return dataclasses.replace(BASE, **change)


def test_every_field_is_named_here():
    assert list(CHANGES) == [f.attribute for f in FIELDS if f.sweepable]
    assert all(with_change(name) != BASE for name in CHANGES)


@pytest.mark.slow
def test_every_field_swept(plain):
    """All in one sweep, each as a run of its own: nothing leaks between points.

    One test, since the sweep is its greater part: test processes would each train it.
    """
    trained, _ = train([Point(with_change(name), name, name) for name in CHANGES])
    usual = plain[0].arrays()
    for name, point in zip(CHANGES, trained, strict=True):
        (alone,), _ = train(with_change(name))
        found, wanted = point.arrays(), alone.arrays()
        for array in EQUAL:
            np.testing.assert_allclose(
                found[array], wanted[array], 1e-4, 1e-5, err_msg=f"{name}: {array}"
            )
        assert str(found["config"]) == str(wanted["config"])
        equal = all(
            np.array_equal(found[array], usual[array])
            for array in (*EQUAL, "test_accuracy", "neighbors")
        )
        # These change how something is computed, checked or put in memory. On CPUs
        # both precisions are the same.
        exact = name in ("debug", "nn_per_seed", "precision", "eval_batch_size")
        assert exact or not equal, name


def test_debug_is_that_of_each_point(monkeypatch):
    """The second of two points checks its coefficients, the first does not."""
    original = loop.programs.train_epoch

    def doubled(*arguments):
        state, record = original(*arguments)
        return state, dataclasses.replace(record, alphas=2 * record.alphas)

    monkeypatch.setattr(loop.programs, "train_epoch", doubled)
    trained, _ = train([BASE, dataclasses.replace(BASE, debug=True)])
    assert trained[0].error is None
    assert "debug: coefficients" in str(trained[1].error)
    parts = cohorts.make_cohorts(
        [
            cohorts.Part(made, (0,))
            for made in problem.prepare_all(
                DATA, [(BASE, 0), (dataclasses.replace(BASE, debug=True), 0)]
            )
        ]
    )
    assert len(parts) == 1  # in one program all the same


@pytest.mark.slow
def test_repeated_runs_are_seen_by_nobody(tmp_path):
    """Three runs, two at a time: the third trains twice, and is told of once."""
    seen, flushed = [], []

    class Watcher:
        def epoch_ended(self, runs, epoch, losses, alphas, val):
            seen.append((tuple(run.seed for run in runs), len(losses), len(alphas)))
            assert len(val.accuracy) == len(runs)

        def resumed(self, runs, losses, mean_alphas, val):
            raise AssertionError("nothing was trained before")

        def flush(self):
            flushed.append(len(seen))

        def tested(self, runs, test):
            assert len(test.accuracy) == len(runs)

    class Store:
        def restore(self, name, like):
            assert len(like[1].losses) == {"0-0": 2, "0-2": 1}[name]

        def save(self, name, epochs_done, state):
            assert flushed[-1] == len(seen)  # before any checkpoint that has it
            assert len(state[1].losses) == {"0-0": 2, "0-2": 1}[name]

    parts = [cohorts.Part(problem.prepare(DATA, BASE), (5, 6, 7))]
    (plan,) = cohorts.plan_parts(parts)
    plan = dataclasses.replace(plan, runs_at_a_time=2)
    ((_, outcome),) = loop.run_parts(
        parts, plans=[plan], watcher=Watcher(), checkpoints=Store()
    )
    assert seen == [((5, 6), 2, 2)] * 6 + [((7,), 1, 1)] * 6
    assert outcome.seeds.tolist() == [5, 6, 7]
    assert len({alphas.tobytes() for alphas in outcome.alphas}) == 3


@pytest.mark.slow
def test_scores_of_one_batch_at_a_time(monkeypatch):
    """Where they are not shared, those of a batch of runs go before the next come."""
    made = []
    original = loop.CohortScores.score_training

    def watched(self, epochs):
        assert [one for one in made if one() is not None] == []
        rows = original(self, epochs)
        made.append(weakref.ref(rows.table.labels))
        return rows

    monkeypatch.setattr(loop.CohortScores, "score_training", watched)
    parts = [cohorts.Part(problem.prepare(DATA, BASE), (5, 6, 7))]
    (plan,) = cohorts.plan_parts(parts)
    plan = dataclasses.replace(plan, runs_at_a_time=1, shared_table=False)
    ((_, outcome),) = loop.run_parts(parts, plans=[plan])
    assert len(made) == len(outcome.seeds) == 3


def test_a_registry_is_found_by_settings(monkeypatch):
    root = Path(__file__).parents[1]
    settings = Settings(
        dataset="cifar100lt_effnetlite0_crt",
        registry=str(root / "configs" / "datasets.toml"),
        data_root=str(root),
    )
    assert training.load_data(settings).num_classes == 100
