"""Command line of alphanet_jax: `python main.py [command] --flags`.

It is the program `alphanet` of an installed package, for a checkout. It is short
because everything is in the package, where it can be tested and imported into a
notebook.
"""

import sys

from alphanet_jax.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
