"""Several devices, and several processes, train what one device does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import sweep_on_devices
from outcomes import assert_outcomes_close

from alphanet_jax.errors import UserError
from alphanet_jax.experiment import devices

SCRIPT = Path(sweep_on_devices.__file__)


def start(path, num_devices, *arguments):
    flag = f"--xla_force_host_platform_device_count={num_devices}"
    return subprocess.Popen(
        [sys.executable, SCRIPT, path, *map(str, arguments)],
        env=os.environ | {"XLA_FLAGS": flag, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    """Waits for processes; if one fails or hangs, none is left behind."""
    try:
        for process in processes:
            out, _ = process.communicate(timeout=120)
            assert process.returncode == 0, out
    finally:
        for process in processes:
            process.kill()
            process.wait()


def read(path):
    with np.load(path) as archive:
        return dict(archive)


def points(found):
    """Arrays of every point by its number."""
    result = {}
    for name, array in found.items():
        index, _, rest = name.partition("/")
        if index.isdigit():
            result.setdefault(int(index), {})[rest] = array
    return result


def check(found, expected):
    found, expected = points(found), points(expected)
    assert found.keys() == expected.keys() == set(range(6))
    assert list(found[5]) == ["error"]
    assert "for seed 0 in epoch 1, step" in str(found[5].pop("error"))
    expected[5].pop("error")
    for index, wanted in expected.items():
        assert_outcomes_close(found[index], wanted)


@pytest.fixture(scope="module")
def one_device():
    assert jax.device_count() == 1
    return sweep_on_devices.sweep()


@pytest.mark.slow
class TestSweep:
    @pytest.mark.slow
    def test_eight_devices(self, one_device, tmp_path):
        finish(start(tmp_path / "x.npz", 8))
        found = read(tmp_path / "x.npz")
        assert found["process"].tolist() == [1, 8, 1]
        # Every array of the state lies on all eight, an eighth of the runs on each.
        assert len(found["layout/state"]) > 20
        for name in ("state", "losses"):
            assert {*map(tuple, found[f"layout/{name}"].tolist())} == {(8, 0, 8)}
        check(found, one_device)

    @pytest.mark.slow
    def test_two_processes(self, one_device, tmp_path):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            address = f"localhost:{free.getsockname()[1]}"
        paths = [tmp_path / f"{process}.npz" for process in range(2)]
        finish(*(start(p, 2, address, 2, i) for i, p in enumerate(paths)))
        first, second = map(read, paths)
        assert first["process"].tolist() == [2, 4, 1]
        # Of 5 GiB and 3 GiB, in MiB.
        assert first["least"] == second["least"] == 3 << 10
        assert second["process"].tolist() == [2, 4, 0]
        for found in (first, second):
            assert {*map(tuple, found["layout/state"].tolist())} == {(4, 0, 4)}
            check(found, one_device)
        for name in first.keys() - {"process"}:
            np.testing.assert_array_equal(first[name], second[name], name)


class TestOneDevice:
    def test_nothing_is_done(self):
        assert devices.make_mesh() is None
        assert devices.is_first_process()
        assert devices.least_bytes(12345) == 12345
        tree = {"x": np.arange(3), "y": (np.ones((2, 2)),)}
        assert devices.split(tree, None) is tree
        assert devices.replicate(tree, None) is tree

    def test_fetch(self):
        found = devices.fetch((jax.numpy.arange(3), np.ones(2), 5))
        assert [type(part) for part in found] == [np.ndarray, np.ndarray, int]
        np.testing.assert_array_equal(found[0], [0, 1, 2])


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("no\nbackend")])
def test_no_device_is_one_line(error, monkeypatch):
    def fail():
        raise error

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(UserError, match="JAX has no device to work on, JAX_PLAT") as e:
        devices.check_devices()
    assert "\n" not in str(e.value)
