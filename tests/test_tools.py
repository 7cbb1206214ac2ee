"""What is missing is skipped, but not where everything must run."""

import pytest
import tools


@pytest.mark.parametrize(
    ("asked", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)]
)
def test_missing(monkeypatch, asked, outcome):
    monkeypatch.setenv("ALPHANET_TESTS_NEED_ALL", asked)
    monkeypatch.setenv("PATH", "")
    for need in (tools.need_latex, lambda: tools.need_program("pdftotext")):
        with pytest.raises(outcome, match=r"needs LaTeX|there is no pdftotext"):
            need()
