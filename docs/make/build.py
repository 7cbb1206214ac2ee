"""Builds the site: writes all pages to a directory, and lets Sphinx make HTML of them.

python docs/make/build.py              # into site/, any warning an error
python docs/make/build.py --serve      # and shows it at http://localhost:8000
"""

import argparse
import functools
import http.server
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
# Of this tree, not of what may be installed.
sys.path.insert(0, str(_HERE.parents[1]))

from pages import ROOT, write_pages  # noqa: E402


def build(site: Path, *, work: Path) -> int:
    """Builds the site; returns the exit status of Sphinx.

    Args:
      site: Directory of the site, which is replaced.
      work: Directory for the pages and what Sphinx keeps.
    """
    for directory in (site, work):
        shutil.rmtree(directory, ignore_errors=True)
    write_pages(work / "pages")
    command = [sys.executable, "-m", "sphinx", "--builder=html", "--quiet"]
    # Every link within the site is checked; all warnings are shown, and one is enough.
    command += ["--fail-on-warning", f"--doctree-dir={work / 'doctrees'}"]
    command += [f"--conf-dir={_HERE}", str(work / "pages"), str(site)]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Builds the site as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "site", help="[site/]")
    parser.add_argument("--serve", action="store_true", help="show it afterwards")
    arguments = parser.parse_args()
    status = build(arguments.out, work=ROOT / "build" / "docs")
    if status == 0:
        print(f"built {arguments.out / 'index.html'}")
        if arguments.serve:
            handler = functools.partial(
                http.server.SimpleHTTPRequestHandler, directory=arguments.out
            )
            http.server.ThreadingHTTPServer(
                ("localhost", 8000), handler
            ).serve_forever()
    return status


if __name__ == "__main__":
    sys.exit(main())
