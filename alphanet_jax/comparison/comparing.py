"""The one function that compares: a dataset and names of methods in, a document out."""

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax.comparison import document, kept
from alphanet_jax.comparison.choosing import Target, choose
from alphanet_jax.comparison.corrections import Judge
from alphanet_jax.comparison.judging import Curve, Samples
from alphanet_jax.comparison.setup import Setup, prepare
from alphanet_jax.comparison.sweep import AlphaNetSweep
from alphanet_jax.config.fields import Settings
from alphanet_jax.data.dataset import Dataset
from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.experiment.problem import NeighborStore
from alphanet_jax.experiment.progress import Report
from alphanet_jax.posthoc import METHODS
from alphanet_jax.stages import stage
from alphanet_jax.version import __version__

__all__ = ["REFERENCE", "RHOS", "compare", "method_names"]

REFERENCE = "unchanged"
ALPHANET = "alphanet"
RHOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 3.0)


def method_names(asked: Sequence[str] = ()) -> list[str]:
    """Lists the methods to compare, in the order of the table.

    Args:
      asked: Names; 'core' and 'all' stand for many. Nothing asked for is 'core'.

    Returns:
      Names of methods, the unchanged classifier always among them.

    Raises:
      UserError: If there is no such method; names near ones.

    Examples:
      >>> method_names(["logit_adjustment", "alphanet"])
      ['unchanged', 'alphanet', 'logit_adjustment']
    """
    every = [REFERENCE, ALPHANET, *(name for name in METHODS if name != REFERENCE)]
    core = [n for n in every if n == ALPHANET or not METHODS[n].optional]
    wanted = {REFERENCE}
    for name in asked or ["core"]:
        if name not in (*every, "all", "core"):
            known = [*every, "core", "all"]
            raise UserError(
                f"unknown method {name!r}; "
                f"{did_you_mean(name, known, most_listed=len(known))}"
            )
        many = {"all": every, "core": core}
        wanted |= set(many.get(name, [name]))
    return [name for name in every if name in wanted]


def compare(
    data: Dataset,
    *,
    methods: Sequence[str] = (),
    settings: Settings | None = None,
    rhos: Sequence[float] = RHOS,
    reference: str = REFERENCE,
    targets: Sequence[Target] = (),
    oracle: bool = False,
    num_folds: int = 5,
    most_per_class: int | None = None,
    level: float = 0.95,
    num_draws: int = 2000,
    seed: int = 0,
    workdir: Path | str | None = None,
    memory_limit: int | None = None,
    neighbors: NeighborStore | None = None,
    report: Report = print,
    on_unsaved: Report | None = None,
) -> dict[str, Any]:
    """Compares corrections of a classifier on one dataset.

    The knob of every method is chosen on validation data; where there are none, by
    cross-validation on training samples. A method that fails does not stop the others.

    Args:
      data: The dataset.
      methods: Names; see `method_names`.
      settings: What AlphaNet is trained with, but for rho; its seeds are averaged.
      rhos: AlphaNet's values of rho.
      reference: The method that differences are taken from.
      targets: What a correction must keep; see `alphanet_jax.comparison.choosing`.
      oracle: Whether a knob is also chosen on test data: what nobody can do.
      num_folds: Folds of the cross-validation.
      most_per_class: Most samples of a class that convex heads are fitted to, drawn by
        `seed`; None for all.
      level: Coverage of all intervals of a statistic together, a fraction.
      num_draws: Draws of test samples for them.
      seed: Of folds, draws, and methods that are random.
      workdir: Where AlphaNet's results and the curves of methods that are done are
        kept, and found again; None for nowhere.
      memory_limit: Bytes that may be used in training.
      neighbors: Where neighbors are kept; None for nowhere.
      report: Takes lines of text about progress.
      on_unsaved: Takes a line about each thing that could not be saved in `workdir`,
        which stops nothing; by default `report` gets a warning.

    Returns:
      The content of `compare.json`; see `alphanet_jax.results.comparison_file`.

    Raises:
      UserError: If anything is not right, or all methods fail.
    """
    names = _check(methods, reference, rhos, most_per_class)
    settings = Settings(dataset=data.name) if settings is None else settings
    setup = prepare(data, num_folds=num_folds, seed=seed, report=report)
    report(f"{len(names)} methods on {data.proper_name}: {setup.describe()}")
    for note in setup.notes:
        report(f"note: {note}")
    root = None if workdir is None else Path(workdir)
    alphanet = AlphaNetSweep(
        settings,
        rhos,
        workdir=None if root is None else root / ALPHANET,
        memory_limit=memory_limit,
        neighbors=neighbors,
        report=report,
        on_unsaved=on_unsaved or (lambda line: report(f"warning: {line}")),
    )
    folds = None if setup.fold_of is None else num_folds
    facts = {"num_folds": folds, "seed": seed, "oracle": oracle}
    curve = _Curves(data, setup, alphanet, facts, root, most_per_class, report)
    curves, failed = _run(names, curve, reference, report)
    report("drawing test samples, for intervals")
    with stage(report, "intervals"):
        entries = document.compared(
            curves,
            setup.test,
            reference=reference,
            level=level,
            num_draws=num_draws,
            seed=seed,
        )
    return _document(
        data,
        settings,
        setup,
        reference=reference,
        level=level,
        methods=entries,
        choice=_choose(curves, setup.val, targets),
        failed=failed,
    )


