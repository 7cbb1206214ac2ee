"""Formulas as MathML, made when the site is built: a page needs no script for them."""

from typing import Any, Literal

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

__all__ = ["setup"]


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the renderer, which `html_math_renderer` names."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    formula = _mathml(node.astext(), "block")
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def _mathml(source: str, display: Literal["inline", "block"]) -> str:
    # In MathML bars of norms grow with what is beside them, unless told not to.
    found: str = convert(source, display=display)
    return found.replace("<mo>&#x02016;</mo>", '<mo stretchy="false">&#x02016;</mo>')
