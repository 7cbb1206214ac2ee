"""A row of images, each with a caption."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from alphanet_jax import files
from alphanet_jax.errors import UserError
from alphanet_jax.figures import drawing, wrapping
from alphanet_jax.figures.kind import Kind
from alphanet_jax.figures.numbers import Numbers, Sources, make_columns
from alphanet_jax.figures.options import About
from alphanet_jax.figures.style import Style

__all__ = ["KIND"]

_DESCRIPTION = """\
Images with captions, such as examples of a few class and of its neighbors. Each is
shown whole, in an equal square or the shape of --panel_aspect; with --crop its middle
fills that. It reads no results. The original's PlotClassExamples.

  python main.py plot class_examples --srcs lion.png tiger.jpg \\
      --labels lion "Bengal tiger" --out=examples.pdf"""

# Inches of an image, for captions of the usual size.
_LEAST_WIDTH = 0.6
# More are no example for a figure, and a small file can claim to be of any size.
_MOST_PIXELS = 50_000_000


@dataclass(frozen=True)
class _NumbersOptions:
    srcs: Annotated[Sequence[str] | None, "image files, such as PNG or JPEG"] = None
    labels: Annotated[Sequence[str] | None, "captions, one for each image"] = None


@dataclass(frozen=True)
class _DrawOptions:
    col_wrap: Annotated[int, About("images in a row; 0 for as many as fit", low=0)] = 0
    crop: Annotated[
        bool, "cut what is beside the middle of images off, so that all are as large"
    ] = False


def _compute(sources: Sources, options: _NumbersOptions) -> Numbers:
    """Lists images and captions.

    Returns:
      Columns file, label, width, height; sizes in pixels, the image upright.
    """
    srcs, labels = options.srcs, options.labels or ()
    if not srcs:
        raise UserError("--srcs is missing, for example --srcs lion.png tiger.jpg")
    if len(labels) != len(srcs):
        raise UserError(
            f"--labels has {len(labels)} captions for {len(srcs)} images of --srcs"
        )
    rows = [
        (src, label, *_read_image(src).size)
        for src, label in zip(srcs, labels, strict=True)
    ]
    return {"": make_columns(("file", "label", "width", "height"), rows)}


def _read_image(path: str) -> Any:
    """Reads an image, upright, with 8 bits for each of red, green, blue and alpha."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    files.check_regular(Path(path))
    try:
        # Its size is in the first bytes, and looked at before memory is taken.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(Path(path))
        with opened:
            if opened.width * opened.height > _MOST_PIXELS:
                raise UserError(
                    f"{path}: {opened.width} x {opened.height} pixels are too many; at "
                    f"most {_MOST_PIXELS // 10**6} million are shown"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = ImageOps.exif_transpose(opened)
                return _with_eight_bits(image).convert("RGBA")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(
            f"{path}: has too many pixels; at most {_MOST_PIXELS // 10**6} million "
            "are shown"
        ) from None
    # Damaged files raise all sorts of errors from deep within the readers.
    except Exception as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else ""
        reason = reason or getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.split()) or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason})") from None


def _with_eight_bits(image: Any) -> Any:
    """Scales gray values of 16 bits down, which would be cut off otherwise."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    gray = np.clip(np.asarray(image, np.float64) / 257.0, 0.0, 255.0)
    return Image.fromarray(np.round(gray).astype(np.uint8))


def _render(numbers: Numbers, style: Style, options: _DrawOptions) -> "drawing.Figure":
    """Draws images above their captions."""
    import matplotlib as mpl

    columns = numbers[""]
    count = len(columns["file"])
    figure, all_axes = drawing.panels(
        style,
        count,
        col_wrap=options.col_wrap,
        inches=_LEAST_WIDTH,
        aspect=1.0,
        sharex=False,
        sharey=False,
    )
    grid = all_axes[0].get_gridspec()
    shape = style.panel_aspect or 1.0
    side = 0.92 * figure.get_figwidth() / grid.ncols
    size = "medium" if grid.ncols <= 3 else mpl.rcParams["xtick.labelsize"]
    captions = [
        wrapping.wrapped(figure, style, label, width=side, size=size)
        for label in columns["label"].tolist()
    ]
    # Rows are as high as their highest image and the longest caption of theirs.
    measure = wrapping.text_ruler(figure, style, size=size)
    heights = []
    for start in range(0, count, grid.ncols):
        row = slice(start, start + grid.ncols)
        shapes = np.maximum(columns["width"][row] / columns["height"][row], shape)
        heights.append(
            figure.get_figwidth()
            / grid.ncols
            / (shape if options.crop else shapes.min())
            + 1.6 * mpl.rcParams["font.size"] / 72.0
            + max(measure(text)[1] for text in captions[row])
        )
    drawing.grow(figure, style, sum(heights) - figure.get_figheight())
    grid.set_height_ratios(heights)
    for axes, file, caption in zip(
        all_axes, columns["file"].tolist(), captions, strict=True
    ):
        image = _fit(_read_image(file), style, shape, side=side, crop=options.crop)
        axes.imshow(np.asarray(image), aspect="equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_xlabel(caption, fontsize=size)
        # Captions of a row begin side by side.
        axes.set_anchor("S")
    return figure


def _fit(image: Any, style: Style, shape: float, *, side: float, crop: bool) -> Any:
    """Makes an image as large as it is shown, or twice that, where it is larger.

    Args:
      image: The image.
      style: The style; what is clear in the image has its background.
      shape: Width by height of the box that it is shown in.
      side: Width of that box, in inches.
      crop: Whether it fills the box.
    """
    from matplotlib.colors import to_rgb
    from PIL import Image, ImageOps

    most = (
        max(1, round(2.0 * side * style.dpi)),
        max(1, round(2 * side * style.dpi / shape)),
    )
    if crop:
        wide = max(1, round(min(image.width, image.height * shape, most[0])))
        pixels = wide, max(1, round(wide / shape))
        image = ImageOps.fit(image, pixels, Image.Resampling.LANCZOS)
    elif image.width > most[0] or image.height > most[1]:
        image = ImageOps.contain(image, most, Image.Resampling.LANCZOS)
    if style.transparent:
        return image
    background = tuple(round(255 * part) for part in to_rgb(style.background))
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image)


KIND = Kind(
    name="class_examples",
    description=_DESCRIPTION,
    reads="nothing",
    numbers_options=_NumbersOptions,
    compute=_compute,
    draw_options=_DrawOptions,
    render=_render,
)
