"""The notebook in `examples/` runs, finds what its text says, and is stored clean.

`python tests/test_notebook.py` runs it and stores its outputs anew.
"""

import json
import re
import tempfile
from pathlib import Path

import pytest

import alphanet_jax

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "pure_functions.ipynb"
MAX_BYTES = 300_000
METADATA = {
    "kernelspec": {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}

# Before the first cell: a warning that the notebook or the package causes is an error.
STRICT = r"""
import warnings
warnings.filterwarnings("error", module=r"(__main__|alphanet_jax(\..*)?)$")
"""

# After the last cell.
RESULTS = """
import json
print(json.dumps({
    "shapes": [C, d, len(few), k, len(keys), E, *history.alphas.shape],
    "l1_norms": [float(norms.min()), float(norms.max())],
    "identity_error": identity_error,
    "losses": [float(loss_from_scores), float(loss_from_features)],
    "alone_error": float(alone),
    "before": before.mean(axis=0).tolist(),
    "after": after.mean(axis=0).tolist(),
    "free": free.mean(axis=0).tolist(),
    "pattern": [float(explained), float(kept)],
    "agreement": [agreement, len(y_test)],
    "rows_changed": np.flatnonzero(np.any(W_new != W, axis=1)).tolist(),
    "few": few.tolist(),
}))
"""


def execute(notebook, folder):
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
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        NotebookClient(
            notebook,
            kernel_name="python3",
            timeout=300,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(NOTEBOOK.parent)}},
        ).execute()


def store():
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
    nbformat.write(notebook, NOTEBOOK)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    import nbformat

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    new_cell = nbformat.v4.new_code_cell
    notebook.cells = [new_cell(STRICT), *notebook.cells, new_cell(RESULTS)]
    execute(notebook, tmp_path_factory.mktemp("jupyter"))
    return notebook


@pytest.fixture
def results(executed):
    (output,) = executed.cells[-1].outputs
    return json.loads(output.text)


# Of Jupyter's own making, in versions other than the newest.
@pytest.mark.filterwarnings(
    "ignore:Jupyter is migrating its paths:DeprecationWarning",
    r"ignore:datetime\.datetime\.utc:DeprecationWarning",
    r"ignore:'asyncio\..*' is deprecated:DeprecationWarning",
    "ignore:There is no current event loop:DeprecationWarning",
    "ignore:Proactor event loop does not implement:RuntimeWarning",
)
@pytest.mark.slow
class TestRun:
    def test_nothing_goes_to_stderr(self, executed):
        for cell in executed.cells:
            for output in cell.get("outputs", []):
                assert output.get("name") != "stderr", output.text

    def test_shapes(self, results):
        assert results["shapes"] == [100, 128, 30, 5, 10, 25, 10, 25, 30, 6]
        assert results["l1_norms"] == pytest.approx([1, 1], abs=1e-6)

    def test_score_identity(self, results):
        assert results["identity_error"] < 2e-4  # of logits up to 70
        from_scores, from_features = results["losses"]
        assert from_scores == pytest.approx(from_features, rel=1e-5)

    def test_a_seed_alone_is_the_seed_among_others(self, results):
        # Rounding, which AdamW lets grow over the epochs.
        assert results["alone_error"] < 1e-3

    def test_correction_helps_the_few_classes(self, results):
        # few, medium, many, overall
        assert results["before"] == pytest.approx([31.8, 58.2, 69.8, 54.3], abs=0.1)
        gain = [a - b for a, b in zip(results["after"], results["before"], strict=True)]
        assert gain[0] > 5
        assert min(gain[1:3]) > -6
        assert gain[3] > -0.5

    def test_matrix_predicts_the_same(self, results):
        agree, total = results["agreement"]
        assert total == 8000
        assert agree >= total - 2  # logits closer than rounding
        assert results["rows_changed"] == results["few"]

    def test_what_the_text_says_of_the_coefficients(self, results):
        explained, kept = results["pattern"]
        assert explained > 0.75
        assert kept > 0.75
        few, *others = zip(results["free"], results["after"], strict=True)
        assert few[0] > few[1] - 1.5
        assert all(free > network for free, network in others)


class TestStored:
    @pytest.fixture
    def notebook(self):
        return json.loads(NOTEBOOK.read_text("utf-8"))

    def test_is_small(self):
        assert NOTEBOOK.stat().st_size < MAX_BYTES

    def test_has_no_metadata_of_a_run(self, notebook):
        assert notebook["metadata"] == METADATA
        assert all(cell["metadata"] == {} for cell in notebook["cells"])

    def test_was_run_from_top_to_bottom(self, notebook):
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(
            range(1, len(code) + 1)
        )
        outputs = [output for cell in code for output in cell["outputs"]]
        kinds = {output.get("name", output["output_type"]) for output in outputs}
        assert kinds == {"stdout", "display_data", "execute_result"}

    def test_names_no_place_on_a_machine(self, notebook):
        text = json.dumps(
            [
                [cell["source"], [o.get("text") for o in cell.get("outputs", [])]]
                for cell in notebook["cells"]
            ]
        )
        assert not re.search(r"/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\", text)


if __name__ == "__main__":
    store()
