"""The paper's experiments: what was published, what to run, tables, and a page.

The modules in the order in which a result goes through them:

    grid       a dataset -> the points to train
    measured   result files -> accuracy of splits
    published  the numbers of the paper's tables
    compared   both beside each other, and files of such tables
    tables     which of these tables there are
    facts      tables of datasets and settings
    plans      which figures are drawn of which results
    figures    these figures, drawn and kept
    page       tables and figures -> one HTML file
    report     all of it, into a directory

`main.py paper` is what runs them.
"""

from types import MappingProxyType

# Ending of a table's file -> format of `rendering.render`.
TABLE_FORMATS = MappingProxyType(
    {"md": "markdown", "tex": "latex", "csv": "csv", "json": "json"}
)
