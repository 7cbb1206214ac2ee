"""Settings of Sphinx; `build.py` writes the pages that it reads."""

import re
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1])]

from docutils import nodes  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

from alphanet_jax.version import __version__  # noqa: E402

project = "alphanet_jax"
author = "the authors of alphanet_jax"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "mathml",
]
source_suffix = {".md": "markdown"}
default_role = "code"  # docstrings have names between single backticks
smartquotes = False  # `--` is not a dash here

myst_enable_extensions = ["attrs_inline", "dollarmath"]
myst_heading_anchors = 4
myst_dmath_double_inline = True
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 72
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]

pygments_style = "xcode"
pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = f"alphanet_jax {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_use_index = html_domain_indices = False
html_theme_options = {
    "navigation_with_keys": True,
    "light_css_variables": {
        "color-brand-primary": "#2f4b9b",
        "color-brand-content": "#2f4b9b",
        "font-stack": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
    },
    "dark_css_variables": {
        "color-brand-primary": "#9db4f5",
        "color-brand-content": "#9db4f5",
    },
}
copybutton_selector = "div:not(.output) > div.highlight > pre"


def setup(app: Sphinx) -> None:
    """Completes pages: dashes, and what must not be cut, for the style sheet."""
    app.connect("doctree-resolved", _set_dashes)
    app.connect("doctree-resolved", _mark_lengths)


def _set_dashes(app: Sphinx, tree: nodes.document, page: str) -> None:
    for text in list(tree.findall(nodes.Text)):
        if text.astext().startswith(" -- "):  # between a parameter and what it is
            rest = text.astext().removeprefix(" -- ")
            text.parent.replace(text, nodes.Text(f" – {rest}"))  # noqa: RUF001


def _mark_lengths(app: Sphinx, tree: nodes.document, page: str) -> None:
    for node in tree.findall(nodes.literal):
        if len(node.astext()) <= 32:  # not cut at its hyphens
            node["classes"].append("short")
    for cell in tree.findall(nodes.entry):
        words = re.sub(r"<[^>]*>", " ", cell.astext()).split()
        if max(map(len, words), default=0) > 28:
            cell["classes"].append("long")
