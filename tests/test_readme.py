"""What the README and the first page say of the embedded data, computed."""

import re
from pathlib import Path

import numpy as np

from alphanet_jax.config.presets import dataset_settings
from alphanet_jax.data import loading, registry

ROOT = Path(__file__).parents[1]


def load():
    settings = dataset_settings("cifar100lt_effnetlite0_crt")
    entry = registry.get_entry(ROOT / settings.registry, settings.dataset)
    return loading.load_dataset(entry, ROOT)


def test_one_number_on_the_few_logits():
    data = load()

    def predict(group, offset):
        logits = group.features @ data.weight.T + data.bias
        logits[:, data.few_classes] += offset
        return logits.argmax(axis=1)

    offsets = np.arange(0, 41) / 10  # 0, 0.1 ... 4
    right = [(predict(data.val, o) == data.val.labels).mean() for o in offsets]
    offset = offsets[np.argmax(right)]
    correct = predict(data.test, offset) == data.test.labels
    found = [
        100 * correct[np.isin(data.test.labels, data.splits[split])].mean()
        for split in ("few", "medium", "many")
    ]
    found = [offset, *found, 100 * correct.mean()]

    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"(?m)^Offset on few .*$", text)
    said = [float(number) for number in re.findall(r"\d+\.\d+", row)]
    np.testing.assert_allclose(found, said, atol=0.051)
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        (first,) = re.findall(r"(?m)^\| one number added to all few logits .*$", text)
        said = re.findall(r"\d+\.\d+", first)
        assert said == [f"{found[1]:.1f}", f"{found[-1]:.1f}"]


def test_first_screen():
    """One screen and a half, in which CI finds its test command."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    command = re.search(r"<!-- test command -->\n```bash\n(.*?)\n```", text, re.DOTALL)
    assert command[1].endswith(".venv/bin/python -m pytest -q")


def test_comparison_is_that_of_the_evidence():
    """The README and the first page repeat rows of the long table."""
    evidence = (ROOT / "docs" / "corrections.md").read_text(encoding="utf-8")
    names = {
        "unchanged": "unchanged",
        "AlphaNet (rho 0.75)": "AlphaNet (rho)",
        "one number added to all few logits": "offset on few",
        "*alphanet+*": "**alphanet+**",
    }
    for page in ("README.md", "docs/index.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for short, long in names.items():
            (row,) = re.findall(
                rf"(?m)^\| {re.escape(short)}.* \| (.+) \| (.+) \|$", text
            )
            (other,) = re.findall(
                rf"(?m)^\| {re.escape(long)} \| [\d.]+ \| ([\d.]+) / ([\d.]+) ",
                evidence,
            )
            assert row == other, short
