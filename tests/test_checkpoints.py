"""States of training are kept, found again, and told from those of something else."""

import dataclasses
import json
import os
import shutil

import jax
import pytest
from stopped import (
    CONFIGS,
    HASHES,
    PLAN,
    assert_same_state,
    damage,
    make_state,
    noisy,
    open_store,
    settle,
    snapshot,
    states,
)

from alphanet_jax.errors import UserError


@pytest.fixture
def noise():
    yield
    settle()


@pytest.fixture
def store(tmp_path):
    made, _ = open_store(tmp_path / "c")
    yield made
    made.close()


class TestStore:
    @pytest.mark.slow
    def test_nothing_there(self, store):
        assert store.restore("0-0", make_state(0)) is None

    @pytest.mark.slow
    def test_round_trip(self, store, tmp_path):
        store.save("0-0", 1, make_state(1))
        store.save("1-0", 4, make_state(2))
        again, _ = open_store(tmp_path / "c")
        for place in (store, again):
            epochs, state = place.restore("0-0", make_state(9))
            assert epochs == 1
            assert_same_state(state, make_state(1))
            epochs, state = place.restore("1-0", make_state(9))
            assert epochs == 4
            assert_same_state(state, make_state(2))
        again.close()

    def test_arrays_of_the_host_can_be_written_to(self, store):
        store.save("0-0", 1, make_state(1))
        _, (_, history) = store.restore("0-0", make_state(9))
        history.losses[:, 2] = 1.0
        for column in history.val:
            column[:, 3] = 1
        assert (history.losses[:, 2] == 1).all()

    def test_what_was_saved_may_change_afterwards(self, store):
        state = make_state(1)
        store.save("0-0", 1, state)
        state[1].losses[:] = 5.0
        _, restored = store.restore("0-0", make_state(9))
        assert_same_state(restored, make_state(1))

    @pytest.mark.slow
    @pytest.mark.parametrize("keep", [1, 3])
    def test_the_newest_are_kept(self, tmp_path, keep):
        store, _ = open_store(tmp_path / "c", keep=keep)
        for epoch in range(1, 6):
            store.save("0-0", epoch, make_state(epoch))
            newest = list(range(max(1, epoch - keep + 1), epoch + 1))
            assert states(tmp_path / "c") == {"runs_0-0": newest}
            assert store.restore("0-0", make_state(9))[0] == epoch
        store.close()

    @pytest.mark.slow
    @noisy
    @pytest.mark.usefixtures("noise")
    @pytest.mark.parametrize("size", [0.0, 0.5])
    def test_any_one_damaged_file(self, store, tmp_path, size):
        """Either the state is as it was, or the one before is taken."""
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        whole = tmp_path / "c"
        names = [
            path.relative_to(whole)
            for path in sorted((whole / "runs_0-0" / "2").rglob("*"))
            if path.is_file()
        ]
        assert len(names) > 5
        taken = []
        for index, name in enumerate(names):
            directory = tmp_path / str(index)
            shutil.copytree(whole, directory)
            path = directory / name
            os.truncate(path, int(size * path.stat().st_size))
            other, _ = open_store(directory)
            epochs, state = other.restore("0-0", make_state(9))
            other.close()
            assert_same_state(state, make_state(epochs))
            taken.append(epochs)
        assert 1 in taken  # files with numbers are among them

    def test_a_state_that_was_being_written_does_not_count(self, tmp_path):
        store, _ = open_store(tmp_path / "c")
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        store.close()
        # Orbax writes to such a directory, and renames it when all is there.
        newest = tmp_path / "c" / "runs_0-0" / "2"
        newest.rename(newest.with_name("2.orbax-checkpoint-tmp"))
        again, _ = open_store(tmp_path / "c")
        epochs, state = again.restore("0-0", make_state(9))
        assert epochs == 1
        assert_same_state(state, make_state(1))
        again.save("0-0", 2, make_state(2))
        again.close()
        assert sorted(p.name for p in newest.parent.iterdir()) == ["1", "2"]

    @pytest.mark.slow
    @noisy
    @pytest.mark.usefixtures("noise")
    def test_all_damaged(self, store, tmp_path):
        for epoch in (1, 2):
            store.save("0-0", epoch, make_state(epoch))
        damage(tmp_path / "c")
        again, _ = open_store(tmp_path / "c")
        with pytest.raises(UserError, match="no checkpoint can be read") as raised:
            again.restore("0-0", make_state(9))
        again.close()
        text = str(raised.value)
        assert str(tmp_path / "c" / "runs_0-0") in text
        assert "--load_from_ckpt=false starts anew" in text
        assert "\n" not in text
        assert states(tmp_path / "c") == {"runs_0-0": [1, 2]}


