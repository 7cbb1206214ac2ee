"""The program `alphanet`, and `python -m alphanet_jax`: the commands of `main.py`."""

import sys

from alphanet_jax.commands import cli

__all__ = ["main"]


def main() -> int:
    """Runs the command line; returns the exit status."""
    return cli.main(sys.argv)


if __name__ == "__main__":
    sys.exit(main())
