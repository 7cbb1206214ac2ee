"""The program `alphanet`, and `python -m alphanet_jax`: the commands of `main.py`."""

import sys

from alphanet_jax import stopping

__all__ = ["main"]


def main() -> int:
    """Runs the command line; returns the exit status."""
    with stopping.listening():
        try:
            # Imported here, where Ctrl-C is heard already.
            from alphanet_jax.commands import cli

            status = cli.main(sys.argv)
        except BaseException as error:
            # A library may have made something else of what a signal raised.
            if not isinstance(error, KeyboardInterrupt) and not stopping.was_asked():
                raise
            status = stopping.status_of(error)
            print(f"error: {stopping.line(status)}", file=sys.stderr)
        return stopping.leave(status)


if __name__ == "__main__":
    sys.exit(main())
