"""The whole report: tables, figures and the page of all results that are there."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from alphanet_jax import files
from alphanet_jax.config import presets
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.paper import TABLE_FORMATS, compared, facts, page, tables
from alphanet_jax.paper.figures import draw_figures
from alphanet_jax.paper.grid import GridPoint
from alphanet_jax.paper.measured import Results
from alphanet_jax.results.tables import Table

__all__ = ["write_report"]

_SELECTIONS = {
    "reference": "the first epoch that may be selected (min_epochs), as in the "
    "paper's runs",
    "best": "the epoch of best validation accuracy, from min_epochs on",
    "last": "the last epoch",
}


def write_report(
    results: Results,
    workdir: Path,
    *,
    asked: Sequence[GridPoint],
    datasets: Mapping[str, Dataset],
    names: Mapping[str, str],
    reasons: Mapping[str, str],
    failed: Sequence[str] = (),
    formats: Sequence[str] = tuple(TABLE_FORMATS),
    figures: bool = True,
    styles: Sequence[str] = (),
    n_boot: int = 1000,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes `tables/`, `figures/` and `index.html`, which shows them.

    Args:
      results: The results.
      workdir: Directory to write into.
      asked: Points that were to be trained this time.
      datasets: Datasets that are loaded, by name.
      names: Display names of datasets, in the order of the page.
      reasons: Why datasets are not run, by name.
      failed: What went wrong before.
      formats: Endings of the files of tables.
      figures: Whether to draw figures.
      styles: Styles to draw in beside those of the page.
      n_boot: Number of bootstrap samples for intervals of figures.
      report: Takes lines of text about progress.

    Returns:
      Path of the page.
    """
    there = results.datasets()
    own = {
        name: names[name]
        for name in dict.fromkeys([*datasets, *there])
        if name not in presets.CHANGES
    }
    accuracies = tables.accuracy_tables(results, reasons, own)
    static = facts.static_tables(datasets)
    _write_tables([*accuracies, *static], workdir / "tables", formats)
    drawn: list[page.PageFigure] = []
    remarks: list[str] = []
    if figures:
        drawn, remarks = draw_figures(
            results, names, workdir, styles=styles, n_boot=n_boot, report=report
        )
    content = page.Content(
        settings=_settings(results),
        datasets=[
            _status(name, names.get(name, name), results, asked, reasons)
            for name in dict.fromkeys([*datasets, *there, *names, *reasons])
        ],
        tables=accuracies,
        static=static,
        figures=drawn,
        remarks=[*failed, *results.left_out, *remarks],
        formats=formats,
        root=workdir,
    )
    path = workdir / "index.html"
    with files.replacing(path) as temporary:
        temporary.write_text(page.render_page(content), encoding="utf-8")
    report(
        f"{len(accuracies) + len(static)} tables in {workdir / 'tables'}, "
        f"{len(drawn)} figures in {workdir / 'figures'}"
    )
    return path


def _write_tables(
    written: Sequence[compared.ComparedTable | Table],
    directory: Path,
    formats: Sequence[str],
) -> None:
    for table in written:
        for ending in formats:
            with files.replacing(directory / f"{table.name}.{ending}") as temporary:
                temporary.write_text(compared.to_text(table, ending), encoding="utf-8")


def _status(
    name: str,
    proper_name: str,
    results: Results,
    asked: Sequence[GridPoint],
    reasons: Mapping[str, str],
) -> page.DatasetStatus:
    """Returns how many of a dataset's points are there."""
    wanted = {point.directory for point in asked if point.dataset == name}
    sets = results.all_of(name)
    return page.DatasetStatus(
        name,
        proper_name,
        len(sets),
        len(wanted | {runs.name for runs in sets}),
        sum(runs.num_runs for runs in sets),
        reasons.get(name, ""),
    )


def _settings(results: Results) -> list[tuple[str, str]]:
    """Lists how the results that are there were made: names and texts."""
    made = [
        runs.files[0] for name in results.datasets() for runs in results.all_of(name)
    ]
    selections = dict.fromkeys(str(file.setting("selection")) for file in made)
    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in file.versions.items())
        for file in made
    )
    seeds = sorted({file.num_runs for file in made})
    tested = [_SELECTIONS[name] for name in selections]
    if any(not file.setting("training.val_datagrp") for file in made):
        tested.append("the last epoch where there are no validation samples")
    runs = sum(file.num_runs for file in made)
    return [
        (
            "Results",
            f"{len(made):,} settings of {', '.join(map(str, seeds)) or '-'} runs: "
            f"{runs:,} runs",
        ),
        ("Tested", "; ".join(tested) or "-"),
        (
            "Versions",
            "; ".join(versions) or "-",
        ),
    ]
