"""From files of many kinds, or arrays, to a checked `Dataset`, without JAX.

`registry` lists the files of a dataset, and `paths` finds them. `torch_files` and
`safetensors` read files from strangers, with the checks of `untrusted`; `contents`
reads a file of any form. `feature_files`, `classifiers` and `class_files` find and read
samples, classifiers, and the splits and names of classes. `convert` makes plain arrays
of all that once, and `records` checks that they are up to date. `loading` makes a
`dataset` of these arrays, which can be made of those of a notebook, too, by the same
`checks`.

The way back: `checkpoint_copies` copies the user's own file with another head in it,
`put_back` makes that as it was stored, and `patching` writes it where it lies, which
`places` and `zip_members` find; all other bytes stay.
"""
