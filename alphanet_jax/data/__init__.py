"""From files of many kinds, or arrays, to a checked `Dataset`, without JAX.

`registry` says which files make up a dataset, and `paths` where they are. `torch_files`
and `safetensors` read what strangers wrote, on the ground of `untrusted`; `contents`
reads a file of any form. `feature_files`, `classifiers` and `class_files` find and read
samples, classifiers, and the splits and names of classes. `convert` makes plain arrays
of all that once, and `records` tells whether it has. `dataset` loads these arrays, or
takes those of a notebook, with the checks of `checks`.
"""
