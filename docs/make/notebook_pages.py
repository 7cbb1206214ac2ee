"""Notebooks as pages: their text, their code and what it gave."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["notebook_page"]


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Turns a notebook into Markdown.

    Args:
      path: The notebook, after which its images are named.

    Returns:
      Text, and the images that it shows, by name.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    images: dict[str, bytes] = {}
    parts = []
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts.append(f"```python\n{source}\n```")
            for output in cell["outputs"]:
                parts += _shown(output, path.stem, images)
    return "\n\n".join(parts) + "\n", images


def _shown(output: Any, name: str, images: dict[str, bytes]) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        image = f"{name}_{len(images)}.png"
        images[image] = base64.b64decode("".join(data["image/png"]))
        yield f"![What the code above draws]({image})"
    elif text := "".join(output.get("text") or data.get("text/plain") or ""):
        yield f"```{{code-block}} text\n:class: output\n\n{text.rstrip()}\n```"
