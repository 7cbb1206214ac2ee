"""Tables that a person reads."""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["accuracy_table", "format_table"]

COLUMNS = ("Few", "Med.", "Many", "Overall")


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines columns up: the first to the left, the others to the right.

    Examples:
      >>> print(format_table(["Experiment", "Few"], [["Baseline", "31.7"]]))
      Experiment   Few
      ----------  ----
      Baseline    31.7
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    rule = ["-" * width for width in widths]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join([first, *others]).rstrip()

    return "\n".join(line(cells) for cells in [header, rule, *rows])


def _cells(values: np.ndarray) -> list[str]:
    """Formats percentages, as mean and standard deviation where there are several."""
    percent = 100.0 * np.atleast_2d(values)
    means = percent.mean(axis=0)
    if len(percent) == 1:
        return ["-" if np.isnan(mean) else f"{mean:.1f}" for mean in means]
    # ddof 1, as the paper's tables.
    deviations = percent.std(axis=0, ddof=1)
    return [
        "-" if np.isnan(mean) else f"{mean:.1f} ± {deviation:.2f}"
        for mean, deviation in zip(means, deviations, strict=True)
    ]


def accuracy_table(
    results: Mapping[str, Mapping[str, np.ndarray]],
    *,
    baseline: Mapping[str, np.ndarray] | None = None,
) -> str:
    """Makes the table of test accuracy per split, baseline first.

    Args:
      results: Arrays of result files of one dataset, by the names of their rows.
      baseline: Arrays of the one whose baseline is shown; by default the first.

    Returns:
      Percentages in text; mean and sample standard deviation over seeds.
    """

    def row(title: str, result: Mapping[str, np.ndarray], prefix: str) -> list[str]:
        values = np.concatenate(
            [
                np.atleast_2d(result[f"{prefix}_acc_per_split"]),
                np.atleast_1d(result[f"{prefix}_accuracy"])[:, None],
            ],
            axis=1,
        )
        return [title, *_cells(values)]

    first = next(iter(results.values())) if baseline is None else baseline
    title = str(first["proper_name"])
    rows = [row(name, result, "test") for name, result in results.items()]
    table = format_table(
        ["Experiment", *COLUMNS], [row("Baseline", first, "baseline_test"), *rows]
    )
    return f"{title}\n{'=' * len(title)}\n\n{table}"
