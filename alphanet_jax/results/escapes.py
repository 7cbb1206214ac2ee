"""Texts for LaTeX and Markdown, with the characters escaped that mean something."""

import re

__all__ = [
    "collapse",
    "escape_latex",
    "escape_markdown",
    "escape_pipe",
]

# In the order of Unicode; those that look Latin have no command of their own.
_SMALL_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi - pi rho "
    "varsigma sigma tau upsilon phi chi psi omega"
)
_CAPITAL_GREEK = (
    "- - Gamma Delta - - - Theta - - Lambda - - Xi - Pi - - Sigma - Upsilon Phi - Psi "
    "Omega"
)
_MATH = {
    **{chr(0x3B1 + place): name for place, name in enumerate(_SMALL_GREEK.split())},
    **{chr(0x391 + place): name for place, name in enumerate(_CAPITAL_GREEK.split())},
    "\N{PLUS-MINUS SIGN}": "pm",
    "\N{MULTIPLICATION SIGN}": "times",
    "\N{INFINITY}": "infty",
    "\N{LESS-THAN OR EQUAL TO}": "leq",
    "\N{GREATER-THAN OR EQUAL TO}": "geq",
    "\N{RIGHTWARDS ARROW}": "to",
}
_LATEX = {
    **{sign: f"$\\{name}$" for sign, name in _MATH.items() if name != "-"},
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # After the end of a row these would be taken for its options.
    **{sign: f"{{{sign}}}" for sign in "[*"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{NON-BREAKING HYPHEN}": "-",
}


def collapse(text: str) -> str:
    """Replaces all white space by single spaces, and strips it at both ends."""
    return " ".join(text.split())


def escape_latex(text: str) -> str:
    r"""Writes a text for LaTeX, outside of its math.

    Examples:
      >>> print(escape_latex("50 % of \N{GREEK SMALL LETTER RHO}_a"))
      50 \% of $\rho$\_a
    """
    return "".join(_LATEX.get(sign, sign) for sign in collapse(text))


def escape_markdown(text: str) -> str:
    r"""Writes a text for Markdown.

    Examples:
      >>> print(escape_markdown("*new* snake_case"))
      \*new\* snake_case
    """
    # An underscore inside a word means nothing else.
    return re.sub(r"([\\`*<\[\]]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", collapse(text))


def escape_pipe(text: str) -> str:
    """Writes a text for a cell of a pipe table of Markdown."""
    return escape_markdown(text).replace("|", r"\|")
