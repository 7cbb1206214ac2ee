"""What is wrong gets the line that docs/wrong_values.md says, and writes nothing."""

import bad_inputs
import pytest


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = tmp_path_factory.mktemp("world")
    bad_inputs.make_world(made)
    return made


@pytest.fixture(scope="module")
def listed():
    rows = bad_inputs.TABLE.read_text().partition(bad_inputs.START)[2].splitlines()
    cells = [row.strip("| ").split(" | ", 2) for row in rows if row.startswith("| ")]
    return {what: said for what, _, said in cells}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def name(bad):
    return bad_inputs.row_name(bad)


ERRORS = [bad for bad in bad_inputs.CASES if not bad.trains]
ALONE = [bad for bad in ERRORS if not bad.more]
OF_RESULTS = [bad for bad in ERRORS if bad.more]
REMARKS = [bad for bad in bad_inputs.CASES if bad.trains]


def test_are_many_and_each_is_listed(listed):
    names = [name(bad) for bad in bad_inputs.CASES]
    assert len(set(names)) == len(names) >= 200
    assert listed.keys() - {"wrong", "---"} == set(names)


@pytest.mark.parametrize("bad", ALONE, ids=name)
def test_one_line(bad, world, tmp_path, listed):
    said = bad_inputs.said_of(bad, world, tmp_path / "case")
    assert said == listed[name(bad)]


@pytest.mark.slow
@pytest.mark.parametrize("bad", OF_RESULTS, ids=name)
def test_every_command_that_reads_results(bad, world, tmp_path, listed):
    said = bad_inputs.said_of(bad, world, tmp_path / "case")
    assert said == listed[name(bad)]


@pytest.mark.slow
def test_remarks(world, tmp_path, listed):
    usual = bad_inputs.usual_remarks(world, tmp_path / "case")
    for bad in REMARKS:
        said = bad_inputs.said_of(bad, world, tmp_path / "case", usual)
        assert said == listed[name(bad)]
        assert said.startswith(("note: ", "warning: "))