def _check(
    methods: Sequence[str],
    reference: str,
    rhos: Sequence[float],
    most_per_class: int | None,
) -> list[str]:
    """Lists the methods to compare, the reference among them; checks numbers."""
    names = method_names([*methods, reference] if methods else ())
    if reference not in names:
        names = method_names([*names, reference])
    if not rhos:
        raise UserError("rhos must have at least one value of rho")
    if most_per_class is not None and most_per_class < 1:
        raise UserError(f"most_per_class must be at least 1, got {most_per_class}")
    return names


@dataclasses.dataclass(frozen=True)
class _Curves:
    """Judges methods, each once: curves that are done are kept, and found again.

    Attributes:
      data: The dataset.
      setup: What methods are judged on.
      alphanet: Judges AlphaNet.
      facts: What all curves depend on besides the data.
      root: Where curves are kept; None for nowhere.
      most_per_class: Most samples of a class that heads are fitted to; None for all.
      report: Takes lines of text about progress.
    """

    data: Dataset
    setup: Setup
    alphanet: AlphaNetSweep
    facts: Mapping[str, Any]
    root: Path | None
    most_per_class: int | None
    report: Report

    def __call__(self, name: str) -> Curve:
        """Returns the curve of a method."""
        if self.root is None:
            return self._judged(name)
        hashes = dict(self.data.file_hashes)
        facts = {"version": __version__, "file_hashes": hashes, **self.facts}
        key = kept.key_of(facts | self._facts_of(name))
        path = self.root / "methods" / f"{name}.npz"
        return kept.load_or_make(
            path,
            key,
            lambda: self._judged(name),
            on_unsaved=self.alphanet.on_unsaved,
        )

    @functools.cached_property
    def _shared(self) -> dict[str, Any]:
        return {
            "val": self.setup.val,
            "test": self.setup.test,
            "fold_of": self.setup.fold_of,
            "products": self.setup.products,
            "oracle": self.facts["oracle"],
        }

    @functools.cached_property
    def _judge(self) -> Judge:
        # One for all methods: what several need is made once.
        return Judge(
            self.data,
            **self._shared,
            seed=self.facts["seed"],
            report=self.report,
            most_per_class=self.most_per_class,
        )

    def _judged(self, name: str) -> Curve:
        if name == ALPHANET:
            return self.alphanet.curve(self.data, **self._shared)
        return self._judge.curve(METHODS[name])

    def _facts_of(self, name: str) -> dict[str, Any]:
        """Lists what a method's curve depends on besides what all do."""
        if name == ALPHANET:
            config = self.alphanet.settings.as_config()
            return {"config": config, "rhos": list(self.alphanet.rhos)}
        method = METHODS[name]
        choices = [dict(choice) for choice in method.choices]
        facts: dict[str, Any] = {"name": name, "grid": method.grid, "choices": choices}
        if self.most_per_class is not None and any(method.heads):
            facts["most_per_class"] = self.most_per_class
        return facts


def _choose(
    curves: Sequence[Curve], val: Samples, targets: Sequence[Target]
) -> dict[str, Any] | None:
    """Chooses one of all points, and lists what is known of it."""
    unchanged = [each for each in curves if each.name == REFERENCE]
    if not unchanged or len(curves) == 1:
        return None
    found = choose(curves, val, unchanged=unchanged[0], targets=targets)
    curve = next(each for each in curves if each.name == found.method)
    return {
        "method": found.method,
        "index": found.index,
        "knob": found.knob,
        "options": found.options,
        "targets": [str(target) for target in found.targets],
        "held": found.held,
        "lines": found.lines,
        "val": found.val,
        "test": curve.test[found.index],
    }


def _document(
    data: Dataset, settings: Settings, setup: Setup, **facts: Any
) -> dict[str, Any]:
    """Makes the content of the file."""
    found: dict[str, Any] = document.plain(
        {
            "format": 1,
            "dataset": data.name,
            "proper_name": data.proper_name,
            "alphanet_seeds": settings.seeds,
            "knobs_by": setup.knobs_by,
            "notes": setup.notes,
            **facts,
            "config": settings.as_config(),
            "file_hashes": dict(data.file_hashes),
        }
    )
    return found


def _run(
    names: Sequence[str],
    curve: Callable[[str], Curve],
    reference: str,
    report: Report,
) -> tuple[list[Curve], dict[str, str]]:
    """Judges methods one after the other.

    Returns:
      Their curves, and why the others failed.

    Raises:
      UserError: If the reference fails, once the others are done.
    """
    curves, failed = [], {}
    for number, name in enumerate(names, start=1):
        clock = time.monotonic()
        try:
            with stage(report, f"{number} of {len(names)}: {name}"):
                found = curve(name)
        # Whatever a method cannot do with these data, the others may.
        except (
            *(ArithmeticError, MemoryError, OSError, RuntimeError, ValueError),
        ) as error:
            lines = (str(error) or type(error).__name__).splitlines()
            failed[name] = lines[0]
            report(f"{number} of {len(names)}: {name} failed: {lines[0]}")
            continue
        curves.append(found)
        few, *_, overall = found.test[found.chosen["overall"].index]
        report(
            f"{number} of {len(names)}: {name}, {time.monotonic() - clock:.1f} s, "
            f"few {100 * few:.1f}, overall {100 * overall:.1f}"
        )
    if reference in failed:
        raise UserError(f"the reference {reference} failed: {failed[reference]}")
    return curves, failed
