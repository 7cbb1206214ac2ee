"""The figures of the report: drawn where they are not there already.

`plans` lists them; each is drawn by its kind in the package `figures`, and its numbers
are written as CSV.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax import figures as figures_package
from alphanet_jax import files, parsing
from alphanet_jax.errors import UserError
from alphanet_jax.figures import load_kind, saving, style
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.pages import html
from alphanet_jax.paper.measured import Results
from alphanet_jax.paper.page import PageFigure
from alphanet_jax.paper.plans import FigurePlan, plan, plan_across
from alphanet_jax.stages import stage

__all__ = ["PAGE_STYLES", "draw_figures"]

# What the page shows, one for each theme.
PAGE_STYLES = ("web_light", "web_dark")


def draw_figures(
    results: Results,
    names: Mapping[str, str],
    workdir: Path,
    *,
    styles: Sequence[str] = (),
    n_boot: int = 1000,
    report: Callable[[str], None] = lambda line: None,
    on_failure: Callable[[str], None] = lambda line: None,
) -> tuple[list[PageFigure], list[str]]:
    """Draws the figures of all results, below `figures/` of a directory.

    Args:
      results: The results.
      names: Display names of datasets.
      workdir: The work directory.
      styles: Styles to draw in beside `PAGE_STYLES`.
      n_boot: Number of bootstrap samples.
      report: Takes lines of text about progress.
      on_failure: Takes a line about each figure that could not be drawn in one of
        `styles`; it is drawn in the others.

    Returns:
      The figures, and what could not be drawn and why.
    """
    try:
        saving.check_matplotlib()
    except UserError as error:
        return [], [f"no figures: {error}"]
    style_names = list(dict.fromkeys((*PAGE_STYLES, *styles)))
    plans = [("All datasets", each) for each in plan_across(results)]
    for dataset in results.datasets():
        plans += [(names[dataset], each) for each in plan(results, dataset)]
    kept = _Kept(workdir / "cache" / "figures.json")
    figures, remarks = [], []
    for number, (section, each) in enumerate(plans, 1):
        stem = workdir / "figures" / each.name
        key = _key(each, style_names, n_boot)
        paths = kept.get(each.name, key, stem.parent)
        if paths is None:
            report(f"figure {number} of {len(plans)}: {each.name}")
            drawing, count = f"drawing {each.name}", len(style_names)
            try:
                with stage(report, drawing, total=count, unit="figures"):
                    paths, lost = _draw(each, results, stem, style_names, n_boot)
            except UserError as error:
                remarks.append(f"no figure {each.name}: {error}")
                report(f"failed: {remarks[-1]}")
                continue
            for line in lost:
                remarks.append(line)
                on_failure(line)
            if not lost:
                kept.put(each.name, key, paths)
        light, dark = (stem.parent / f"{each.name}.{name}.svg" for name in PAGE_STYLES)
        figures.append(
            PageFigure(
                section,
                html.Figure(
                    each.name,
                    each.title,
                    each.caption,
                    light,
                    dark,
                    tuple(paths),
                    each.wide,
                ),
            )
        )
    return figures, remarks


def _draw(
    each: FigurePlan,
    results: Results,
    stem: Path,
    style_names: Sequence[str],
    n_boot: int,
) -> tuple[list[Path], list[str]]:
    """Draws a figure; returns its files, and lines about styles that failed.

    Raises:
      UserError: If one of the page's is among those, or all are.
    """
    kind = load_kind(each.kind)
    width = "full" if each.wide else "half"
    styles = [style.make_style(name, width=width) for name in style_names]
    options = dict(each.data_options)
    if hasattr(kind.numbers_options, "n_boot"):
        options["n_boot"] = n_boot
    sources = Sources(each.sets, results.finder, wordnet=results.wordnet)
    numbers = kind.numbers(sources, **options)
    lost = []

    def on_failure(look: style.Style, error: UserError) -> None:
        if look.name in PAGE_STYLES:
            raise error
        lost.append(f"figure {each.name} is not drawn in style {look.name}: {error}")

    paths = saving.save_figure(
        numbers,
        kind.draw,
        stem,
        styles,
        options=each.drawing_options,
        name_styles=True,
        on_failure=on_failure,
    )
    return paths, lost


def _key(each: FigurePlan, styles: Sequence[str], n_boot: int) -> str:
    """Names what a figure depends on."""
    sources = []
    for runs in each.sets:
        for file in runs.files:
            status = file.path.stat()
            sources.append([runs.name, status.st_size, status.st_mtime_ns])
    content = [
        *(_code_digest(), each.kind, dict(each.data_options)),
        *(dict(each.drawing_options), each.wide, list(styles), n_boot, sources),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    """Names the code that draws: a version may be worked on."""
    made = hashlib.sha256()
    for path in sorted(Path(figures_package.__path__[0]).rglob("*.py")):
        made.update(path.read_bytes())
    return made.hexdigest()


class _Kept:
    """Remembers which files were drawn of what."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        try:
            loaded = parsing.parse_json(path.read_bytes())
            parsing.check_form(loaded, parsing.Each({"key": str, "files": [str]}))
        except (OSError, ValueError):
            return  # none, or what is left of one
        self._known = loaded

    def get(self, name: str, key: str, directory: Path) -> list[Path] | None:
        """Returns the files of a figure, if all are there."""
        record = self._known.get(name)
        if record is None or record["key"] != key:
            return None
        paths = [directory / Path(file).name for file in record["files"]]
        return paths if all(path.is_file() for path in paths) else None

    def put(self, name: str, key: str, paths: Sequence[Path]) -> None:
        """Remembers a figure."""
        self._known[name] = {"key": key, "files": [path.name for path in paths]}
        with files.replacing(self._path) as temporary:
            temporary.write_text(json.dumps(self._known, indent=1))
