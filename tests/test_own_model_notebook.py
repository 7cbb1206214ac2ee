"""`examples/own_model.ipynb` runs, with PyTorch and without, and keeps its promises.

`python tests/test_own_model_notebook.py` runs it and stores its outputs anew, and the
model that it trained, which it goes on with where there is no PyTorch.
"""

import json
from importlib.util import find_spec

import notebooks
import pytest
import tools

NOTEBOOK = notebooks.EXAMPLES / "own_model.ipynb"
RECORDED = NOTEBOOK.with_suffix(".npz")

RECORD = f"""
arrays = {{name: tensor.numpy() for name, tensor in net.state_dict().items()}}
np.savez({str(RECORDED)!r}, **arrays)
"""
RESULTS = """
import json
print(json.dumps({
    "torch": HAS_TORCH,
    "before": report.before,
    "after": report.after,
    "chosen": chosen,
    "loaded": [int((logits.argmax(axis=1) == after).sum()), len(after)],
    "patched": [same, changed] if HAS_TORCH else None,
}))
"""
# PyTorch out of sight, whether there is one or not.
HIDE = 'import sys; sys.modules["torch"] = None\n'


def check(found):
    before, after = found["before"], found["after"]
    assert before["few"] < 0.2
    assert after["few"] - before["few"] > 0.08
    assert after["overall"] > before["overall"]
    same, total = found["loaded"]
    assert total == 8000
    assert same >= total - 2  # logits closer than rounding
    for _, few, overall in found["chosen"].values():
        assert few > 100 * before["few"]
        assert overall > 100 * before["overall"]


def run(folder, results):
    notebook, printed = notebooks.run_strictly(NOTEBOOK, folder, results)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", output.text
    return printed


pytestmark = notebooks.OF_JUPYTER


@pytest.mark.slow
def test_with_pytorch(tmp_path):
    if find_spec("torch") is None:
        tools.missing("there is no PyTorch")
    found = run(tmp_path, RESULTS)
    assert found["torch"]
    check(found)
    same, changed = found["patched"]
    assert same >= 7998
    assert changed == 30


@pytest.mark.slow
def test_with_the_recorded_model(tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "STRICT", HIDE + notebooks.STRICT)
    found = run(tmp_path, RESULTS)
    assert not found["torch"]
    check(found)


def test_stored_clean():
    kinds = {"stdout", "display_data"}
    notebooks.check_stored(NOTEBOOK, max_bytes=200_000, kinds=kinds)
    assert RECORDED.stat().st_size < 100_000
    text = json.dumps(json.loads(NOTEBOOK.read_text("utf-8")))
    assert "8000 of 8000 predictions of the patched model" in text


if __name__ == "__main__":
    notebooks.store(NOTEBOOK, last_cell=RECORD)