class TestOpenStore:
    @pytest.fixture
    def directory(self, store, tmp_path):
        store.save("0-0", 1, make_state(1))
        return tmp_path / "c"

    def test_the_same_experiment(self, directory):
        # Where files lie does not count, nor how runs would be grouped now.
        moved = {"": CONFIGS[""] | {"data_root": "there"}}
        hashes = {"there/a.npy": "11", "there/b.npy": "22"}
        plan = dataclasses.replace(PLAN, runs_at_a_time=1, limit=5)
        store, plans = open_store(
            directory, configs=moved, file_hashes=hashes, plans=[plan]
        )
        assert plans == [PLAN]
        assert store.restore("0-0", make_state(9))[0] == 1
        store.close()

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            (
                {"configs": {"": CONFIGS[""] | {"rho": 0.5}}},
                ["rho 0.1, now 0.5"],
            ),
            (
                {"configs": {"": {"rho": 0.2, "training": {"n_neighbors": 4}}}},
                ["rho 0.1, now 0.2", "training.n_neighbors 5, now 4"],
            ),
            (
                {"file_hashes": HASHES | {"b.npy": "33"}},
                ["other input files (b.npy)"],
            ),
            ({"file_hashes": HASHES | {"c.npy": "33"}}, ["other input files (c.npy)"]),
            (
                {"configs": {"rho=0.1": CONFIGS[""]}},
                ["rho=0.1: not among them"],
            ),
        ],
    )
    def test_another_experiment_is_refused(self, directory, changes, told):
        before = snapshot(directory)
        with pytest.raises(UserError) as raised:
            open_store(directory, **changes)
        text = str(raised.value)
        assert all(part in text for part in told)
        assert text.startswith(f"the checkpoints in {directory} are of another")
        assert "--load_from_ckpt=false" in text
        assert "\n" not in text
        assert snapshot(directory) == before
        # And so it can be started anew.
        store, _ = open_store(directory, load=False, **changes)
        assert store.restore("0-0", make_state(9)) is None
        store.close()

    def test_other_points(self, tmp_path):
        def configs(*rates):
            return {f"rho={r}": {"rho": r} for r in rates}

        open_store(tmp_path / "c", configs=configs(0.1, 0.2))[0].close()
        with pytest.raises(UserError) as raised:
            open_store(tmp_path / "c", configs=configs(0.2, 0.3))
        text = str(raised.value)
        assert "rho=0.1: not asked for now" in text
        assert "rho=0.3: not among them" in text
        assert "rho=0.2" not in text

    def test_devices_that_cannot_share_the_runs(self, directory, monkeypatch):
        monkeypatch.setattr(jax, "device_count", lambda: 2)
        open_store(directory)[0].close()
        monkeypatch.setattr(jax, "device_count", lambda: 3)
        with pytest.raises(UserError, match="4 runs at a time, which 3 devices cannot"):
            open_store(directory)
        open_store(directory, load=False)[0].close()

    def test_starting_anew_removes_the_states(self, directory):
        store, _ = open_store(directory, load=False)
        assert store.restore("0-0", make_state(9)) is None
        assert states(directory) in ({}, {"runs_0-0": []})
        store.close()

    @pytest.mark.parametrize("load", [True, False])
    @pytest.mark.parametrize("name", ["result.npz", "deep/er/notes.txt"])
    def test_a_directory_of_something_else_is_left_alone(self, tmp_path, load, name):
        path = tmp_path / "c" / name
        path.parent.mkdir(parents=True)
        path.write_text("precious")
        with pytest.raises(UserError, match="holds files that are no checkpoints"):
            open_store(tmp_path / "c", load=load)
        assert path.read_text() == "precious"
        assert snapshot(tmp_path / "c")[name] == b"precious"
        assert not (tmp_path / "c" / "run.json").exists()

    def test_an_empty_directory_and_a_file(self, tmp_path):
        (tmp_path / "c").mkdir()
        open_store(tmp_path / "c")[0].close()
        (tmp_path / "file").write_text("precious")
        with pytest.raises(UserError, match=r"--ckpt_dir: .*file is a file"):
            open_store(tmp_path / "file")
        assert (tmp_path / "file").read_text() == "precious"

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"format": 3}', "null", '{"plans": []}']
    )
    def test_a_record_that_is_none(self, directory, text):
        (directory / "run.json").write_text(text)
        with pytest.raises(UserError, match="not a record of checkpoints"):
            open_store(directory)
        assert states(directory) == {"runs_0-0": [1]}

    def test_a_record_of_another_format(self, directory):
        record = json.loads((directory / "run.json").read_text())
        assert record["format"] == 3
        record["format"] = 1
        (directory / "run.json").write_text(json.dumps(record))
        message = r"of another version .*\(format 1, now 3\); --load_from_ckpt=false"
        with pytest.raises(UserError, match=message):
            open_store(directory)


@pytest.mark.slow
@noisy
@pytest.mark.usefixtures("noise")
def test_a_damaged_state_is_replaced(store, tmp_path):
    """Training goes on from the state before it, and writes it anew."""
    for epoch in (1, 2):
        store.save("0-0", epoch, make_state(epoch))
    damage(tmp_path / "c" / "runs_0-0" / "2")
    again, _ = open_store(tmp_path / "c")
    assert again.restore("0-0", make_state(9))[0] == 1
    again.save("0-0", 2, make_state(5))
    again.save("0-0", 3, make_state(3))
    again.close()
    last, _ = open_store(tmp_path / "c")
    epochs, state = last.restore("0-0", make_state(9))
    last.close()
    assert epochs == 3
    assert_same_state(state, make_state(3))
    assert states(tmp_path / "c") == {"runs_0-0": [2, 3]}


def test_killed_while_the_record_was_written(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / ".run.json.123.tmp").write_text('{"form')
    open_store(tmp_path / "c")[0].close()


def test_killed_while_they_were_removed(store, tmp_path, monkeypatch):
    """With --load_from_ckpt=false: the record of them is the last to go."""
    store.save("0-0", 1, make_state(1))

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            open_store(tmp_path / "c", load=False)
    again, _ = open_store(tmp_path / "c", load=False)
    assert again.restore("0-0", make_state(9)) is None
    again.close()


def test_starting_anew_leaves_the_files_of_others(store, tmp_path):
    """Such as a result, where --ckpt_dir is the work directory."""
    store.save("0-0", 1, make_state(1))
    (tmp_path / "c" / "result.npz").write_text("precious")
    again, _ = open_store(tmp_path / "c", load=False)
    again.close()
    assert (tmp_path / "c" / "result.npz").read_text() == "precious"
