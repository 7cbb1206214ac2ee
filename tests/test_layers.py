"""Imports run one way: a file imports from layers below its own, or its own folder."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import alphanet_jax

PACKAGE = Path(alphanet_jax.__file__).parent

# From the ground up. Folders and files of a layer do not know each other, but for the
# files of a folder and those listed one by one, which import from left to right.
LAYERS = [
    ["errors", "version", "parsing", "stages"],
    ["hashing", "files", "bundled", "outputs", "scratch", "stopping"],
    ["splits", "streaming", "staging"],
    ["measures", "lookup"],
    ["config"],
    ["nn_search"],
    ["scores", "sampling", "model", "posthoc"],
    ["train_step", "eval", "applying"],
    ["data"],
    ["results"],
    ["pages"],
    ["experiment"],
    ["comparison"],
    ["figures"],
    ["correction", "paper", "report"],
    ["estimator", "torch_models", "new_classes"],
    ["commands"],
]
# Imported without JAX: what reads results must not wait for it.
NO_JAX = ("errors", "parsing", "stages", "hashing", "files", "bundled", "outputs",
          "scratch", "stopping", "splits", "streaming", "staging",
          "measures", "config", "data", "results", "pages", "figures", "paper",
          "report")  # fmt: skip
# Pure: these know nothing of what is typed, set or written.
PURE = ("nn_search", "scores", "sampling", "model", "train_step", "eval", "lookup",
        "posthoc", "applying")  # fmt: skip
NOT_PURE = {"absl", "ml_collections", "logging", "pathlib", "os", "io", "sys"}


def modules():
    """Dotted name below the package -> file; folders are their `__init__`."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(p for p in parts if p != "__init__"), path


MODULES = dict(modules())
LAYER = {name: index for index, layer in enumerate(LAYERS) for name in layer}


def imports(path):
    """Yields the names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_imports(path):
    """Yields the package's modules that a file imports, by dotted name."""
    for name in imports(path):
        head, _, rest = name.partition(".")
        if head != "alphanet_jax":
            continue
        while rest and rest not in MODULES:
            rest = rest.rpartition(".")[0]
        assert rest, f"{path}: the package itself, {name}, is above all that is in it"
        yield rest


INNER = sorted(name for name in MODULES if name and not name.startswith("__"))


@pytest.mark.parametrize("name", INNER)
def test_imports_run_one_way(name):
    room = name.partition(".")[0]
    assert room in LAYER, f"{room} has no place in LAYERS"
    for other in own_imports(MODULES[name]):
        other_room = other.partition(".")[0]
        assert other_room == room or LAYER[other_room] < LAYER[room], (
            f"{name} imports {other}, which is not below it"
        )


@pytest.mark.slow
def test_no_circles_within_a_folder():
    """Also not by way of imports inside functions."""
    edges = {
        name: {other for other in own_imports(MODULES[name]) if other != name}
        for name in INNER
    }
    left = dict(edges)
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


@pytest.mark.parametrize("name", [n for n in INNER if n.partition(".")[0] in PURE])
def test_pure_modules_know_nothing_of_files_and_flags(name):
    found = {other.partition(".")[0] for other in imports(MODULES[name])}
    assert not found & NOT_PURE


@pytest.mark.slow
@pytest.mark.parametrize("room", NO_JAX)
def test_needs_no_jax(room):
    names = [n for n in INNER if n.partition(".")[0] == room]
    code = "import sys\n" + "".join(f"import alphanet_jax.{n}\n" for n in names)
    code += "sys.exit(' '.join({'jax', 'flax', 'optax'} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
