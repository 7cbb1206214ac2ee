"""From files of many kinds to a checked `Dataset`.

`torch_files` reads what PyTorch and pickle write and runs nothing of it, `registry`
says which files make up a dataset, `convert` turns them into plain arrays once, and
`dataset` loads these, with the checks of `checks`. Nothing here knows of JAX.
"""
