"""A page of what a correction changed, class by class, and of a comparison.

`changes` has the numbers, `result_page` and `comparison_page` their parts of the page,
and `writing` writes it, with figures and files of the numbers beside it.
"""

from alphanet_jax.report.writing import check_place, write_report

__all__ = ["check_place", "write_report"]
