"""How figures look: five styles for print and web, and one for a quick look.

Colors are distinct in color-blind vision, too (Okabe and Ito's), and every split has a
marker of its own besides.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from alphanet_jax.errors import UserError
from alphanet_jax.figures.options import About

__all__ = [
    "CONTEXTS",
    "FORMATS",
    "STYLES",
    "THEMES",
    "Style",
    "check_tools",
    "make_style",
    "tex_system",
]

THEMES = {
    # background, foreground, secondary (grids, guides, notes)
    "light": ("#ffffff", "#1f1f1f", "#767676"),
    "dark": ("#15191e", "#e8e8e8", "#9aa3ad"),
}
# How large text and lines are against the figure.
CONTEXTS = {"paper": 1.0, "notebook": 1.2, "talk": 1.5, "poster": 2.0}
_FAMILIES = ("serif", "sans-serif", "monospace", "cursive", "fantasy")
_SPLIT_COLORS = {
    "light": {
        "few": "#d55e00",
        "medium": "#009e73",
        "many": "#0072b2",
        "base": "#56719a",
        "overall": "#4d4d4d",
    },
    "dark": {
        "few": "#ff8c42",
        "medium": "#2ec4a0",
        "many": "#5db7f5",
        "base": "#93aed4",
        "overall": "#d0d0d0",
    },
}
_MARKERS = {"few": "o", "medium": "s", "many": "^", "base": "v", "overall": "D"}
_OUTCOME_COLORS = {
    "light": {
        "correct": "#0072b2",
        "neighbor": "#e69f00",
        "semantic": "#882255",
        "other": "#8c8c8c",
    },
    "dark": {
        "correct": "#5db7f5",
        "neighbor": "#ffc04d",
        "semantic": "#ffb3dd",
        "other": "#8e979f",
    },
}
_CYCLES = {
    "light": ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#4d4d4d"),
    "dark": ("#5db7f5", "#ff8c42", "#2ec4a0", "#e8a3cd", "#ffc04d", "#d0d0d0"),
}


@dataclasses.dataclass(frozen=True)
class Style:
    """The looks of a figure; all but name and format are flags of `plot`, too."""

    name: Annotated[str, "name of the style"]
    format: Annotated[str, "format of the file: pgf, pdf, svg or png"]
    theme: Annotated[
        str, About("light or dark [the style's]", choices=tuple(THEMES))
    ] = "light"
    context: Annotated[
        str,
        About(
            "how large text and lines are: paper, notebook, talk, poster [paper]",
            choices=tuple(CONTEXTS),
        ),
    ] = "paper"
    width: Annotated[str, "half, full, or a number of inches [half]"] = "half"
    default_half_width: Annotated[float, "inches of a half width [the style's]"] = 3.25
    default_full_width: Annotated[float, "inches of a full width [the style's]"] = 6.75
    aspect: Annotated[
        float | None,
        "width of the figure by its height, all around panels included, as 1.5 or 3:2 "
        "[what --panel_aspect makes]",
    ] = None
    panel_aspect: Annotated[
        float | None,
        "width of a panel, with its labels, by its height, as 1.5 or 3:2 [the kind's]",
    ] = None
    dpi: Annotated[int, "dots per inch [200]"] = 200
    font_default: Annotated[
        str,
        "serif, sans-serif, monospace, cursive, fantasy or a font's name [the style's]",
    ] = "sans-serif"
    font_serif: Annotated[
        Sequence[str] | None,
        "fonts that serif stands for, the first that is installed [matplotlib's]",
    ] = None
    font_sans_serif: Annotated[
        Sequence[str] | None, "fonts that sans-serif stands for, likewise"
    ] = None
    font_monospace: Annotated[
        Sequence[str] | None, "fonts that monospace stands for, likewise"
    ] = None
    font_cursive: Annotated[
        Sequence[str] | None, "fonts that cursive stands for, likewise"
    ] = None
    font_fantasy: Annotated[
        Sequence[str] | None, "fonts that fantasy stands for, likewise"
    ] = None
    font_math: Annotated[
        str,
        About(
            "font of formulas: dejavusans, dejavuserif, stix, stixsans, cm",
            choices=("dejavusans", "dejavuserif", "stix", "stixsans", "cm"),
        ),
    ] = "dejavusans"
    font_size: Annotated[float, "size of text, in points [the style's]"] = 9.0
    small_font_size: Annotated[
        float, "size of tick labels and legends, in points [the style's]"
    ] = 7.5
    bg: Annotated[str | None, "color of the background [the theme's]"] = None
    fg_primary: Annotated[str | None, "color of text and axes [the theme's]"] = None
    fg_secondary: Annotated[str | None, "color of guides and notes [the theme's]"] = (
        None
    )
    transparent: Annotated[bool, "leave the background out"] = False
    scale: Annotated[float, "factor on the size of everything [1]"] = 1.0

    @property
    def background(self) -> str:
        """Color of the background."""
        return self.bg or THEMES[self.theme][0]

    @property
    def foreground(self) -> str:
        """Color of text and axes."""
        return self.fg_primary or THEMES[self.theme][1]

    @property
    def secondary(self) -> str:
        """Color of guides and notes."""
        return self.fg_secondary or THEMES[self.theme][2]

    @property
    def splits(self) -> dict[str, str]:
        """Colors of few, medium, many, base and overall."""
        return _SPLIT_COLORS[self.theme]

    @property
    def markers(self) -> dict[str, str]:
        """Markers of few, medium, many, base and overall."""
        return _MARKERS

    @property
    def outcomes(self) -> dict[str, str]:
        """Colors of predictions: correct, neighbor, semantic (neighbor), other."""
        return _OUTCOME_COLORS[self.theme]

    @property
    def cycle(self) -> tuple[str, ...]:
        """Colors of things that have no color of their own."""
        return _CYCLES[self.theme]

    def size(self, *, aspect: float = 2.0, rows: int = 1, columns: int = 1) -> Any:
        """Returns width and height of a figure, in inches.

        Args:
          aspect: Width by height of a panel, where the style has neither that nor one
            of the figure.
          rows: Rows of panels.
          columns: Panels in a row.
        """
        widths = {"half": self.default_half_width, "full": self.default_full_width}
        width = widths[self.width] if self.width in widths else float(self.width)
        height = rows * width / columns / (self.panel_aspect or aspect)
        if self.aspect is not None:
            height = width / self.aspect
        return width * self.scale, height * self.scale

    def text(self, text: str) -> str:
        """Makes a text safe to draw: escapes what LaTeX or formulas would interpret."""
        if self.format != "pgf":
            return text.replace("$", r"\$")
        special = {
            "\\": r"\textbackslash{}",
            "{": r"\{",
            "}": r"\}",
            "$": r"\textdollar{}",  # matplotlib turns \$ back into a bare one
            "&": r"\&",
            "#": r"\#",
            "_": r"\_",
            "~": r"\textasciitilde{}",
        }  # matplotlib itself takes care of % and ^
        return "".join(special.get(character, character) for character in text)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Draws in this style whatever is drawn in the block."""
        import cycler
        import matplotlib as mpl

        size = CONTEXTS[self.context] * self.scale
        fg, small = self.foreground, self.small_font_size * size
        params: dict[str, Any] = {
            "font.family": self.font_default,
            "mathtext.fontset": self.font_math,
            "font.size": self.font_size * size,
            "axes.titlesize": self.font_size * size,
            "axes.labelsize": self.font_size * size,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "legend.title_fontsize": small,
            "legend.frameon": False,
            "legend.handlelength": 1.5,
            "figure.constrained_layout.use": True,
            "figure.dpi": self.dpi,
            "savefig.dpi": self.dpi,
            "figure.facecolor": self.background,
            "axes.facecolor": self.background,
            "savefig.facecolor": self.background,
            "savefig.transparent": self.transparent,
            "text.color": fg,
            "axes.labelcolor": fg,
            "axes.edgecolor": fg,
            "xtick.color": fg,
            "ytick.color": fg,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.linewidth": 0.7 * size,
            "axes.axisbelow": True,
            "xtick.major.width": 0.7 * size,
            "ytick.major.width": 0.7 * size,
            "xtick.minor.width": 0.5 * size,
            "ytick.minor.width": 0.5 * size,
            "xtick.major.size": 3.0 * size,
            "ytick.major.size": 3.0 * size,
            "lines.linewidth": 1.3 * size,
            "lines.markersize": 4.0 * size,
            "patch.linewidth": 0.7 * size,
            "hatch.linewidth": 0.6 * size,
            "hatch.color": self.background,
            "grid.color": self.secondary,
            "grid.alpha": 0.3,
            "grid.linewidth": 0.5 * size,
            "axes.prop_cycle": cycler.cycler(color=self.cycle),
            "pdf.fonttype": 42,
            "svg.hashsalt": "alphanet_jax",
        }
        if self.font_default == "serif" and self.font_math == "stix":
            params["font.serif"] = ["STIXGeneral", "DejaVu Serif"]
        elif self.font_default not in _FAMILIES:
            params["font.family"] = _known_font(self.font_default)
        for family in _FAMILIES:
            name = f"font_{family.replace('-', '_')}"
            if (fonts := getattr(self, name)) is not None:
                params[f"font.{family}"] = _installed(fonts, name)
        if self.format == "pgf":
            params |= {"pgf.texsystem": tex_system(), "pgf.rcfonts": False}
        with mpl.rc_context(params):
            yield


