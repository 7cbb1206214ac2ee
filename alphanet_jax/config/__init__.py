"""Settings: every field with its default and help, in one place, and what uses that.

`fields` declares them; from this follow the configs that files under `configs/` build,
the flags of the command line, sweeps (`sweep`), the settings of the paper's datasets
(`presets`) and what the record of a result says about how it was made.
"""
