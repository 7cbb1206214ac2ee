"""The program `alphanet`, and `python -m alphanet_jax`: the commands of `main.py`."""

import gc
import sys

from alphanet_jax import stopping

__all__ = ["main"]

# New objects between two looks for garbage. Imports and tracing make 300,000, of which
# nearly all stay: looks at them take a fifth of a second with Python's 700, and a tenth
# with 50,000.
_BETWEEN_LOOKS = 400_000


def main() -> int:
    """Runs the command line; returns the exit status."""
    gc.set_threshold(_BETWEEN_LOOKS)
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
        # Python looks for garbage again and again while it ends; what is left may stay.
        gc.freeze()
        return stopping.leave(status)


if __name__ == "__main__":
    sys.exit(main())
