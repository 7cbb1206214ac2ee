"""Writes a page with its figures and files, whole or not at all."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax import outputs, stages, staging
from alphanet_jax.errors import UserError
from alphanet_jax.figures import one_file, saving
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.pages import html
from alphanet_jax.report import changes, comparison_page, result_page
from alphanet_jax.results import comparison_file
from alphanet_jax.results.accuracy import PARTS
from alphanet_jax.results.datasets import DataFinder
from alphanet_jax.results.sets import ResultSet
from alphanet_jax.stages import stage

__all__ = ["PAGE", "check_place", "write_report"]

PAGE = "index.html"
_STYLES = ("web_light", "web_dark")
_FIGURES = {
    "class_changes": (
        "Change of every class",
        "Change in test accuracy of every class, sorted within its split.",
    ),
    "prediction_changes": (
        "What became of predictions",
        "Test samples by split: right, taken for a neighbor, or for another class, "
        "before and after.",
    ),
}
_TRADEOFF = (
    "Few against overall accuracy",
    "Test accuracy of few classes against that of all, for every method over its knob; "
    "circles are knobs that validation data chose.",
)
_COLUMNS = (
    *("class", "name", "split", "training_samples", "test_samples", "before", "after"),
    *("change", "low", "high", "gained_from", "lost_to"),
)


def write_report(
    sets: Sequence[ResultSet],
    comparison: Mapping[str, Any] | None,
    out: Path,
    *,
    finder: DataFinder | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes `index.html` with its figures and the files of its numbers.

    Args:
      sets: Results to show, each with its runs.
      comparison: The content of a `compare.json`, or None.
      out: Directory; one that is there must be empty, or of an earlier report.
      finder: Finds the data of results, where a figure needs it.
      report: Takes lines of text about progress.

    Returns:
      The page.

    Raises:
      UserError: If the directory holds something else, or cannot be written.
    """
    saving.check_matplotlib()
    check_place(out)
    finder = finder or DataFinder()
    try:
        with staging.staged(out) as place:
            mark = place(out / _MARK)
            _write(sets, comparison, mark.parent, finder, report)
            made = {path.name for path in mark.parent.iterdir()}
            # The mark is the first to come and the last to go: with it, what is there
            # may be replaced.
            for name in sorted(made - {_MARK}):
                place(out / name)
        _clear(out, made)
    except OSError as error:
        raise UserError(f"{out}: cannot write: {error.strerror or error}") from None
    return out / PAGE


