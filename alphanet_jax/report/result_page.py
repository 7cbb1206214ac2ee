"""The part of the page that shows one result."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alphanet_jax.config.compare import config_differences
from alphanet_jax.config.fields import Settings
from alphanet_jax.errors import UserError, count_of
from alphanet_jax.pages import html
from alphanet_jax.pages.html import tag
from alphanet_jax.report.changes import Change, Flow, PartChange, worst
from alphanet_jax.results import combos, recorded
from alphanet_jax.results.combos import Combination
from alphanet_jax.results.sets import ALPHANET, ResultSet
from alphanet_jax.results.tables import shown_change

__all__ = ["Content", "combinations", "render"]

_NOT_SETTINGS = ("data_root", "registry", "dataset", "method")


class Content(NamedTuple):
    """What is shown of a result."""

    runs: ResultSet
    parts: Sequence[PartChange]
    classes: Sequence[Change]
    combinations: Sequence[Combination]
    no_combinations: str  # why there are none
    figures: Sequence[html.Figure]
    remarks: Sequence[str]
    prefix: str  # of names on the page and of files


def combinations(runs: ResultSet) -> tuple[list[Combination], str]:
    """Gathers what was learned for every few class with test samples.

    Returns:
      The combinations; and, if there are none, why.
    """
    labels = runs.common("test_labels")
    tested = np.intersect1d(runs.splits["few"], labels).astype(int).tolist()
    try:
        neighbors = combos.common_neighbors(runs)
        found = [combos.combination(runs, label, neighbors) for label in tested]
    except UserError as error:
        return [], str(error)
    return found, ""


def render(content: Content, root: Path) -> list[html.Section]:
    """Makes the sections of a result.

    Args:
      content: What they show.
      root: Directory of the page.
    """
    prefix, name = content.prefix, content.runs.name
    figures = "".join(html.figure(one, root) for one in content.figures)
    sections = [
        html.Section(f"{prefix}summary", f"{name}: what changed", _summary(content)),
        html.Section(
            f"{prefix}figures",
            f"{name}: figures",
            tag("div", figures, class_="figures") if figures else "",
        ),
        html.Section(f"{prefix}classes", f"{name}: every class", _classes(content)),
        html.Section(f"{prefix}learned", f"{name}: few classes", _learned(content)),
        html.Section(f"{prefix}made", f"{name}: how it was made", _made(content)),
    ]
    return [section for section in sections if section.content]


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:z.1f}"


def _change(before: float, after: float) -> str:
    return shown_change(100 * before, 100 * after)


def _interval(low: float, high: float) -> str:
    return "-" if np.isnan(low) else f"{100 * low:+.1f} to {100 * high:+.1f}"


def _describe(runs: ResultSet) -> str:
    """Says what a result is of, in a sentence."""
    few, total = len(runs.splits["few"]), runs.num_classes
    first = runs.files[0]
    if first.method == ALPHANET:
        how = f"AlphaNet, {count_of(runs.num_runs, 'run')}, rho {first.rho:g}"
    else:
        how = f"{first.method}, knob {float(first.arrays['knob']):g}"
    return f"{runs.proper_name}: {few} few of {total} classes; corrected by {how}."


def _summary(content: Content) -> str:
    rows = [
        [
            escape(part.name.capitalize()),
            _percent(part.before),
            _percent(part.after)
            + (
                ""
                if part.deviation is None
                else tag("small", f" ± {100 * part.deviation:.2f}")
            ),
            _change(part.before, part.after),
            _interval(part.low, part.high),
        ]
        for part in content.parts
    ]
    heads = ("Classes", "Before", "After", "Change", "95 % interval")
    bad = [
        [
            _link(content, one),
            one.split,
            str(one.training_samples),
            _percent(one.before),
            _percent(one.after),
        ]
        for one in worst(content.classes)
    ]
    return "".join(
        [
            tag("p", escape(_describe(content.runs))),
            html.table("Accuracy before and after", heads, rows),
            tag(
                "p",
                "Percent of test samples, mean and sample standard deviation over "
                "runs. Intervals: a bootstrap over test samples of the same classes, "
                "paired.",
                class_="note",
            ),
            tag("p", escape(_most(content.classes))),
            html.note_list(content.remarks),
            tag("h3", "The classes that do worst now"),
            html.table(
                "The classes that do worst now",
                ("Class", "Split", "Samples", "Before", "After"),
                bad,
                texts=(0, 1),
            ),
        ]
    )


def _most(classes: Sequence[Change]) -> str:
    """Says how many classes gained and lost, and which most."""
    tested = [one for one in classes if one.test_samples]
    few = [one for one in tested if one.split == "few"]
    base = [one for one in tested if one.split != "few"]

    def counts(group: Sequence[Change], name: str) -> str:
        gained, lost = (
            sum(sign * (one.after - one.before) > 0 for one in group)
            for sign in (1, -1)
        )
        return f"of {len(group)} {name} classes, {gained} gained and {lost} lost"

    text = f"{counts(few, 'few')}; {counts(base, 'base')}."
    return text[0].upper() + text[1:]


def _link(content: Content, one: Change) -> str:
    if one.split != "few" or not one.test_samples:
        return escape(one.name)
    return tag("a", escape(one.name), href=f"#{content.prefix}class-{one.label}")


def _flows(flows: Sequence[Flow]) -> str:
    return escape(", ".join(f"{one.name} {one.samples:.1f}" for one in flows)) or "-"


def _classes(content: Content) -> str:
    order = sorted(
        content.classes,
        key=lambda one: (("few", "medium", "many").index(one.split), one.label),
    )
    rows = [
        [
            _link(content, one),
            one.split,
            str(one.training_samples),
            str(one.test_samples),
            _percent(one.before),
            _percent(one.after),
            _change(one.before, one.after),
            _interval(one.low, one.high),
            _flows(one.gained_from),
            _flows(one.lost_to),
        ]
        for one in order
    ]
    heads = (
        *("Class", "Split", "Samples", "Tested", "Before", "After", "Change"),
        *("95 % interval", "Gained from", "Lost to"),
    )
    files = html.links(
        (ending, f"{content.prefix}classes.{ending}") for ending in ("csv", "json")
    )
    return "".join(
        [
            tag(
                "p",
                "Gained from: what samples were taken for that are right now; lost to: "
                "what samples are taken for now that were right; mean number over "
                "runs. Intervals: normal, of paired differences over the class's test "
                "samples.",
                class_="note",
            ),
            html.table(
                "Every class before and after",
                heads,
                rows,
                texts=(0, 1, 8, 9),
                blocks=[one.split for one in order],
            ),
            files,
        ]
    )


def _learned(content: Content) -> str:
    if content.no_combinations:
        return tag("p", escape(content.no_combinations), class_="note")
    return "".join(_one_class(content, each) for each in content.combinations)


def _one_class(content: Content, found: Combination) -> str:
    """Makes what is unfolded of a few class."""
    summary = tag(
        "summary",
        tag("h3", escape(found.name)),
        tag(
            "span",
            f"{count_of(found.training_samples, 'sample')}, "
            f"{_percent(found.baseline_accuracy)} to {_percent(found.accuracy)}, "
            f"{_change(found.baseline_accuracy, found.accuracy)}",
            class_="tag",
        ),
    )
    sign = "+" if found.method == ALPHANET else ""
    terms = [
        [
            escape(term.name),
            term.split,
            f"{term.mean:{sign}.3f}"
            + ("" if term.std is None else tag("small", f" ± {term.std:.3f}")),
        ]
        for term in found.terms
    ]
    what = "Coefficient" if found.method == ALPHANET else "Borrowed"
    mistakes = [
        [
            escape(each.name),
            each.split,
            str(each.baseline),
            f"{each.total / found.num_runs:.1f}",
            str(each.reverse_baseline),
            f"{each.reverse_total / found.num_runs:.1f}",
        ]
        for each in _union(found)
    ]
    parts = [
        html.table(
            f"{found.name}: neighbors", ("Neighbor", "Split", what), terms, texts=(0, 1)
        )
        if terms
        else "",
        ""
        if found.kept is None
        else tag(
            "p",
            f"Of its mean feature's distance from the centre, {found.kept:.2f} is "
            "kept.",
            class_="note",
        ),
        html.table(
            f"{found.name}: mistakes",
            (
                *("Taken for", "Split", "Before", "After"),
                *("Reverse, before", "Reverse, after"),
            ),
            mistakes,
            texts=(0, 1),
        )
        if mistakes
        else "",
    ]
    return tag("details", summary, *parts, id=f"{content.prefix}class-{found.label}")


def _union(found: Combination) -> list[combos.Confusion]:
    """Lists the most frequent confusions before and after, each once."""
    chosen = {
        each.label: each
        for each in (*found.baseline_confusions[:5], *found.confusions[:5])
    }
    return list(chosen.values())


def _made(content: Content) -> str:
    file = content.runs.files[0]
    defaults = Settings(dataset=content.runs.dataset).as_config()
    changed = [
        line
        for line in config_differences(defaults, file.config)
        if not line.startswith(_NOT_SETTINGS)
    ]
    facts = [
        ("Method", file.method),
        ("Settings that differ from the defaults", "; ".join(changed) or "none"),
        ("Versions", ", ".join(f"{k} {v}" for k, v in file.versions.items())),
        ("Files", ", ".join(str(each.path) for each in content.runs.files)),
        (
            "Made of (SHA-256)",
            ", ".join(f"{k} {v[:12]}" for k, v in sorted(file.file_hashes.items())),
        ),
    ]
    if "method_options" in file.arrays:
        options = recorded.options_of(str(file.arrays["method_options"]))
        facts.insert(
            1, ("Options", "; ".join(f"{k}: {_text(v)}" for k, v in options.items()))
        )
    items = [
        tag("div", tag("dt", escape(name)), tag("dd", escape(text)))
        for name, text in facts
    ]
    return tag("dl", *items, class_="wide")


def _text(value: object) -> str:
    return " | ".join(map(str, value)) if isinstance(value, list) else str(value)
