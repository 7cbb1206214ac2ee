"""Running notebooks in tests, and storing them clean."""

import json
import re
import tempfile
from pathlib import Path

import pytest

import alphanet_jax

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


# Of Jupyter's own making, in versions other than the newest: not errors.
OF_JUPYTER = [
    pytest.mark.filterwarnings(
        "ignore:Jupyter is migrating its paths:DeprecationWarning",
        r"ignore:datetime\.datetime\.utc:DeprecationWarning",
        r"ignore:'asyncio\..*' is deprecated:DeprecationWarning",
        "ignore:There is no current event loop:DeprecationWarning",
        "ignore:Proactor event loop does not implement:RuntimeWarning",
    )
]

# Before the first cell: a warning that the notebook or the package causes is an error.
STRICT = r"""
import warnings
warnings.filterwarnings("error", module=r"(__main__|alphanet_jax(\..*)?)$")
"""


def execute(notebook, folder, **environment):
    """Runs a notebook in place, untouched by the user's settings."""
    from nbclient import NotebookClient

    variables = {
        # The package may lie in the source tree alone.
        "PYTHONPATH": str(Path(alphanet_jax.__file__).parents[1]),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "JAX_PLATFORMS": "cpu",  # another process may hold the accelerator's memory
    } | environment
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=300,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(EXAMPLES)}},
        ).execute()


def store(path, *, last_cell=""):
    """Runs a notebook and stores it without what is particular to a machine.

    Args:
      path: The notebook.
      last_cell: Code to run after its cells; it is not stored.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(last_cell))
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    del notebook.cells[-1]
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    nbformat.write(notebook, path)


def run_strictly(path, folder, results, **environment):
    """Runs a notebook with warnings as errors.

    Args:
      path: The notebook.
      folder: For Jupyter's own files.
      results: Code that prints JSON, to be run after the last cell.
      **environment: Variables for the kernel.

    Returns:
      The notebook as it was run, and what the last cell printed.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    new_cell = nbformat.v4.new_code_cell
    notebook.cells = [new_cell(STRICT), *notebook.cells, new_cell(results)]
    execute(notebook, folder, **environment)
    (output,) = notebook.cells[-1].outputs
    return notebook, json.loads(output.text)


def check_stored(path, *, max_bytes, kinds):
    """Checks that a notebook is stored as `store` does, and is not too large."""
    assert path.stat().st_size < max_bytes
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["metadata"] == METADATA
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1)), "run from top to bottom"
    outputs = [output for cell in code for output in cell["outputs"]]
    assert {o.get("name", o["output_type"]) for o in outputs} == kinds
    shown = [
        [cell["source"], [o.get("text") for o in cell.get("outputs", [])]]
        for cell in notebook["cells"]
    ]
    places = r"/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\"
    assert not re.search(places, json.dumps(shown))