def check_place(out: Path) -> None:
    """Checks whether a report may be written; ends one whose process was killed.

    Raises:
      UserError: If the place is a file, or holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; --out is a directory")
    staging.recover(out)
    if not (out / _MARK).is_file() and any(
        not _is_passing(path) for path in out.iterdir()
    ):
        raise UserError(
            f"{out} is not empty and not a report, so nothing is written there; name "
            "another directory"
        )


def _is_passing(path: Path) -> bool:
    """Returns whether a file is of a process that writes a report, or was killed."""
    return path.name == outputs.LOCK_NAME or path.name.startswith(staging.PREFIX)


def _clear(out: Path, made: Collection[str]) -> None:
    """Removes what an earlier report had that this one has not."""
    for path in out.iterdir():
        if path.name in made or _is_passing(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


_MARK = ".report"


def _write(
    sets: Sequence[ResultSet],
    comparison: Mapping[str, Any] | None,
    root: Path,
    finder: DataFinder,
    report: Callable[[str], None],
) -> None:
    sections: list[html.Section] = []
    if comparison is not None:
        file = root / comparison_file.FILE_NAME
        comparison_file.save(file, comparison)
        report("drawing the trade-off")
        sources = Sources([], finder)
        with stage(report, "drawing tradeoff", total=len(_STYLES), unit="figures"):
            figure = _draw("tradeoff", "", sources, root, _TRADEOFF, compare=str(file))
        sections += comparison_page.render(comparison, [figure], root, file.name)
    for number, runs in enumerate(sets):
        prefix = "" if len(sets) == 1 else f"{number + 1}-"
        report(f"{runs.name}: what changed, class by class")
        content = _content(runs, prefix, root, finder, report)
        with stage(report, f"writing {PAGE}"):
            _write_numbers(content, root)
            sections += result_page.render(content, root)
    title = "What a correction changed" if sets else "Corrections compared"
    intro = (
        "Rare classes of a trained long-tailed classifier, before and after their "
        "correction."
    )
    text = html.document(title, intro, sections)
    (root / PAGE).write_text(text, encoding="utf-8")
    (root / _MARK).write_text("Made by alphanet report; it may replace it.\n")


def _content(
    runs: ResultSet,
    prefix: str,
    root: Path,
    finder: DataFinder,
    report: Callable[[str], None],
) -> result_page.Content:
    figures, remarks = [], []
    for kind, words in _FIGURES.items():
        report(f"{runs.name}: drawing {kind}")
        try:
            with stage(report, f"drawing {kind}", total=len(_STYLES), unit="figures"):
                sources = Sources([runs], finder)
                figures.append(_draw(kind, prefix, sources, root, words))
        except UserError as error:
            remarks.append(f"no figure {kind}: {error}")
    with stage(report, "what was learned"):
        learned, reason = result_page.combinations(runs)
    with stage(report, "intervals", total=len(PARTS), unit="splits"):
        parts = changes.of_parts(runs)
    with stage(report, "class by class", total=runs.num_classes, unit="classes"):
        classes = changes.of_classes(runs)
    return result_page.Content(
        runs,
        parts,
        classes,
        learned,
        reason,
        figures,
        remarks,
        prefix,
    )


def _draw(
    kind: str,
    prefix: str,
    sources: Sources,
    root: Path,
    words: tuple[str, str],
    **options: Any,
) -> html.Figure:
    """Draws a figure in both themes; its numbers are beside it once."""
    name = f"{prefix}{kind}"
    files: list[Path] = []
    for style in _STYLES:
        path = root / f"{name}.{style}.svg"
        files += one_file.draw_file(kind, sources, path, {"style": style, **options})
        stages.done(1, "figures")
    unique = []
    for path in files:
        # The numbers are those of the first style, under a name without it.
        if path.suffix == ".csv":
            ending = path.name.removeprefix(f"{name}.")
            style, _, rest = ending.partition(".")
            target = root / f"{name}.{rest}"
            path = path.rename(target)
            if style != _STYLES[0]:
                continue
        unique.append(path)
    light, dark = (root / f"{name}.{style}.svg" for style in _STYLES)
    return html.Figure(name, *words, light, dark, tuple(unique))


def _write_numbers(content: result_page.Content, root: Path) -> None:
    """Writes what changed for every class as CSV and JSON, and coefficients as CSV."""
    rows: list[dict[str, Any]] = [
        {
            "class": one.label,
            "name": one.name,
            "split": one.split,
            "training_samples": one.training_samples,
            "test_samples": one.test_samples,
            "before": one.before,
            "after": one.after,
            "change": one.after - one.before,
            "low": one.low,
            "high": one.high,
            "gained_from": [[flow.label, flow.samples] for flow in one.gained_from],
            "lost_to": [[flow.label, flow.samples] for flow in one.lost_to],
        }
        for one in content.classes
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flows = {
            name: "; ".join(f"{label} {samples:g}" for label, samples in row[name])
            for name in ("gained_from", "lost_to")
        }
        writer.writerow(row | flows)
    stem = f"{content.prefix}classes"
    (root / f"{stem}.csv").write_text(text.getvalue(), encoding="utf-8")
    plain = [
        {name: None if value != value else value for name, value in row.items()}
        for row in rows
    ]
    parts = [part._asdict() for part in content.parts]
    (root / f"{stem}.json").write_text(
        json.dumps({"splits": parts, "classes": plain}, indent=1) + "\n",
        encoding="utf-8",
    )
    learned = io.StringIO()
    plain_writer = csv.writer(learned, lineterminator="\n")
    plain_writer.writerow(("class", "name", "source", "source_name", "mean", "std"))
    for found in content.combinations:
        for term in found.terms:
            plain_writer.writerow(
                (found.label, found.name, term.label, term.name, term.mean, term.std)
            )
    (root / f"{content.prefix}coefficients.csv").write_text(
        learned.getvalue(), encoding="utf-8"
    )
