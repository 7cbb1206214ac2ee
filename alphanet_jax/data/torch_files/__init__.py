"""Reads the files of ``torch.save`` and pickles of arrays, without torch or pickle.

`load` takes three kinds of file and tells them apart by their content:

* the zip archive that ``torch.save`` writes: ``<name>/data.pkl`` is a pickle of
  the object, and every storage is an uncompressed entry ``<name>/data/<key>``;
* the older stream of ``torch.save``: four pickles (a magic number, a version,
  facts about the writing system, the object), a pickled list of storage keys,
  and then every storage as an element count followed by its bytes;
* a plain pickle, any protocol, of Python objects that hold tensors (each storage
  is then a byte string with a whole ``torch.save`` stream inside) or arrays.

A pickle is a program, and these files come from strangers. They are therefore
run by a machine of this package's own, which is safe by what it lacks:

* It imports nothing and looks nothing up. A name in a file is a key into
  `names.NAMES`, a fixed table of this package's own functions and inert markers. Any
  other name becomes a `Placeholder`: a name, and nothing else. So does whatever would
  be made by it; its arguments and its state are dropped. No function of the table
  gets a placeholder as an argument: what it would make is a placeholder then. A file
  that is as a whole such an object is refused, and the refusal says the name.
  Operations that take objects from elsewhere are refused altogether.
* Those functions take nothing on trust. They check the type and range of every
  argument and build plain values; the setters of NumPy and of PyTorch that trust
  their arguments are never called.
* Memory follows what is in the file. A declared length is checked against the
  bytes that are left before anything is made, and work that one short operation
  could repeat over long data is counted and limited (`Machine.spend`).
* At the end the result is walked, and anything but plain data and placeholders
  within it is refused.

Tensors and arrays are read-only views of the memory-mapped file, which stays
mapped for as long as one of them lives. A file must not be cut short while it is
mapped. Checksums are not verified, because that would read every page.

`unpickler` is the machine, `operations` what it does, `names` the table, `tensors` and
`values` what it makes, and `archives` what lies around the pickles.
"""

import os

from alphanet_jax.data.torch_files.archives import read
from alphanet_jax.data.torch_files.values import Placeholder, advice
from alphanet_jax.data.untrusted import FileFormatError, blame, map_file

__all__ = ["FileFormatError", "Placeholder", "advice", "load"]


def load(path: str | os.PathLike[str]) -> object:
    """Reads a file of ``torch.save`` or a plain pickle of tensors and arrays.

    Args:
      path: The file. Its kind is told by its content, not by its name.

    Returns:
      What was saved, as nested Python objects: dicts (also `OrderedDict` and
      `Counter`), lists, tuples, sets, text, bytes, numbers, booleans and None.
      Every tensor, parameter and array in them is a read-only NumPy array, mostly
      a view of the mapped file; NumPy's scalars stay such. A `torch.dtype` becomes
      a NumPy dtype, a `torch.Size` a tuple, a `torch.device` text and a bytearray
      bytes. An object of any other class is a `Placeholder`, with its name alone.
      Gradients, hooks and attributes of tensors are left out. A view that torch
      expanded keeps its strides of zero, so a copy of it can be far larger than the
      file.

    Raises:
      FileFormatError: If the file is damaged, or asks for anything but that.
      UserError: If the file cannot be opened.
    """
    with blame(os.fsdecode(path)):
        return read(map_file(os.fsdecode(path)))
