"""The notebook in `examples/` runs, finds what its text says, and is stored clean.

`python tests/test_notebook.py` runs it and stores its outputs anew.
"""

import notebooks
import pytest

NOTEBOOK = notebooks.EXAMPLES / "pure_functions.ipynb"

MAX_BYTES = 300_000
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


pytestmark = notebooks.OF_JUPYTER


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jupyter")
    return notebooks.run_strictly(NOTEBOOK, folder, RESULTS)


@pytest.fixture
def results(executed):
    return executed[1]


@pytest.mark.slow
class TestRun:
    @pytest.mark.slow
    def test_nothing_goes_to_stderr(self, executed):
        for cell in executed[0].cells:
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


def test_stored_clean():
    kinds = {"stdout", "display_data", "execute_result"}
    notebooks.check_stored(NOTEBOOK, max_bytes=300_000, kinds=kinds)


if __name__ == "__main__":
    notebooks.store(NOTEBOOK)
