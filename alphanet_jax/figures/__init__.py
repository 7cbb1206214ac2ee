"""Figures: results -> numbers -> drawing.

`kinds` has the kinds, one a file, and `kind` what each consists of. They share
`numbers` (tables of named columns), `options` (which are flags, too), `style` (looks),
`saving` (files), `statistics` (the bootstrap, densities), `drawing` and `panel`
(figures of panels, and what is in one), `wrapping` (text in lines), and what is drawn
of results: `splits` and `rho` (accuracy of splits), `classes` and `distances` (of
single classes), `outcomes` (predictions), `embedding` (vectors in the plane). In a
notebook:

    from alphanet_jax.figures import load_kind
    from alphanet_jax.figures.numbers import Sources
    from alphanet_jax.figures.style import make_style
    from alphanet_jax.results.datasets import DataFinder
    from alphanet_jax.results.sets import load_sets

    sets = load_sets({"quickstart": [Path("results/quickstart/result.npz")]})
    kind, style = load_kind("class_changes"), make_style("png")
    numbers = kind.numbers(Sources(sets, DataFinder()))
    with style.applied():
        figure = kind.draw(numbers, style)
"""

from alphanet_jax.figures.kind import KINDS, Kind, load_kind

__all__ = ["KINDS", "Kind", "load_kind"]
