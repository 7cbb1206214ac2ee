"""Figures as files, each with the CSV of the numbers that it draws."""

import contextlib
import shutil
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alphanet_jax import files, scratch, stages
from alphanet_jax.errors import UserError
from alphanet_jax.figures.numbers import Numbers, csv_text
from alphanet_jax.figures.style import Style

__all__ = ["check_matplotlib", "save_figure"]

# No clock in a file: equal numbers give equal bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"metadata": {"CreationDate": None}},
    "svg": {"metadata": {"Date": None}},
    "png": {"metadata": {"Software": None}},
}


def check_matplotlib() -> None:
    """Makes sure that figures can be drawn.

    Raises:
      UserError: If matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError(
            "figures need matplotlib: pip install 'alphanet_jax[plots]'"
        ) from None
    matplotlib.use("agg")


def save_figure(
    numbers: Numbers,
    draw: Callable[..., Any],
    stem: Path,
    styles: Sequence[Style],
    *,
    options: Mapping[str, Any] | None = None,
    name_styles: bool | None = None,
    more_files: Mapping[Path, str] | None = None,
    on_failure: Callable[[Style, UserError], None] | None = None,
) -> list[Path]:
    """Draws numbers in some styles, and writes them as CSV.

    Args:
      numbers: The numbers.
      draw: Draws them: `draw(numbers, style, **options)`.
      stem: Path without an ending: `STEM.pdf`, `STEM.csv`; with the name of the style
        where there are several and it is not that of the format, `STEM.arxiv.pdf`.
      styles: The styles.
      options: How to draw.
      name_styles: Whether file names hold that of the style; by default where there
        are several.
      more_files: Texts of other files to write along, by their paths.
      on_failure: Takes each style that the figure cannot be drawn in, and why, where
        it can be drawn in another; the rest is written. By default one that fails is
        an error, and nothing is written.

    Returns:
      The files, those of numbers and others last. All are written, or none. Images in
      a figure of pgf are files of their own beside it, `STEM-img0.png`.

    Raises:
      UserError: If the figure cannot be drawn or written, or two styles would be in
        one file.
    """
    import matplotlib.pyplot as plt

    several = len(styles) > 1 if name_styles is None else name_styles
    paths = _paths(stem, styles, name_styles=several)
    written: list[Path] = []
    failed: list[tuple[Style, UserError]] = []
    with contextlib.ExitStack() as stack:
        try:
            for path, style in zip(paths, styles, strict=True):
                empty = stack.enter_context(scratch.directory())
                others = plt.get_fignums()
                try:
                    with style.applied(), _latex_errors(path, style):
                        figure = draw(numbers, style, **(options or {}))
                        made = _write(figure, path, style.format, empty)
                except UserError as error:
                    if on_failure is None:
                        raise
                    failed.append((style, error))
                    continue
                finally:  # also a figure that could not be drawn to its end
                    for number in set(plt.get_fignums()).difference(others):
                        plt.close(number)
                stages.done(1, "figures")
                for file in made:
                    target = path.with_name(file.name)
                    temporary = stack.enter_context(files.replacing(target))
                    shutil.copyfile(file, temporary)
                    written.append(target)
            if failed and len(failed) == len(styles):
                raise failed[0][1]
            for name, columns in numbers.items():
                end = f".{name}" if name else ""
                path = stem.with_name(f"{stem.name}{end}.csv")
                temporary = stack.enter_context(files.replacing(path))
                temporary.write_text(csv_text(columns), encoding="utf-8")
                written.append(path)
            for path, text in (more_files or {}).items():
                if path.resolve() in [other.resolve() for other in written]:
                    raise UserError(f"{path} is also a file of the figure itself")
                temporary = stack.enter_context(files.replacing(path))
                temporary.write_text(text, encoding="utf-8")
                written.append(path)
        except OSError as error:
            raise UserError(f"{stem}: {error.strerror or error}") from None
    if on_failure is not None:
        for style, reason in failed:
            on_failure(style, reason)
    return written


def _paths(stem: Path, styles: Sequence[Style], *, name_styles: bool) -> list[Path]:
    """Returns the file of every style; refuses two that are one file."""
    found: dict[Path, Style] = {}
    for style in styles:
        named = name_styles and style.name != style.format
        end = f".{style.name}" if named else ""
        path = stem.with_name(f"{stem.name}{end}.{style.format}")
        if path in found:
            raise UserError(
                f"{path}: styles {found[path].name} and {style.name} would both be in "
                "this file; write them to files of different names"
            )
        found[path] = style
    return list(found)


def _write(figure: Any, path: Path, form: str, directory: Path) -> list[Path]:
    """Writes a figure into an empty directory; returns its file, then images of pgf.

    It has the name of its path already, since these files name each other.
    """
    first = directory / path.name
    figure.savefig(first, format=form, **_METADATA.get(form, {}))
    return [first, *sorted(set(directory.iterdir()) - {first})]


@contextlib.contextmanager
def _latex_errors(path: Path, style: Style) -> Iterator[None]:
    """Turns failures of LaTeX, which measures text of pgf, into errors of one line."""
    if style.format != "pgf":  # what it would load takes a tenth of a second
        yield
        return
    from matplotlib.backends.backend_pgf import LatexError

    try:
        yield
    except UserError:
        raise
    except (LatexError, ValueError, RuntimeError, OSError) as error:
        if not _is_from_latex(error):
            raise
        reason, _, output = str(error).partition("\n")
        latex = next((e for e in _causes(error) if isinstance(e, LatexError)), None)
        output += getattr(latex, "latex_output", "")
        # Lines of errors in the output of LaTeX begin so.
        said = [line[2:] for line in output.splitlines() if line.startswith("! ")]
        what = "LaTeX fails"
        if reason.startswith("Error measuring "):
            what = "LaTeX stops at a text of it"
            # The text is in braces, after its font and what matplotlib defines.
            reason = reason.rpartition(r"\def%{\%}")[2].removesuffix("}")
        reason = f"{reason} ({said[0]})" if said else reason
        raise UserError(f"{path}: {what}: {reason}") from error


def _causes(error: BaseException) -> list[BaseException]:
    """Returns an error, and those that it came from."""
    found = [error]
    while (last := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(last)
    return found


def _is_from_latex(error: BaseException) -> bool:
    """Returns whether the part of matplotlib that runs LaTeX raised an error."""
    return any(
        frame.f_globals.get("__name__") == "matplotlib.backends.backend_pgf"
        for each in _causes(error)
        for frame, _ in traceback.walk_tb(each.__traceback__)
    )
