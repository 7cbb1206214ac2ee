"""The mutants of the formulas are programs, and the list of harmless ones is true."""

import ast

import mutants
import pytest


@pytest.fixture(scope="module")
def every():
    return [m for module in mutants.MODULES for m in mutants.mutants_of(module)]


def test_mutants_are_programs_of_one_change_each(every):
    assert len({mutant.name for mutant in every}) == len(every) > 1_000
    assert len({mutant.kind for mutant in every}) > 25
    for mutant in mutants.sample(mutants.MODULES, 3, seed=0):
        content = mutants.path_of(mutant.module).read_bytes()
        assert content[mutant.start : mutant.stop].decode() == mutant.before
        changed = mutants.changed(mutant, content)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(content))


def test_samples_depend_on_the_seed_alone():
    names = [
        [mutant.name for mutant in mutants.sample(modules, 5, seed)]
        for modules, seed in ((["model"], 1), (["model", "scores"], 1), (["model"], 2))
    ]
    assert names[0] == names[1][:5] != names[2]


def test_those_that_change_nothing_are_there(every):
    for one in mutants.SAME:
        changes = {
            f"{mutant.before} -> {mutant.after}"
            for mutant in every
            if mutant.module == one["module"] and one["line"] in mutant.text
        }
        assert set(one["changes"]) <= changes, one["line"]


@pytest.mark.slow
def test_a_mutant_that_no_test_notices_survives(tmp_path, monkeypatch):
    """And one that a test notices does not; on a tree of one module and two tests."""
    for folder in ("alphanet_jax", "tests"):
        (tmp_path / "right" / folder).mkdir(parents=True)
    module = tmp_path / "right" / "alphanet_jax" / "model.py"
    module.write_text("def double(x):\n    return 2 * x\n\n\nUNUSED = 3 + 4\n")
    (tmp_path / "right" / "tests" / "test_model.py").write_text(
        "import pathlib, runpy\n\n\n"
        "def test_it():\n"
        "    path = pathlib.Path(__file__).parents[1] / 'alphanet_jax' / 'model.py'\n"
        "    assert runpy.run_path(str(path))['double'](3) == 6\n"
    )
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "right")
    monkeypatch.setattr(mutants, "COPIED", ("alphanet_jax", "tests"))
    monkeypatch.setattr(mutants, "MODULES", {"model": [("tests/test_model.py",)]})
    bench = mutants.Bench(tmp_path / "bench", tmp_path / "cache")
    made = {mutant.after: mutant for mutant in mutants.mutants_of("model")}
    assert bench.try_mutant(made["(2 / x)"]) == "killed"
    assert bench.try_mutant(made["(3 - 4)"]) == "survived"
    assert mutants.path_of("model", bench.root).read_bytes() == module.read_bytes()
