"""What is installed: locked, licences listed, no name forgotten."""

import pathlib
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from alphanet_jax.version import __version__

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def asked(*extras):
    """Requirements of the project and of extras, but those on the project itself."""
    lines = [*PROJECT["project"]["dependencies"]]
    lines += [line for extra in extras for line in EXTRAS[extra]]
    found = [Requirement(line) for line in lines]
    return [one for one in found if one.name != "alphanet_jax"]


LOCKS = (".ci/requirements.txt", "docs/requirements.txt")


def locked(lock=LOCKS[0]):
    """Versions of a lock by name; for several Pythons there may be several."""
    versions = {}
    text = (ROOT / lock).read_text(encoding="utf-8")
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.M):
        versions.setdefault(canonicalize_name(name), set()).add(Version(version))
    return versions


@pytest.mark.parametrize(
    "requirement",
    asked("plots", "sklearn", "wordnet", "test", "dev"),
    ids=lambda r: r.name,
)
def test_lock_fits_what_is_asked_for(requirement):
    versions = locked()[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions), (
        "made anew by the command at the top of .ci/requirements.txt"
    )


@pytest.mark.parametrize("requirement", asked("sklearn", "docs"), ids=lambda r: r.name)
def test_lock_of_the_site_fits_what_is_asked_for(requirement):
    versions = locked(LOCKS[1])[canonicalize_name(requirement.name)]
    assert all(requirement.specifier.contains(version) for version in versions)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert len(entries) >= len(locked(lock)) > 50
    assert [one.split()[0] for one in entries if "--hash=sha256:" not in one] == []


def test_licences_of_all_direct_dependencies_are_listed():
    text = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| ([^|]+) \|", text)
    listed = {name.strip() for row in rows for name in row.split(",")}
    names = {one.name for one in asked("plots", "sklearn", "wordnet")}
    assert names <= listed
    # And none that is gone.
    known = names | {"package", "---", "what"}
    data = text.index("## Data")
    rows = re.findall(r"(?m)^\| ([^|]+) \|", text[:data])
    assert {name.strip() for row in rows for name in row.split(",")} <= known


def test_source_archive_has_what_the_readme_links_to():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = {link.split("/")[0] for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)}
    assert links <= {name.removeprefix("/") for name in included}
    # No other dataset that lies beside the embedded one.
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    data = {name for name in included if name.startswith("/data")}
    assert data == {"/data/README.md", "/data/CIFAR100LT"}
    assert all(f"/{name}".startswith((*data, "/configs")) for name in wheel)


def test_hooks_of_a_commit_are_what_ci_checks():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (revision,) = re.findall(r"ruff-pre-commit\n +rev: v(\S+)", text)
    assert {Version(revision)} == locked()["ruff"]
    hooks = set(re.findall(r"- id: (\S+)", text))
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    for checked in ("ruff check", "ruff format", "/mypy"):
        assert checked in ci
    assert {"ruff-check", "ruff-format", "mypy"} <= hooks


def test_hooks_of_a_commit_leave_figures_alone():
    """Drawn again, they are as matplotlib writes them, blanks at ends of lines too."""
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (left_out,) = re.findall(r"id: trailing-whitespace\n +exclude: (\S+)", text)
    for path in (*ROOT.glob("examples/figures/*"), *ROOT.glob("benchmarks/results/*")):
        blanks = re.search(rb"[ \t]$", path.read_bytes(), re.M)
        assert not blanks or re.search(left_out, str(path.relative_to(ROOT)))


def test_a_release_is_tried_with_all_that_is_promised():
    text = (ROOT / ".ci/release").read_text(encoding="utf-8")
    pythons = set(re.findall(r"\$\{PYTHONS-([\d. ]+)\}", text))
    jax = set(re.findall(r"\$\{JAX-([\d. ]+)\}", text))
    ((pythons,), (jax,)) = pythons, jax
    named = re.findall(
        r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"])
    )
    assert pythons.split() == named
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"
    (asked_jax,) = [one for one in asked() if one.name == "jax"]
    minors = [f"0.{minor}" for minor in range(1, 40)]
    promised = [one for one in minors if asked_jax.specifier.contains(f"{one}.0")]
    assert jax.split() == promised


def test_a_release_has_one_version_and_one_date():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"(?m)^## \[(\d\S*)\] - (\d{4}-\d\d-\d\d)$", changes)
    assert released == sorted(released, key=lambda one: Version(one[0]), reverse=True)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    fields = dict(re.findall(r"(?m)^([a-z-]+): ([\d.-]+)$", citation))
    version, date = fields["version"], fields["date-released"]
    assert (version, date) == released[0] == (__version__, date)
