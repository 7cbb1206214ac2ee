"""The pages of the site: all are there, links lead somewhere, nothing is left out.

Building it is another matter, for which CI installs Sphinx.
"""

import importlib
import posixpath
import re
import sys

import page_code
import pytest
from page_code import ROOT

import alphanet_jax
from alphanet_jax import posthoc
from alphanet_jax.commands import help_text
from alphanet_jax.config.fields import FIELDS
from alphanet_jax.figures import KINDS
from alphanet_jax.results.schema import SCHEMA

MAKE = ROOT / "docs" / "make"
SOURCES = "../alphanet_jax"


def module(name):
    """Imports a module of the directory that makes the pages."""
    sys.path.insert(0, str(MAKE))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(MAKE))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """All pages as Sphinx gets them: path -> text."""
    root = tmp_path_factory.mktemp("pages")
    # Whatever links to a file that is not there is an error here.
    module("pages").write_pages(root)
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8")
        for path in root.rglob("*.md")
    }


def slugs(text):
    """Names of the headings of a page, as GitHub and MyST make them."""
    found = set()
    outside = re.sub(r"^(`{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    for heading in re.findall(r"^#{1,4} (.+)$", outside, re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*\\]", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        while slug in found:
            slug += "-1"
        found.add(slug)
    return found


def anchors(text):
    """Yields page and heading of the links of a page; an empty page is itself."""
    outside = re.sub(r"^(`{3,}).*?^\1`*$", "", text, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", outside):
        place, mark, anchor = target.partition("#")
        if mark and "://" not in target:
            yield place, anchor


@pytest.mark.slow
class TestPages:
    def test_all_are_in_the_list_of_pages(self, site):
        pages = module("pages")
        listed = [f"{name}.md" for names in pages.SECTIONS.values() for name in names]
        assert len(listed) == len(set(listed))
        assert set(listed) <= site.keys()
        written = {path.name for path in pages.hand_written()}
        assert written <= {*listed, "index.md"}
        for name in site:
            below = re.match(r"(commands|api|examples)/", name)
            assert name in (*listed, "index.md") or below or name.startswith("files/")

    def test_links_to_headings(self, site):
        count = 0
        for page, text in site.items():
            for place, anchor in anchors(text):
                folder = page.rpartition("/")[0]
                target = posixpath.normpath(f"{folder}/{place}".lstrip("/"))
                there = slugs(site[target] if place else text)
                assert anchor in there, f"{page} links to {place}#{anchor}"
                count += 1
        assert count > 40

    def test_nothing_is_left_to_fill_in(self, site):
        mark = re.compile(r"^(<!-- (generated|until here)|\*On the site)", re.M)
        assert not [page for page, text in site.items() if mark.search(text)]

    def test_commands(self, site):
        for name, (_, purpose) in help_text.COMMANDS.items():
            page = site[f"commands/{name}.md"]
            assert f"[`{name}`]({name}.md)" in site["commands/index.md"]
            assert purpose.split()[0] in site["commands/index.md"]
            command = importlib.import_module(help_text.COMMANDS[name][0])
            kinds = list(KINDS) if hasattr(command, "choose") else [""]
            for kind in kinds:
                chosen = command.choose(kind) if kind else command
                values = module("command_pages").flags_of(chosen, name)
                assert f"### {kind}" in page if kind else True
                for flag in values:
                    assert re.search(rf"(--|--\[no\]){flag}\b", page), (name, flag)
        # As help has it, not as absl and Python have it.
        pages = "".join(page for name, page in site.items() if name[:8] == "commands")
        assert not re.findall(r"repeat this option|<code>\[", pages)
        # Nothing of the machine that builds them.
        assert not [page for page, text in site.items() if str(ROOT) in text]

    def test_config_fields(self, site):
        for field in FIELDS:
            (row,) = re.findall(
                rf"(?m)^\| <code>{re.escape(field.name)}</code> .*$", site["config.md"]
            )
            assert field.help.split()[0] in row
            assert f"| {field.kind.__name__} |" in row
            assert ("sweep: </span>no |" in row) == (not field.sweepable)

    def test_arrays_of_results(self, site):
        for spec in SCHEMA:
            shown = spec.name.replace("<", "&lt;").replace(">", "&gt;")
            assert f"| <code>{shown}</code> |" in site["formats.md"]

    def test_figures(self, site):
        for name in KINDS:
            assert f"| `{name}` |" in site["figures.md"]

    def test_corrections(self, site):
        for name in posthoc.METHODS:
            assert f"| <code>{name}</code>" in site["methods.md"]

    def test_api(self, site):
        text = "".join(page for name, page in site.items() if name.startswith("api/"))
        shown = set(re.findall(r":: alphanet_jax\.([\w.]+)", text))
        for name in alphanet_jax.__all__:
            assert name in shown or f"`{name}`" in site["api/index.md"]
        for package in ("posthoc", "results", "model", "train_step"):
            found = importlib.import_module(f"alphanet_jax.{package}")
            page = site[f"api/{package}.md"]
            for name in found.__all__:
                assert f":: alphanet_jax.{package}.{name}\n" in page or (
                    f"`{name}`" in page
                )


@pytest.mark.slow
def test_plan_is_that_of_the_test_of_layers():
    import test_layers

    plan = module("plan")
    assert plan.read_list("LAYERS") == test_layers.LAYERS
    drawn = re.findall(r'class="room \w+">([\w/]+)</span>', plan.layers())
    rooms = [room for layer in reversed(test_layers.LAYERS) for room in layer]
    assert [room.strip("/") for room in drawn] == rooms
    listed = list(plan.purposes())
    assert set(rooms) <= set(listed)
    found = plan.imports_of_rooms()
    for room, others in found.items():
        below = set(listed[: listed.index(room)])
        assert others <= below, f"{room} stands before {others - below}"
    for name, path in test_layers.MODULES.items():
        room = name.partition(".")[0]
        if room in found:
            others = {o.partition(".")[0] for o in test_layers.own_imports(path)}
            assert others - {room} <= found[room]


def test_what_is_generated_has_something_in_its_place():
    """GitHub shows it, and it says where to look."""
    blocks, found = module("blocks").BLOCKS, set()
    for path in module("pages").hand_written():
        text = path.read_text(encoding="utf-8")
        pattern = r"<!-- generated: ([^>]+) -->\n(.+?)\n<!-- until here -->"
        places = re.findall(pattern, text, re.DOTALL)
        assert not re.search(r"\{[\w:]+\}`", text), "a role of Sphinx, raw on GitHub"
        assert len(places) == text.count("<!-- generated:") == text.count("until here")
        for name, shown in places:
            found.add(name)
            assert re.fullmatch(
                r"\*On the site, .*\]\(\.\./\S+\).*\*", shown, re.DOTALL
            )
    assert found == blocks.keys()


class TestLinks:
    @pytest.mark.parametrize("name", page_code.NAMES)
    def test_links_of_files_as_they_are(self, name):
        """As GitHub shows them: to files of the repository."""
        text = (ROOT / name).read_text(encoding="utf-8")
        outside = re.sub(
            r"^(`{3,}).*?^\1`*$|`[^`\n]+`(?!\])", "", text, flags=re.M | re.S
        )
        targets = re.findall(r"(?:\]\(|src=\"|srcset=\")([^)\s\"]+)[)\"]", outside)
        for target in targets:
            place, _, anchor = target.partition("#")
            if "://" in place:
                continue
            path = (ROOT / name).parent / place if place else ROOT / name
            assert path.exists(), f"{name} links to {place}"
            if anchor:
                assert anchor in slugs(path.read_text(encoding="utf-8")), target

    def test_a_link_that_leads_nowhere(self):
        links = module("links").Links(ROOT, {"start.md"})
        with pytest.raises(ValueError, match=r"docs/x\.md links to nowhere\.md"):
            links.rewrite("[a](nowhere.md)", "docs/x.md", "x.md")
        assert links.rewrite("`[a](nowhere.md)`", "docs/x.md", "x.md")

    @pytest.mark.parametrize(
        ("source", "page", "before", "after"),
        [
            ("docs/start.md", "start.md", "../README.md#try-it", "index.md#try-it"),
            ("docs/a.md", "a.md", "../CONTRIBUTING.md", "contributing.md"),
            ("docs/a.md", "a.md", "../examples/compare.ipynb", "examples/compare.md"),
            ("examples/README.md", "examples/index.md", "compare.ipynb", "compare.md"),
            ("CONTRIBUTING.md", "contributing.md", "docs/start.md", "start.md"),
            ("docs/a.md", "a.md", "../main.py", "files/main.py.md"),
            ("docs/a.md", "a.md", f"{SOURCES}/commands/fit.py", "commands/fit.md"),
            ("docs/a.md", "a.md", f"{SOURCES}/eval.py", "api/eval.md"),
            # No page is made of this one.
            (
                "docs/a.md",
                "a.md",
                f"{SOURCES}/version.py",
                "files/alphanet_jax/version.py.md",
            ),
            ("docs/a.md", "a.md", "https://example.org/a#b", "https://example.org/a#b"),
        ],
    )
    def test_links_that_leave_their_place(self, source, page, before, after):
        links = module("links").Links(
            ROOT, {"start.md", "commands/fit.md", "api/eval.md"}
        )
        assert links.rewrite(f"[x]({before})", source, page) == f"[x]({after})"

    def test_pictures_have_both_looks(self):
        text = (
            '<picture>\n<source media="(prefers-color-scheme: dark)" '
            'srcset="../examples/figures/tradeoff.web_dark.svg">\n'
            '<img alt="curves" src="../examples/figures/tradeoff.web_light.svg">\n'
            "</picture>"
        )
        links = module("links").Links(ROOT, ())
        folder = "assets/examples/figures/tradeoff.web"
        assert links.rewrite(text, "docs/a.md", "a.md").split("\n") == [
            f"![curves]({folder}_light.svg){{.only-light}}",
            f"![curves]({folder}_dark.svg){{.only-dark}}",
        ]
        assert links.wanted.keys() == {f"{folder}_light.svg", f"{folder}_dark.svg"}


class TestTexts:
    def test_cells_keep_what_markdown_would_take(self):
        texts = module("texts")
        assert texts.cell("a | b * c_d\n[e] <f>") == (r"a \| b \* c\_d \[e\] &lt;f&gt;")
        assert texts.code("a|b<c") == "<code>a&#124;b&lt;c</code>"
        assert "<code>--out=head.npz</code>" in texts.say("see --out=head.npz.")

    def test_descriptions_of_commands(self):
        text = "Does a\nthing with --flag:\n\n  alphanet a \\\n      --b\n\nAnd more."
        assert module("texts").described(text) == (
            "Does a thing with <code>--flag</code>:\n\n"
            "```bash\nalphanet a \\\n    --b\n```\n\nAnd more.\n"
        )


def test_notebooks_are_whole(tmp_path):
    page, images = module("notebook_pages").notebook_page(
        ROOT / "examples" / "compare.ipynb"
    )
    assert page.startswith("# ")
    assert page.count("```python") > 5
    assert all(name in page for name in images)
    assert all(image.startswith(b"\x89PNG") for image in images.values())
