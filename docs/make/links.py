"""Links of pages to files of the repository, which the site has as pages, too."""

import os
import posixpath
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from types import MappingProxyType

__all__ = ["PAGES", "Links", "page_of"]

# Files that have a page of another name, or of another kind, -> that page.
PAGES = MappingProxyType(
    {
        "README.md": "index.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        "SECURITY.md": "security.md",
        "benchmarks/README.md": "benchmarks.md",
        "benchmarks/results/README.md": "benchmark_records.md",
        "data/README.md": "embedded_data.md",
        "docs/README.md": "site.md",
        "examples/README.md": "examples/index.md",
        "examples/compare.ipynb": "examples/compare.md",
        "examples/own_model.ipynb": "examples/own_model.md",
        "examples/pure_functions.ipynb": "examples/pure_functions.md",
    }
)
# Sources -> the page that is made of them, where there is one. GitHub shows the source.
_MADE = (
    (re.compile(r"alphanet_jax/commands/help_text\.py"), "commands/index.md"),
    (re.compile(r"alphanet_jax/config/fields\.py"), "api/training.md"),
    (re.compile(r"alphanet_jax/commands/(\w+)\.py"), r"commands/\1.md"),
    (re.compile(r"alphanet_jax/(\w+)(?:/__init__)?\.py"), r"api/\1.md"),
)
_IMAGES = (".svg", ".png")
_LANGUAGES = MappingProxyType({".py": "python", ".toml": "toml", ".json": "json"})

_LINK = re.compile(r"(?<!`)(!?\[[^\]]*\])\(([^)\s]+)\)")
_PICTURE = re.compile(r"<picture>\s*(.*?)\s*</picture>", re.DOTALL)
_FENCE = re.compile(r"(^(`{3,}).*?^\2`*$|`[^`\n]+`(?!\]))", re.DOTALL | re.MULTILINE)


def page_of(path: str) -> str:
    """Returns the path below the site's root of what shows a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(_IMAGES):
        return f"assets/{path}"
    return f"files/{path}.md"


def made_of(path: str) -> str:
    """Returns where the page made of a source would be, or nothing if none is."""
    for source, page in _MADE:
        if found := source.fullmatch(path):
            return found.expand(page)
    return ""


class Links:
    """Rewrites links, and remembers which further files the site needs.

    Attributes:
      root: The repository.
      pages: What else there is, below the site's root.
      wanted: Files of the repository that are linked to and have no page, by the path
        below the site's root of what shows them.
    """

    def __init__(self, root: Path, pages: Collection[str]) -> None:
        self.root = root
        self.pages = pages
        self.wanted: dict[str, str] = {}

    def rewrite(self, text: str, source: str, page: str) -> str:
        """Rewrites the links of a file that leave its place.

        Args:
          text: Markdown.
          source: Where the file is in the repository.
          page: Where its page is below the site's root.

        Returns:
          Markdown for that page.
        """
        text = _PICTURE.sub(_both_looks, text)

        def link(match: re.Match[str]) -> str:
            return f"{match[1]}({self._target(match[2], source, page)})"

        return _outside_code(text, lambda part: _LINK.sub(link, part))

    def _target(self, target: str, source: str, page: str) -> str:
        place, mark, anchor = target.partition("#")
        if not place or "://" in place or place.startswith("mailto:"):
            return target
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), place))
        if not (self.root / path).is_file():
            beside = posixpath.normpath(posixpath.join(posixpath.dirname(page), place))
            if beside not in self.pages:
                raise ValueError(
                    f"{source} links to {place}, and there is no such file"
                )
            return target
        made = made_of(path)
        shown = made if made in self.pages else page_of(path)
        if shown.startswith(("files/", "assets/examples/", "assets/benchmarks/")):
            self.wanted[shown] = path
        return os.path.relpath(shown, posixpath.dirname(page) or ".") + mark + anchor

    def source_page(self, path: str) -> str:
        """Returns the page that shows a file as it is."""
        text = (self.root / path).read_text(encoding="utf-8").rstrip()
        language = _LANGUAGES.get(PurePosixPath(path).suffix, "text")
        ticks = "`" * 4
        head = f"---\norphan: true\n---\n\n# `{path}`\n\n"
        return f"{head}{ticks}{language}\n{text}\n{ticks}\n"


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Changes what is neither a block of code nor code within a line."""
    parts, last = [], 0
    for match in _FENCE.finditer(text):
        parts += [change(text[last : match.start()]), match[0]]
        last = match.end()
    return "".join([*parts, change(text[last:])])


def _both_looks(match: re.Match[str]) -> str:
    """Makes two images of a picture that has one for dark pages."""
    dark = re.search(r'srcset="([^"]+)"', match[1])
    light = re.search(r'src="([^"]+)"', match[1])
    said = re.search(r'alt="([^"]+)"', match[1])
    if dark is None or light is None or said is None:
        raise ValueError(f"expected an image and one for dark pages: {match[1]}")
    images = ((light[1], "only-light"), (dark[1], "only-dark"))
    return "\n".join(f"![{said[1]}]({path}){{.{look}}}" for path, look in images)
