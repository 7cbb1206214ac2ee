"""`examples/compare.ipynb` runs, and keeps its promises.

`python tests/test_compare_notebook.py` runs it and stores its outputs anew.
"""

import notebooks
import pytest

NOTEBOOK = notebooks.EXAMPLES / "compare.ipynb"
RESULTS = """
import json
scores = {name: entry["tradeoff"] for name, entry in found["methods"].items()}
print(json.dumps({
    "offset": [accuracy(test, 0.0), accuracy(test, best)],
    "scores": scores,
    "method": plus.method,
    "after": [one.report(*test).after for one in (plus, last)],
    "overall": float((logits.argmax(axis=1) == test[1]).mean()),
}))
"""

pytestmark = notebooks.OF_JUPYTER


@pytest.mark.slow
def test_runs(tmp_path):
    notebook, found = notebooks.run_strictly(NOTEBOOK, tmp_path, RESULTS)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
    (few, overall), (few_after, overall_after) = found["offset"]
    assert few_after > few + 10
    assert overall_after > overall + 1
    # What the text says of the figure.
    scores = found["scores"]
    assert scores["alphanet"] < scores["few_offset"]
    kept = max(
        scores[name] for name in ("few_offset", "logit_adjustment", "gaussian_mix")
    )
    assert (
        min(scores[name] for name in ("balanced_softmax_head", "alphanet_plus")) > kept
    )
    assert found["method"] == "alphanet_plus"
    chosen, on_all = found["after"]
    assert on_all["overall"] > chosen["overall"] + 0.01
    assert found["overall"] == pytest.approx(on_all["overall"], abs=1e-3)


def test_stored_clean():
    kinds = {"stdout", "display_data"}
    notebooks.check_stored(NOTEBOOK, max_bytes=200_000, kinds=kinds)


if __name__ == "__main__":
    notebooks.store(NOTEBOOK)
