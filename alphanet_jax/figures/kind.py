"""Kinds of figures: results -> numbers -> drawing.

A kind is checked by its numbers, which are also written as CSV, and drawn again from
them. Each is a file in `figures.kinds` that exports its `KIND`.
"""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from alphanet_jax.errors import UserError, did_you_mean
from alphanet_jax.figures import fitting
from alphanet_jax.figures.numbers import Numbers, Sources
from alphanet_jax.figures.options import Option, declared
from alphanet_jax.figures.style import Style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KINDS", "ORIGINALS", "Kind", "MoreFiles", "load_kind"]

# Name -> what it shows, in a line. Listed here so that help need not load them all.
KINDS = MappingProxyType(
    {
        "accuracy_vs_distance": "class accuracy, or its change, against neighbor "
        "distance",
        "accuracy_vs_experiment": "split accuracy of named experiments, as points",
        "accuracy_vs_rho": "split accuracy, or its change, against rho",
        "accuracy_vs_samples": "class accuracy against class size, with regression "
        "lines",
        "alphas": "densities of the learned coefficients, by neighbor rank",
        "change_vs_rho": "change in split accuracy against rho, for several datasets",
        "class_accuracy_and_samples": "accuracy of every class before and after, by "
        "size",
        "class_changes": "change in accuracy of every class, sorted within its split",
        "class_examples": "a row of images with captions",
        "prediction_changes": "how predictions changed: correct, neighbor, other",
        "predictions": "predictions correct, wrong as a neighbor, or else wrong",
        "template_embedding": "a class's classifier before and after, among its "
        "samples",
        "tradeoff": "few against overall accuracy of many corrections, over their "
        "knobs",
    }
)
# The names of the original program -> ours.
ORIGINALS = {
    "PlotAlphaDist": "alphas",
    "PlotClassExamples": "class_examples",
    "PlotClsAccAndSamples": "class_accuracy_and_samples",
    "PlotClsAccDeltaBySplit": "class_changes",
    "PlotClsAccVsSamples": "accuracy_vs_samples",
    "PlotPredChanges": "prediction_changes",
    "PlotPredCounts": "predictions",
    "PlotSplitAccVsExp": "accuracy_vs_experiment",
    "PlotSplitAccVsRhosSingle": "accuracy_vs_rho",
    "PlotSplitClsAccDeltaVsNNDist": "accuracy_vs_distance",
    "PlotTemplateDeltas": "template_embedding",
    "run_plot_acc_deltas_vs_rhos": "change_vs_rho",
}

N = TypeVar("N")  # options of the numbers
D = TypeVar("D")  # options of the drawing
F = TypeVar("F")  # options of more files


@dataclasses.dataclass(frozen=True)
class MoreFiles(Generic[N, F]):
    """Files that are written beside a figure.

    Attributes:
      options: Dataclass of their options.
      texts: Returns their texts by their paths: `texts(sources, numbers_options,
        options)`.
    """

    options: type[F]
    texts: Callable[[Sources, N, F], dict[Path, str]]


@dataclasses.dataclass(frozen=True)
class Kind(Generic[N, D]):
    """A kind of figure.

    Fields of its dataclasses of options are the keywords of `numbers` and `draw` and
    the flags of `plot`.

    Attributes:
      name: Its name, one of `KINDS`.
      description: What it shows, for help.
      reads: What it reads: 'experiments', 'one' (all results are one experiment),
        'file' (a single result) or 'nothing'.
      numbers_options: Dataclass of what changes the numbers.
      compute: Computes the numbers: `compute(sources, options)`.
      draw_options: Dataclass of what changes how they look.
      render: Draws these numbers alone: `render(numbers, style, options)`.
      needs_data: Whether it may need the datasets themselves.
      needs_wordnet: Whether it may need WordNet.
      more_files: Files that are written beside it.
      room: How much room its panels need; by default that of most.
      packages: Packages that it needs besides matplotlib, by the names that they are
        imported by; the extra 'plots' has them.
    """

    name: str
    description: str
    reads: Literal["experiments", "one", "file", "nothing"]
    numbers_options: type[N]
    compute: Callable[[Sources, N], Numbers]
    draw_options: type[D]
    render: Callable[[Numbers, Style, D], "Figure"]
    needs_data: bool = False
    needs_wordnet: bool = False
    more_files: MoreFiles[N, Any] | None = None
    room: fitting.Room | None = None
    packages: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """What it shows, in a line."""
        return KINDS[self.name]

    @property
    def options(self) -> tuple[Option, ...]:
        """All options: of the numbers, of the drawing, of more files."""
        more = declared(self.more_files.options) if self.more_files else ()
        return (*declared(self.numbers_options), *declared(self.draw_options), *more)

    def check_packages(self) -> None:
        """Checks that all packages that it needs are installed.

        Raises:
          UserError: If one is not.
        """
        for name in self.packages:
            try:
                importlib.import_module(name)
            except ImportError:
                raise UserError(
                    f"figure {self.name} needs {name}: pip install "
                    "'alphanet_jax[plots]'"
                ) from None

    def numbers(self, sources: Sources, **options: Any) -> Numbers:
        """Computes the numbers of a figure.

        Args:
          sources: Results.
          **options: Fields of `numbers_options`.

        Returns:
          Tables of named columns.
        """
        return self.compute(sources, self.numbers_options(**options))

    def draw(self, numbers: Numbers, style: Style, **options: Any) -> "Figure":
        """Draws numbers.

        Args:
          numbers: What `numbers` returns.
          style: The style, which must be applied: `with style.applied(): ...`.
          **options: Fields of `draw_options`.

        Returns:
          The figure, in which nothing is cut off or overlaps.

        Raises:
          UserError: If what is drawn has no room in the size that the style asks for.
        """
        chosen: Any = self.draw_options(**options)
        instead = []
        if style.aspect is not None and getattr(chosen, "legend_loc", "") == "above":
            beside = dataclasses.replace(chosen, legend_loc="beside")
            instead.append(lambda look: self.render(numbers, look, beside))
        return fitting.fitted(
            lambda look: self.render(numbers, look, chosen),
            style,
            instead=instead,
            needs=self.room,
        )


def load_kind(name: str) -> Kind[Any, Any]:
    """Loads a kind of figure.

    Raises:
      UserError: If there is no such kind.
    """
    if name not in KINDS:
        originals = {original.lower(): ours for original, ours in ORIGINALS.items()}
        ours = originals.get(name.lower())
        hint = f"did you mean {ours!r}?"
        if ours is None:
            hint = did_you_mean(name, KINDS, most_listed=len(KINDS))
        raise UserError(f"unknown figure {name!r}; {hint}")
    module = importlib.import_module(f"alphanet_jax.figures.kinds.{name}")
    kind: Kind[Any, Any] = module.KIND
    return kind