def _is_installed(font: str) -> bool:
    from matplotlib import font_manager

    try:
        font_manager.findfont(font, fallback_to_default=False)
    except ValueError:
        return False
    return True


def _known_font(name: str) -> str:
    if not _is_installed(name):
        raise UserError(
            f"--font_default: no font {name!r}; give {', '.join(_FAMILIES)} or the "
            "name of a font that is installed"
        )
    return name


def check_tools(style: Style) -> None:
    """Checks that the programs that a style needs are installed.

    Raises:
      UserError: If one is not.
    """
    if style.format == "pgf":
        tex_system()


def _installed(fonts: Sequence[str], option: str) -> list[str]:
    """Returns those of a family that are there: one is enough."""
    found = [font for font in fonts if _is_installed(font)]
    if not found:
        raise UserError(
            f"--{option}: none of {', '.join(map(repr, fonts))} is installed; name a "
            "font that is"
        )
    return found


def tex_system() -> str:
    """Names a LaTeX that is installed: matplotlib measures text of pgf with it.

    Raises:
      UserError: If there is none.
    """
    for name in ("xelatex", "lualatex", "pdflatex"):
        if shutil.which(name):
            return name
    raise UserError(
        "a figure in pgf needs LaTeX (xelatex, lualatex or pdflatex) to measure its "
        "text; install it, or choose another --style"
    )


