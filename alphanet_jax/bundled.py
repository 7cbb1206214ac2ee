"""What comes with the program: the configs, the registry and the embedded data.

In a checkout, and where one is installed with `pip install --editable`, they are the
repository's own folders `configs/` and `data/`; a wheel has them inside the package.
"""

import difflib
from pathlib import Path

from alphanet_jax.errors import UserError

__all__ = [
    "REGISTRY",
    "config_names",
    "find",
    "find_config",
    "is_packaged",
    "root",
    "root_of",
]

REGISTRY = "configs/datasets.toml"

_PACKAGE = Path(__file__).resolve().parent
_INSIDE = _PACKAGE / "_bundled"


def root() -> Path:
    """Returns the directory that holds `configs/` and `data/`."""
    return _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent


def is_packaged(path: Path) -> bool:
    """Returns whether a path is in an installed package, where nothing is written."""
    return path.resolve().is_relative_to(_INSIDE)


def root_of(path: str) -> str:
    """Returns the directory from which a relative path is found.

    Args:
      path: Path relative to the current directory, or to that of what is bundled.

    Returns:
      "." where the path exists in the current directory, or nowhere; otherwise the
      directory of what is bundled.

    Examples:
      >>> root_of("no/such/path")
      '.'
    """
    elsewhere = not Path(path).exists() and (root() / path).exists()
    return str(root()) if elsewhere else "."


def find(path: str) -> str:
    """Returns a relative path as it is, or that of the bundled file; see `root_of`."""
    return str(Path(root_of(path)) / path)


def config_names() -> list[str]:
    """Lists the names of the bundled configs, without the ending `.py`."""
    return sorted(path.stem for path in (root() / "configs").glob("*.py"))


def find_config(text: str) -> str:
    """Returns the path of a config that is given by path or by name.

    Args:
      text: A path, which wins where there is such a file, or the name of a bundled
        config, with or without `configs/` and `.py`. What follows a colon is the
        config's argument, as in `imagenetlt:ride`, and stays.

    Raises:
      UserError: If there is neither such a file nor such a name.
    """
    path, colon, argument = text.partition(":")
    if Path(path).is_file():
        return text
    names = config_names()
    name = path.removeprefix("configs/").removesuffix(".py")
    if name in names:
        return f"{root() / 'configs' / name}.py{colon}{argument}"
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise UserError(
        f"--config: no such file: {text!r}, and no config of that name; {hint}there "
        f"are {', '.join(names)}"
    )
