"""Figures: results -> numbers -> drawing.

Each kind of figure is a module with

    DESCRIPTION             what it shows, for help
    READS                   'experiments', 'one' (all results are one experiment),
                            'file' (a single result) or 'nothing'
    DATA_OPTIONS            what changes the numbers: keywords of `numbers`
    DRAWING_OPTIONS         what changes how they look: keywords of `draw`
    numbers(sources, *, ...)        -> `Numbers`, which are also written as CSV
    draw(numbers, style, *, ...)    -> a matplotlib figure of these numbers alone

and, where it needs them,

    NEEDS_DATA              True for one that takes the datasets themselves
    NEEDS_WORDNET           True for one that takes WordNet
    FILE_OPTIONS            options for files that are written along
    more_files(sources, options)    -> texts of these files by their paths

so a figure can be checked by its numbers, and drawn again from them. `style` has the
looks that figures share, `statistics` the bootstrap, regression and densities,
`saving` the files.
"""

import importlib
from typing import Any

from alphanet_jax.errors import UserError, did_you_mean

__all__ = ["KINDS", "load_kind"]

# Name -> what it shows, in a line.
KINDS = {
    "accuracy_vs_distance": "class accuracy, or its change, against neighbor distance",
    "accuracy_vs_experiment": "split accuracy of named experiments, as points",
    "accuracy_vs_rho": "split accuracy, or its change, against rho",
    "accuracy_vs_samples": "class accuracy against class size, with regression lines",
    "alphas": "densities of the learned coefficients, by neighbor rank",
    "change_vs_rho": "change in split accuracy against rho, for several datasets",
    "class_accuracy_and_samples": "accuracy of every class before and after, by size",
    "class_changes": "change in accuracy of every class, sorted within its split",
    "class_examples": "a row of images with captions",
    "prediction_changes": "how predictions changed: correct, neighbor, other",
    "predictions": "predictions correct, wrong as a neighbor, or else wrong",
    "template_embedding": "a class's classifier before and after, among its samples",
}


def load_kind(name: str) -> Any:
    """Imports the module of a kind of figure.

    Raises:
      UserError: If there is no such kind.
    """
    if name not in KINDS:
        raise UserError(f"unknown figure {name!r}; {did_you_mean(name, KINDS)}")
    return importlib.import_module(f"alphanet_jax.figures.kinds.{name}")