STYLES = {
    style.name: style
    for style in (
        Style("paper", "pgf", font_default="serif", font_math="stix"),
        Style("arxiv", "pdf", font_default="serif", font_math="stix"),
        Style(
            "book",
            "pdf",
            font_default="serif",
            font_math="stix",
            font_size=10.0,
            small_font_size=8.5,
            default_half_width=3.0,
            default_full_width=5.0,
        ),
        Style("web_light", "svg", default_half_width=5.0, default_full_width=9.0),
        Style(
            "web_dark",
            "svg",
            theme="dark",
            default_half_width=5.0,
            default_full_width=9.0,
        ),
        Style("png", "png"),
    )
}
# The style for a file whose ending alone is known.
FORMATS = {"pgf": "paper", "pdf": "arxiv", "svg": "web_light", "png": "png"}


def make_style(name: str, **changes: Any) -> Style:
    """Returns a style, with changes.

    Args:
      name: One of `STYLES`.
      **changes: Attributes that differ; None leaves one as it is.

    Raises:
      UserError: If a value is not allowed.
    """
    style = dataclasses.replace(
        STYLES[name], **{k: v for k, v in changes.items() if v is not None}
    )
    if style.width not in ("half", "full"):
        try:
            good = 0.0 < float(style.width) < 100.0
        except ValueError:
            good = False
        if not good:
            raise UserError(
                f"--width must be half, full or a number of inches below 100, got "
                f"{style.width!r}"
            )
    if style.aspect is not None and style.panel_aspect is not None:
        raise UserError(
            f"--aspect={style.aspect:g} is the figure's, "
            f"--panel_aspect={style.panel_aspect:g} the panel's, and one follows from "
            "the other; give one of them"
        )
    _check_colors(style)
    return style


def _check_colors(style: Style) -> None:
    from matplotlib.colors import is_color_like

    for name in ("bg", "fg_primary", "fg_secondary"):
        color = getattr(style, name)
        if color is not None and not is_color_like(color):
            raise UserError(
                f"--{name} must be a color, such as black or '#1f1f1f', got {color!r}"
            )
