"""The wheel: what is in it, and that it works on its own, from an empty directory."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile

import numpy as np
import pytest

from alphanet_jax import bundled
from alphanet_jax.data import registry

ROOT = pathlib.Path(__file__).parents[1]
INSIDE = "alphanet_jax/_bundled"
EMBEDDED = "cifar100lt_effnetlite0_crt"


def files_of(path):
    """Names of the files below a directory of the repository, or of one file."""
    found = [path] if path.is_file() else path.rglob("*")
    return {
        str(file.relative_to(ROOT))
        for file in found
        if file.is_file() and "__pycache__" not in file.parts
    }


def needed():
    """Names of all files that the embedded example needs, beside the configs."""
    entry = registry.get_entry(ROOT / bundled.REGISTRY, EMBEDDED)
    classifier = pathlib.Path(entry.classifier_file).with_suffix(".npz")
    names = (entry.split_files_dir, entry.feature_files_dir, classifier)
    names += (entry.label_names_file, entry.synsets_file)
    return set.union(*(files_of(ROOT / name) for name in names))


def test_what_pyproject_includes():
    """Without building: everything that is needed, each at its own place."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = wheel["force-include"]
    assert all(target == f"{INSIDE}/{source}" for source, target in included.items())
    assert all((ROOT / source).exists() for source in included)
    found = set.union(*(files_of(ROOT / source) for source in included))
    assert needed() <= found
    assert files_of(ROOT / "configs") <= found
    # Nothing that runs have written, and no other dataset that lies beside it.
    assert not [name for name in found if "/nns/" in name or "/baselines/" in name]
    assert {name.split("/")[1] for name in found if name.startswith("data/")} == {
        "CIFAR100LT",
        "README.md",
    }
    assert project["project"]["scripts"] == {"alphanet": "alphanet_jax.__main__:main"}


