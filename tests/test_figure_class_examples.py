"""A row of images with captions."""

import re
import struct
import subprocess
import zlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tools
from PIL import Image

from alphanet_jax.commands import cli
from alphanet_jax.figures import saving, style
from alphanet_jax.figures.kinds.class_examples import KIND
from alphanet_jax.figures.numbers import Sources
from alphanet_jax.results.datasets import DataFinder

NOTHING = Sources((), DataFinder())


@pytest.fixture(autouse=True)
def _directory(tmp_path, monkeypatch):
    saving.check_matplotlib()
    monkeypatch.chdir(tmp_path)
    yield
    plt.close("all")


def save(name, shape, **more):
    """Writes an image that is red left, blue right of its middle, green outside."""
    height, width = shape
    pixels = np.zeros((height, width, 3), np.uint8)
    edge = min(shape)
    left, top = (width - edge) // 2, (height - edge) // 2
    pixels[..., 1] = 255
    middle = pixels[top : top + edge, left : left + edge]
    middle[:] = 0
    middle[:, : edge // 2, 0] = 255
    middle[:, edge // 2 :, 2] = 255
    Image.fromarray(pixels).save(name, **more)
    return name


def draw(srcs, labels, look="png", changes=(), **options):
    numbers = KIND.numbers(NOTHING, srcs=srcs, labels=labels)
    look = style.make_style(look, **dict(changes))
    with look.applied():
        return KIND.draw(numbers, look, **options)


def plot(capsys, *flags):
    status = cli.main(["main.py", "plot", "class_examples", *flags])
    return status, capsys.readouterr().err


def bomb(name, width, height):
    """Writes the first bytes of an image that claims to be large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    with open(name, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk)
        file.write(struct.pack(">I", zlib.crc32(chunk)))
        file.write(struct.pack(">I", 4) + b"IDAT" + bytes(8))


def test_numbers_are_names_and_sizes():
    save("wide.png", (20, 60))
    save("high.png", (50, 10))
    found = KIND.numbers(NOTHING, srcs=["wide.png", "high.png"], labels=["a", "b"])[""]
    assert {name: column.tolist() for name, column in found.items()} == {
        "file": ["wide.png", "high.png"],
        "label": ["a", "b"],
        "width": [60, 10],
        "height": [20, 50],
    }


def test_an_image_that_lies_on_its_side_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    save("photo.jpg", (20, 60), exif=exif)
    found = KIND.numbers(NOTHING, srcs=["photo.jpg"], labels=["a"])[""]
    assert (found["width"][0], found["height"][0]) == (20, 60)


@pytest.mark.parametrize("shape", [(40, 40), (20, 90), (90, 20)])
def test_the_middle_is_shown_as_a_square(shape):
    figure = draw([save("a.png", shape)], ["a"], crop=True)
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape[0] == shown.shape[1] == min(shape)
    assert (shown[..., 1] == 0).all()
    assert (shown[:, 0, 0] == 255).all()
    assert (shown[:, -1, 2] == 255).all()


def test_images_are_shown_whole():
    shapes = [(40, 40), (20, 90), (90, 20)]
    names = [save(f"{place}.png", shape) for place, shape in enumerate(shapes)]
    figure = draw(names, ["a", "b", "c"])
    figure.draw_without_rendering()
    for axes, (height, width) in zip(figure.axes, shapes, strict=True):
        shown = axes.images[0].get_array()
        assert shown.shape[:2] == (height, width)
        box = axes.get_window_extent()
        assert box.width / box.height == pytest.approx(width / height)
        assert box.y0 == pytest.approx(figure.axes[0].get_window_extent().y0)


def test_another_shape():
    changes = {"panel_aspect": 2.0}
    figure = draw([save("a.png", (40, 80))], ["a"], changes=changes, crop=True)
    assert figure.axes[0].images[0].get_array().shape[:2] == (40, 80)


@pytest.mark.slow
def test_images_are_not_larger_than_can_be_seen():
    figure = draw([save("a.png", (3000, 3000))], ["a"], changes={"dpi": 100})
    edge = figure.axes[0].images[0].get_array().shape[0]
    assert edge <= 2 * 3.25 * 100


def test_sixteen_bits_and_transparency():
    gray = np.array([[0, 65535], [257 * 100, 257]], np.uint16)
    Image.fromarray(gray).save("gray.png")
    shown = draw(["gray.png"], ["a"]).axes[0].images[0].get_array()
    assert shown[..., 0].tolist() == [[0, 255], [100, 1]]
    Image.fromarray(np.zeros((2, 2, 4), np.uint8)).save("clear.png")
    dark = style.THEMES["dark"][0]
    shown = draw(["clear.png"], ["a"], "web_dark").axes[0].images[0].get_array()
    assert "#" + bytes(shown[0, 0, :3]).hex() == dark
    shown = draw(["clear.png"], ["a"], changes={"transparent": True})
    assert shown.axes[0].images[0].get_array()[0, 0, 3] == 0


@pytest.mark.parametrize("col_wrap", [0, 2])
def test_captions_neither_overlap_nor_leave_the_figure(col_wrap):
    save("a.png", (30, 30))
    labels = [
        "lion",
        "a class with a long name",
        "Supercalifragilisticexpialidocious & 100% $x_1$",
        "",
        "tiger",
    ]
    figure = draw(["a.png"] * 5, labels, col_wrap=col_wrap)
    figure.draw_without_rendering()
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes[:5]]
    images = [axes.get_window_extent() for axes in figure.axes[:5]]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
    for i in range(5):
        for j in range(i):
            if labels[i] and labels[j]:
                assert not boxes[i].overlaps(boxes[j])
            assert not boxes[i].overlaps(images[j])
    joined = figure.axes[2].xaxis.label.get_text()
    assert re.sub(r"\s", "", joined) == re.sub(r"\s", "", labels[2].replace("$", r"\$"))
    assert len({round(box.width, 6) for box in images}) == 1
    assert figure.axes[0].get_gridspec().ncols == (col_wrap or 5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--srcs is missing, for example --srcs lion.png tiger.jpg"),
        (("--srcs", "a.png"), "--labels has 0 captions for 1 images of --srcs"),
        (
            ("--srcs", "a.png", "--labels", "a", "b"),
            "--labels has 2 captions for 1 images of --srcs",
        ),
        (("--srcs", "no.png", "--labels", "a"), "no.png: no such file"),
        (("--srcs", "d", "--labels", "a"), "d: not a readable image (Is a directory)"),
        (
            ("--srcs", "a.png", "text.png", "--labels", "a", "b"),
            "text.png: not a readable image (not an image)",
        ),
        (
            ("--srcs", "large.png", "--labels", "a"),
            "large.png: 9000 x 8000 pixels are too many; at most 50 million are shown",
        ),
        (
            ("--srcs", "bomb.png", "--labels", "a"),
            "bomb.png: has too many pixels; at most 50 million are shown",
        ),
    ],
)
def test_what_is_refused(capsys, tmp_path, flags, said):
    save("a.png", (8, 8))
    (tmp_path / "d").mkdir()
    (tmp_path / "text.png").write_text("no image")
    bomb("large.png", 9000, 8000)
    bomb("bomb.png", 90000, 80000)
    before = sorted(tmp_path.iterdir())
    assert plot(capsys, *flags, "--out=out.png") == (1, f"error: {said}\n")
    assert sorted(tmp_path.iterdir()) == before


def test_a_truncated_image_is_named(capsys, tmp_path):
    save("a.png", (300, 300))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    status, said = plot(capsys, "--srcs", "a.png", "--labels", "a")
    assert status == 1
    assert said.startswith("error: a.png: not a readable image (")
    assert said.count("\n") == 1


def test_the_command(capsys, tmp_path):
    for name in ("a.png", "b.png"):
        save(name, (30, 40))
    flags = ("--srcs", "a.png", "b.png", "--labels", "lion", "tiger, a")
    status, said = plot(capsys, *flags, "--out=o/out.svg")
    assert status == 0
    assert said == "saved o/out.svg\nsaved o/out.csv\n"
    text = (tmp_path / "o/out.csv").read_text()
    assert text == (
        'file,label,width,height\na.png,lion,40,30\nb.png,"tiger, a",40,30\n'
    )


@pytest.mark.slow
def test_images_of_pgf_are_files_beside_it(capsys, tmp_path):
    tools.need_latex()
    save("a.png", (30, 40))
    flags = ("--srcs", "a.png", "a.png", "--labels", "100% a_b", r"$\{}&#~^")
    status, said = plot(capsys, *flags, "--out=out.pgf")
    assert status == 0, said
    made = ["out.pgf", "out-img0.png", "out-img1.png", "out.csv"]
    assert said == "".join(f"saved {name}\n" for name in made)
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{pgf}\begin{document}"
        r"\input{out.pgf}\end{document}"
    )
    command = [style.tex_system(), "-interaction=nonstopmode", "-halt-on-error", "t"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000
