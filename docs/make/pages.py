"""All pages of the site, and their order.

Nothing that is generated is kept in the repository, so it cannot be out of date.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from api_pages import api_pages
from blocks import BLOCKS
from command_pages import command_pages
from links import PAGES, Links
from notebook_pages import notebook_page

__all__ = ["ROOT", "SECTIONS", "hand_written", "with_blocks", "write_pages"]

ROOT = Path(__file__).resolve().parents[2]

# Heading in the list of pages -> pages, without their ending.
SECTIONS = MappingProxyType(
    {
        "Start": ("start", "own_model", "own_data", "corrections", "python",
                  "examples/index"),
        "Method": ("method", "methods", "paper"),
        "Use": ("running", "tables", "figures", "original", "original_results"),
        "Reference": ("commands/index", "config", "names", "formats", "api/index"),
        "Trust": ("reliability", "wrong_values", "benchmarks", "benchmark_records",
                  "embedded_data", "licences"),
        "Develop": ("contributing", "architecture", "site", "security", "changelog"),
    }
)  # fmt: skip
_NOT_PAGES = ("README.md",)
# What GitHub shows in place of what is generated stands between two marks.
_MARK = re.compile(r"<!-- generated: ([^>]+?) -->\n.+?<!-- until here -->", re.DOTALL)


def hand_written() -> list[Path]:
    """Lists the pages under docs/ that people write."""
    found = sorted((ROOT / "docs").glob("*.md"))
    return [path for path in found if path.name not in _NOT_PAGES]


def with_blocks(text: str) -> str:
    """Fills in what is generated within a page."""
    return _MARK.sub(lambda match: BLOCKS[match[1]](), text)


def write_pages(target: Path) -> None:
    """Writes all pages, images and files that they show to an empty directory."""
    images: dict[str, bytes] = {}
    # Page -> where its text is from, for links, and the text.
    pages: dict[str, tuple[str, str]] = {}
    for source, page in PAGES.items():
        path = ROOT / source
        if path.suffix == ".ipynb":
            text, drawn = notebook_page(path)
            images |= {f"examples/{name}": image for name, image in drawn.items()}
            pages[page] = (source, text)
        elif source != "README.md":
            pages[page] = (source, path.read_text(encoding="utf-8"))
    for path in hand_written():
        text = with_blocks(path.read_text(encoding="utf-8"))
        pages[path.name] = (f"docs/{path.name}", text)
    for page, text in {**command_pages(), **api_pages()}.items():
        pages[page] = (f"docs/{page}", text)

    links = Links(ROOT, {*pages, *images})
    titles = {
        page: f"Notebook: {text.partition('# ')[2].partition(chr(10))[0]}"
        for page, (source, text) in pages.items()
        if source.endswith(".ipynb")
    }
    for page, (source, text) in pages.items():
        lists = "".join(_lists(page, list(pages), titles))
        _write(target / page, links.rewrite(text, source, page) + lists)
    for page, image in images.items():
        _write(target / page, image)
    for page, source in links.wanted.items():
        if page.endswith(".md"):
            _write(target / page, links.source_page(source))
        else:
            _write(target / page, (ROOT / source).read_bytes())


def _lists(page: str, pages: Sequence[str], titles: Mapping[str, str]) -> Iterator[str]:
    """Yields the lists of what is below a page, which make the list at its side."""
    if page == "index.md":
        for heading, listed in SECTIONS.items():
            yield _toctree(listed, heading)
    elif page.endswith("/index.md"):
        folder = page.removesuffix("index.md")
        below = [name for name in pages if name.startswith(folder) and name != page]
        names = [name.removeprefix(folder).removesuffix(".md") for name in below]
        yield _toctree(
            [
                f"{titles[path]} <{name}>" if path in titles else name
                for path, name in zip(below, names, strict=True)
            ]
        )


def _toctree(entries: Sequence[str], caption: str = "") -> str:
    head = "\n```{toctree}\n:hidden:\n"
    head += f":caption: {caption}\n" if caption else ""
    return "\n".join([head, *entries, "```\n"])


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