class Installed:
    """A fresh environment with the wheel, and the present one's other packages."""

    def __init__(self, root):
        self.wheels, self.home, self.empty = (
            root / name for name in ("wheels", "environment", "empty")
        )
        self.empty.mkdir()
        self.variables = {
            name: value for name, value in os.environ.items() if name != "PYTHONPATH"
        }
        subprocess.run([sys.executable, "-m", "venv", self.home], check=True)
        self.folder = self.home / ("Scripts" if os.name == "nt" else "bin")
        self.pip("wheel", "--wheel-dir", self.wheels, ROOT)
        (self.wheel,) = self.wheels.iterdir()
        self.pip("install", self.wheel)
        # Directories named in a .pth file come last on the path, and .pth files in
        # them, such as that of an editable install, are not read.
        places = {"base": self.home, "platbase": self.home}
        packages = pathlib.Path(sysconfig.get_path("purelib", "venv", places))
        others = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
        (packages / "others.pth").write_text("\n".join(sorted(others)))
        self.package = packages / "alphanet_jax"

    def pip(self, command, *arguments):
        """Runs pip, without dependencies."""
        self("python", "-m", "pip", "-q", command, "--no-deps", *arguments)

    def __call__(self, program, *arguments, status=0):
        """Runs a program of the environment in the empty directory."""
        done = subprocess.run(
            [self.folder / program, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.empty,
            env=self.variables,
        )
        assert done.returncode == status, done.stderr
        return done

    def written(self):
        """Names of the files in the directory that was empty."""
        found = (path for path in self.empty.rglob("*") if path.is_file())
        return {str(path.relative_to(self.empty)) for path in found}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
class TestWheel:
    @pytest.mark.slow
    def test_files(self, installed):
        with zipfile.ZipFile(installed.wheel) as archive:
            names = set(archive.namelist())
            (entry_points,) = (n for n in names if n.endswith("entry_points.txt"))
            assert b"alphanet = alphanet_jax.__main__:main" in archive.read(
                entry_points
            )
        wanted = needed() | files_of(ROOT / "configs") | {"data/README.md"}
        assert {n for n in names if n.startswith(INSIDE)} == {
            f"{INSIDE}/{name}"
            for name in wanted | files_of(ROOT / "data/CIFAR100LT")
            if "/nns/" not in name and "/baselines/" not in name
        }
        # Whatever lies in the package is in the wheel, be it Python or not.
        assert files_of(ROOT / "alphanet_jax") <= names
        assert "alphanet_jax/py.typed" in names
        tops = {name.split("/")[0].partition("-")[0] for name in names}
        assert tops == {"alphanet_jax"}

    def test_is_the_installed_one(self, installed):
        code = (
            "import alphanet_jax; from alphanet_jax import bundled;"
            "print(alphanet_jax.__file__, bundled.root(), sep='\\n')"
        )
        file, root = installed("python", "-c", code).stdout.splitlines()
        assert pathlib.Path(file) == installed.package / "__init__.py"
        assert pathlib.Path(root) == installed.package / "_bundled"

    def test_help(self, installed):
        shown = installed("alphanet", "--help").stdout
        assert shown.startswith("usage: alphanet [train] --flags\n")
        assert "  --config.training.n_neighbors\n" in shown
        shown = installed("alphanet").stdout
        assert "usage: alphanet COMMAND --flags" in shown
        assert "\n  alphanet quickstart\n" in shown
        module = installed("python", "-m", "alphanet_jax").stdout
        assert module == shown.replace(
            "  alphanet ", "  python -m alphanet_jax "
        ).replace("usage: alphanet", "usage: python -m alphanet_jax")
        assert installed.written() == set()

    @pytest.mark.slow
    def test_quickstart_and_its_results(self, installed):
        before = files_inside(installed.package)
        short = ["--config.seeds=2", "--config.training.train_epochs=2"]
        done = installed("alphanet", "quickstart", *short)
        lines = done.stdout.splitlines()
        assert lines[0] == "CIFAR-100-LT | cRT"
        assert lines[5].split() == ["Baseline", "31.8", "58.2", "69.8", "54.3"]
        assert lines[6].startswith("AlphaNet (r=0.5)")
        assert "\n  alphanet plot class_changes --base_res_dir=" in done.stderr
        path = pathlib.Path("results/quickstart/result.npz")
        assert installed.written() == {str(path)}
        with np.load(installed.empty / path, allow_pickle=False) as archive:
            assert archive["alphas"].shape == (2, 30, 6)
        flags = ("results", "--base_res_dir=results/quickstart", "--format=plain")
        shown = installed("python", "-m", "alphanet_jax", *flags).stdout
        assert "CIFAR-100-LT | cRT" in shown
        assert lines[6].split()[2:] == shown.splitlines()[-1].split()[1:]
        # What needs the data finds it, too.
        done = installed(
            "alphanet", "combos", flags[1], "--select_n=1", "--mistake_n=3"
        )
        assert done.stdout
        # The same again is not trained again, by name or by path.
        for config in ("quickstart", "configs/quickstart.py"):
            done = installed("alphanet", f"--config={config}", *short)
            assert "done already: results/quickstart/result.npz" in done.stderr
        assert installed.written() == {str(path)}
        assert files_inside(installed.package) == before

    @pytest.mark.slow
    def test_the_embedded_data_in_a_notebook(self, installed):
        before = installed.written()
        code = (
            "import alphanet_jax as an;"
            f"settings = an.Settings(dataset={EMBEDDED!r});"
            "data = an.load_data(settings);"
            "print(data.proper_name, data.num_classes)"
        )
        done = installed("python", "-W", "error", "-c", code)
        assert done.stdout == "CIFAR-100-LT | cRT 100\n"
        assert installed.written() == before

    @pytest.mark.slow
    def test_arrays_to_a_saved_head_in_ten_lines(self, installed):
        """As in a notebook; JAX and what it needs are installed with the wheel."""
        cell = """
import numpy as np, alphanet_jax as an
rng = np.random.default_rng(0)
weight, bias = rng.normal(size=(8, 6)), np.zeros(8)
y = np.repeat(np.arange(8), [60, 50, 40, 30, 25, 9, 8, 7])
x = weight[y] + rng.normal(size=(len(y), 6))
correction = an.fit(x, y, weight, bias, n_neighbors=2, seeds=2, train_epochs=2)
print(correction.report(x, y))
correction.save("mine/head.npz")
"""
        assert len(cell.strip().splitlines()) <= 10
        before = installed.written()
        done = installed("python", "-W", "error", "-c", cell)
        lines = done.stdout.splitlines()
        assert lines[0] == "arrays"
        assert lines[5].split()[:1] == ["Baseline"]
        assert lines[6].split()[:1] == ["AlphaNet"]
        assert installed.written() - before == {"mine/head.npz"}
        with np.load(installed.empty / "mine/head.npz") as head:
            weight = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
            changed = (head["weight"] != weight).any(axis=1)
            assert np.flatnonzero(changed).tolist() == [5, 6, 7]
            assert head["bias"].tolist() == [0.0] * 8
        shutil.rmtree(installed.empty / "mine")

    @pytest.mark.slow
    def test_nothing_is_written_into_the_package(self, installed):
        done = installed("alphanet", "baseline", "--config=quickstart", status=1)
        assert done.stderr.startswith("error: the data of 'cifar100lt_effnetlite0_crt'")
        assert "say with --out where to save" in done.stderr

    @pytest.mark.slow
    def test_registry_is_found_and_data_looked_for_here(self, installed):
        done = installed("alphanet", "--config=imagenetlt:ride", status=1)
        assert done.stderr.startswith("error: data/ImageNetLT/features/resnext50_ride:")
        done = installed(
            *("alphanet", "convert", "--dataset=placeslt_resnet152_crt", "--out=x"),
            status=1,
        )
        assert "data/PlacesLT" in done.stderr
        done = installed("alphanet", "paper", "--datasets=imagenet", status=1)
        assert f"in {installed.package / '_bundled' / 'configs'}" in done.stderr


def files_inside(package):
    return {path for path in package.rglob("*") if path.suffix != ".pyc"}
