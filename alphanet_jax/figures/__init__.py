"""Figures: results -> numbers -> drawing.

`kinds` has the kinds, one a file, and `kind` what each consists of. They share
`numbers` (tables of named columns), `options` (which are flags, too), `style` (looks),
`saving` (files), `statistics` (the bootstrap, densities), `drawing` and `panel`
(figures of panels, and what is in one), `wrapping` (text in lines), and what is drawn
of results: `splits` and `rho` (accuracy of splits), `classes` and `distances` (of
single classes), `outcomes` (predictions), `embedding` (points in the plane). In a
notebook:

    kind = load_kind("class_changes")
    numbers = kind.numbers(Sources(load_sets({"mine": [path]}), DataFinder()))
    with (style := make_style("png")).applied():
        kind.draw(numbers, style)
"""

from alphanet_jax.figures.kind import KINDS, Kind, load_kind

__all__ = ["KINDS", "Kind", "load_kind"]
