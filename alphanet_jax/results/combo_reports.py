"""Reports on learned combinations, as text and for JSON."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from alphanet_jax.results.combos import Combination, Confusion, Term
from alphanet_jax.results.sets import ALPHANET, ResultSet
from alphanet_jax.results.tables import finite_or_none

__all__ = ["format_text", "json_values"]

_RULE = "*" * 44


class _Style(NamedTuple):
    """How a report is written."""

    indent: str = " " * 8
    digits: str = "#.2g"  # two, also where the second is a zero
    none: str = "none"


# What the original prints.
_ORIGINAL = _Style("\t", ".2g", "")


def format_text(
    combinations: Sequence[Combination],
    *,
    mistake_n: int | None = None,
    original: bool = False,
) -> str:
    """Writes the report as text.

    Args:
      combinations: What to show.
      mistake_n: How many misclassifications to list for each; None for all.
      original: Whether it is to be to the letter what the original prints: 0.2 for
        0.20, tabs, and an empty line at the end.

    Returns:
      Text without a newline at its end.
    """
    style = _ORIGINAL if original else _Style()
    blocks = [_format_block(each, mistake_n, style) for each in combinations]
    lines = [_RULE, *(f"{block}\n{_RULE}" for block in blocks)]
    return "\n".join([*lines, ""] if original else lines)


def json_values(
    runs: ResultSet,
    combinations: Sequence[Combination],
    *,
    mistake_n: int | None = None,
) -> dict[str, Any]:
    """Collects the report as values that JSON can hold.

    Args:
      runs: The runs.
      combinations: What to show.
      mistake_n: How many misclassifications to list for each; None for all.

    Returns:
      The runs, and for each class its neighbors with their coefficients in every run,
      numbers of samples, accuracies and misclassifications; None for what is no
      number.
    """
    return {
        "experiment": runs.name,
        "dataset": runs.dataset,
        "proper_name": runs.proper_name,
        "runs": [
            {"file": str(file.path), "seed": None if file.is_original else seed}
            for file in runs.files
            for seed in file.arrays["seeds"].tolist()
        ],
        "classes": [
            {
                "class": each.label,
                "name": each.name,
                "neighbors": [
                    {
                        "class": term.label,
                        "name": term.name,
                        "split": term.split,
                        "mean": finite_or_none(term.mean),
                        "std": finite_or_none(term.std),
                        "alphas": [finite_or_none(alpha) for alpha in term.alphas],
                    }
                    for term in each.terms
                ],
                "training_samples": each.training_samples,
                "test_samples": each.test_samples,
                "baseline_accuracy": each.baseline_accuracy,
                "mean_accuracy": each.accuracy,
                "baseline_mistakes": each.baseline_mistakes,
                "total_mistakes": each.mistakes,
                "top_baseline_misclassifications": [
                    _confusion_values(c, each.num_runs)
                    for c in each.baseline_confusions[:mistake_n]
                ],
                "top_alphanet_misclassifications": [
                    _confusion_values(c, each.num_runs)
                    for c in each.confusions[:mistake_n]
                ],
            }
            for each in combinations
        ],
    }


def _digits(number: float) -> str:
    """Formats a number with two significant digits.

    Examples:
      >>> [_digits(number) for number in (-0.18, 0.2, 0.0664, -0.0, 1.0)]
      ['-0.18', '0.20', '0.066', '0.0', '1.0']
    """
    return f"{number + 0.0:#.2g}"  # no minus before a zero


def _coefficient(term: Term, digits: str) -> str:
    spread = "" if term.std is None else f"±{term.std:{digits}}"
    return f"({term.mean + 0.0:{digits}}{spread})"


def _format_block(found: Combination, mistake_n: int | None, style: _Style) -> str:
    of_alphanet = found.method == ALPHANET
    called = "AlphaNet" if of_alphanet else found.method
    mean = "mean " if of_alphanet else ""
    return "\n".join(
        [
            *(_combined(found, style) if of_alphanet else _borrowed(found)),
            "",
            f"Training samples: {found.training_samples}",
            f"Baseline accuracy: {found.baseline_accuracy:.2f}",
            f"{'Mean ' if of_alphanet else ''}{called} accuracy: {found.accuracy:.2f}",
            "",
            f"Top baseline misclassifications (total {found.baseline_mistakes} "
            f"mistakes / {found.test_samples} predictions),",
            f"and corresponding {mean}{called} misclassifications",
            f"(total {found.mistakes} mistakes / {found.num_predictions} predictions, "
            f"across {found.num_runs} repetition(s)):",
            *_format_confusions(found, found.baseline_confusions, mistake_n, style),
            "",
            f"Top {called} misclassifications:",
            *_format_confusions(found, found.confusions, mistake_n, style),
        ]
    )


def _combined(found: Combination, style: _Style) -> list[str]:
    """Writes a class's new classifier as the combination that it is."""
    start = f"[{found.name}] = "
    terms = [
        f"{' ' * len(start)}+ {_coefficient(term, style.digits)}[{term.name}]"
        for term in found.terms
    ]
    return [f"{start}[{found.name}]", *terms]


def _borrowed(found: Combination) -> list[str]:
    """Writes from whom a class of alphanet+ borrows, and how much."""
    if not found.terms:
        return [f"[{found.name}], by {found.method}"]
    total = sum(term.mean for term in found.terms)
    start = f"[{found.name}] is drawn towards "
    terms = [
        f"{' ' * len(start) + '+ ' if place else start}"
        f"({_digits(term.mean)})[{term.name}]"
        for place, term in enumerate(found.terms)
    ]
    lines = [
        *terms,
        f"in all {_digits(total)} borrowed; the fewer samples, the more, up to 0.80",
    ]
    if found.kept is not None:
        lines.append(
            f"Of its mean feature's distance from the centre, {_digits(found.kept)} is "
            "kept"
        )
    return lines


def _format_confusions(
    found: Combination,
    confusions: Sequence[Confusion],
    mistake_n: int | None,
    style: _Style,
) -> list[str]:
    if not confusions:
        return [f"{style.indent}{style.none}"] if style.none else []

    def change(before: int, total: int) -> str:
        mean = total / found.num_runs
        return f"{before} -> {mean:.2f} ({total}/{found.num_runs})"

    lines = []
    for each in confusions[:mistake_n]:
        lines += [
            f"{style.indent}{each.name} ({each.split!r} split): "
            + change(each.baseline, each.total),
            f"{style.indent * 2}|-> as '{found.name}': "
            + change(each.reverse_baseline, each.reverse_total),
        ]
    return lines


def _confusion_values(confusion: Confusion, num_runs: int) -> dict[str, Any]:
    return {
        "class": confusion.label,
        "name": confusion.name,
        "split": confusion.split,
        "baseline": confusion.baseline,
        "total": confusion.total,
        "mean": confusion.total / num_runs,
        "reverse": {
            "baseline": confusion.reverse_baseline,
            "total": confusion.reverse_total,
            "mean": confusion.reverse_total / num_runs,
        },
    }
