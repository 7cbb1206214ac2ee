"""The names that a file may use, and what each stands for here.

A function stands for one of Python, NumPy or PyTorch of the same name, and takes the
machine and then arguments from the file, which can be of any type: it checks them all
and builds plain values. Everything else is an inert marker or a dtype.
"""

import collections
import re
import types
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from alphanet_jax.data.torch_files.tensors import (
    EXTENSION_DTYPES,
    TORCH_DTYPES,
    TORCH_STORAGES,
    Storage,
    StorageClass,
    build_tensor,
)
from alphanet_jax.data.torch_files.unpickler import Machine
from alphanet_jax.data.torch_files.values import (
    MAX_NAME,
    SEQUENCES,
    Function,
    Marker,
    Placeholder,
    Shell,
    bytes_of,
)
from alphanet_jax.data.untrusted import (
    Refused,
    check_sizes,
    expect,
    expect_size,
    quote,
    whole_array,
)

_NUMPY_DTYPE_CODE: Final = re.compile(
    r"(b1|[iu][1248]|f[248]|c8|c16|[SU][0-9]{1,7})", re.ASCII
)

_names: Final[dict[tuple[object, object], object]] = {}
# Pickles find nothing but what is in here, under module and name.
NAMES: Final = types.MappingProxyType(_names)


def _offer(value: object, *names: str) -> None:
    """Puts a value on the list of names."""
    for name in names:
        module, _, attribute = name.rpartition(".")
        _names[module, attribute] = value


def _stand_in(*names: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Puts a function on the list of names, in place of those of other libraries."""

    def register(function: Callable[..., object]) -> Callable[..., object]:
        most = function.__code__.co_argcount - 1
        fewest = most - len(function.__defaults__ or ())
        for name in names:
            _offer(Function(name, function, fewest, most), name)
        return function

    return register


for _name in ("numpy.ndarray", "torch.Tensor", "torch._tensor.Tensor"):
    _offer(Marker(_name), _name)
_offer(Marker("torch.nn.Parameter"), "torch.nn.parameter.Parameter")
for _name, _dtype in TORCH_DTYPES.items():
    _offer(_dtype, f"torch.{_name}")
for _name, _dtype in EXTENSION_DTYPES.items():
    _offer(_dtype, f"ml_dtypes.{_name}")
for _name, _dtype_name in TORCH_STORAGES.items():
    _offer(StorageClass(TORCH_DTYPES[_dtype_name]), f"torch.{_name}")
_offer(StorageClass(None), "torch.storage.UntypedStorage", "torch.UntypedStorage")


# --- Python --------------------------------------------------------------------------


@_stand_in("_codecs.encode")
def _codecs_encode(machine: Machine, text: object, encoding: object) -> object:
    """Makes bytes of text: how pickles before protocol 3 store bytes."""
    if type(encoding) is not str or encoding not in ("latin1", "latin-1"):
        raise Refused("encodes text, and not as latin1, which stands for bytes")
    content = expect(text, str, "text that stands for bytes")
    machine.spend(len(content))
    try:
        return content.encode("latin1")
    except UnicodeEncodeError:
        raise Refused("has text for bytes that does not stand for bytes") from None


@_stand_in(
    *("builtins.bytes", "__builtin__.bytes"),
    *("builtins.bytearray", "__builtin__.bytearray"),
)
def _bytes(machine: Machine, content: object = b"") -> object:
    bytes_of(content)
    return content


@_stand_in("builtins.complex", "__builtin__.complex")
def _complex(machine: Machine, real: object, imaginary: object) -> object:
    return complex(
        expect(real, float, "a part of a complex number"),
        expect(imaginary, float, "a part of a complex number"),
    )


def _members(machine: Machine, source: object) -> Sequence[Any]:
    """Returns what a container is made of."""
    if type(source) not in SEQUENCES:
        raise Refused("makes a set or OrderedDict of something that is not a list")
    assert isinstance(source, (list, tuple))
    machine.spend(len(source))
    return source


@_stand_in("builtins.set", "__builtin__.set")
def _make_set(machine: Machine, members: object = ()) -> object:
    return machine.make_set(set, _members(machine, members))


@_stand_in("builtins.frozenset", "__builtin__.frozenset")
def _make_frozenset(machine: Machine, members: object = ()) -> object:
    return machine.make_set(frozenset, _members(machine, members))


@_stand_in("collections.OrderedDict")
def _ordered_dict(machine: Machine, pairs: object = ()) -> object:
    made: collections.OrderedDict[object, object] = collections.OrderedDict()
    for pair in _members(machine, pairs):
        if type(pair) not in SEQUENCES or len(pair) != 2:
            raise Refused("makes an OrderedDict of something that is not pairs")
        made[machine.check_key(pair[0])] = pair[1]
    return made


@_stand_in("collections.Counter")
def _counter(machine: Machine, counts: object = None) -> object:
    made: collections.Counter[object] = collections.Counter()
    if counts is not None:
        content = expect(counts, dict, "the content of a Counter")
        machine.spend(len(content))
        made.update(content)
    return made


# --- NumPy ---------------------------------------------------------------------------


@_stand_in("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
def _numpy_array(machine: Machine, kind: object, shape: object, code: object) -> object:
    """Promises an array; its shape, dtype and content come with a BUILD."""
    if not isinstance(kind, Marker) or kind.name != "numpy.ndarray":
        raise Refused("makes an array of a class other than numpy.ndarray")

    def fill(state: object) -> object:
        if type(state) is not tuple or len(state) != 5:
            raise Refused("has an array whose state is not that of an array")
        _, shape, dtype, fortran, content = state
        return _array_of(machine, content, dtype, shape, fortran)

    return Shell(fill)


def _array_of(
    machine: Machine, content: object, dtype: object, shape: object, fortran: object
) -> np.ndarray:
    if not isinstance(dtype, np.dtype):
        raise Refused("has an array without a dtype")
    if isinstance(content, list):
        raise Refused("holds an array of Python objects; arrays hold numbers or text")
    data = bytes_of(content)
    if dtype.kind == "U":  # the characters are read, and could be so repeatedly
        machine.spend(len(data))
    return whole_array(
        data,
        dtype,
        check_sizes(shape, "shape"),
        expect(fortran, bool, "the memory order of an array"),
    )


@_stand_in("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
def _numpy_frombuffer(
    machine: Machine,
    content: object,
    dtype: object,
    shape: object,
    order: object,
    axes: object = None,
) -> object:
    """Makes an array of bytes: how pickles of protocol 5 store arrays."""
    if type(order) is not str or order not in ("C", "F", "K"):
        raise Refused("has an array in an unknown memory order")
    array = _array_of(machine, content, dtype, shape, order == "F")
    if order != "K" or axes is None:
        return array
    permutation = check_sizes(axes, "order of axes")
    if sorted(permutation) != list(range(array.ndim)):
        raise Refused("has an array with a wrong order of axes")
    return array.transpose(permutation)


@_stand_in("numpy.dtype")
def _numpy_dtype(
    machine: Machine, code: object, align: object = False, copy: object = True
) -> object:
    """Promises a dtype; its byte order comes with a BUILD."""
    if isinstance(code, np.dtype):
        dtype = code
    elif type(code) is str and _NUMPY_DTYPE_CODE.fullmatch(code):
        dtype = np.dtype(code)
    elif type(code) is str:
        return Placeholder(f"numpy.dtype({quote(code)})")
    else:
        kind = type(code).__name__
        raise Refused(
            f"holds an array of dtype of a {kind}; arrays hold numbers or text"
        )

    def fill(state: object) -> object:
        if type(state) is not tuple or len(state) != 8 or type(state[1]) is not str:
            raise Refused("has a dtype whose state is not that of a plain dtype")
        _, order, *inner = state[:5]
        if order not in ("<", ">", "|") or any(x is not None for x in inner):
            raise Refused("has a dtype with fields or of unknown byte order")
        if order == ">" and dtype in EXTENSION_DTYPES.values():
            raise Refused(f"has big-endian data of dtype {dtype}")
        return dtype if order == "|" else dtype.newbyteorder(order)

    return Shell(fill)


@_stand_in("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
def _numpy_scalar(machine: Machine, dtype: object, content: object) -> object:
    # Text is copied here, and could be so repeatedly.
    machine.spend(len(bytes_of(content)))
    return _array_of(machine, content, dtype, (), False)[()]


# --- PyTorch -------------------------------------------------------------------------
#
# Parameters are those of PyTorch's functions, in their order: a pickle gives all of
# them by position, also those that are of no use here.


@_stand_in("torch.storage._load_from_bytes")
def _load_from_bytes(machine: Machine, content: object) -> object:
    """Reads the storage that a plain pickle holds as a file within the file."""
    if machine.read_nested is None:
        raise Refused("holds a storage within a storage")
    data = bytes_of(content)
    machine.spend(len(data))
    storage = machine.read_nested(machine, data)
    if type(storage) is Placeholder:
        return storage
    return expect(storage, Storage, "a tensor's storage")


@_stand_in("torch._utils._rebuild_tensor")
def _rebuild_tensor(
    machine: Machine, storage: object, offset: object, shape: object, strides: object
) -> object:
    return build_tensor(storage, None, offset, shape, strides, None)


@_stand_in("torch._utils._rebuild_tensor_v2")
def _rebuild_tensor_v2(
    machine: Machine,
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    metadata: object = None,
) -> object:
    return build_tensor(storage, None, offset, shape, strides, metadata)


@_stand_in("torch._utils._rebuild_tensor_v3")
def _rebuild_tensor_v3(
    machine: Machine,
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    metadata: object = None,
) -> object:
    if not isinstance(dtype, np.dtype):
        raise Refused("has a tensor without a dtype")
    return build_tensor(storage, dtype, offset, shape, strides, metadata)


@_stand_in(
    "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"
)
def _rebuild_parameter(
    machine: Machine,
    tensor: object,
    requires_grad: object,
    hooks: object,
    state: object = None,
) -> object:
    return expect(tensor, np.ndarray, "the content of a parameter")


_TENSOR_BUILDERS: Final = frozenset(
    value
    for (module, _), value in NAMES.items()
    if module == "torch._utils" and isinstance(value, Function)
)
_TENSOR_CLASSES: Final = frozenset(
    value
    for (module, _), value in NAMES.items()
    if str(module).startswith("torch") and isinstance(value, Marker)
)


@_stand_in("torch._tensor._rebuild_from_type_v2")
def _rebuild_from_type_v2(
    machine: Machine, function: object, kind: object, args: object, state: object
) -> object:
    """Builds a tensor that carries attributes, which are left out."""
    if not isinstance(kind, Marker) or kind not in _TENSOR_CLASSES:
        raise Refused("has a tensor of a class other than torch.Tensor")
    if not isinstance(function, Function) or function not in _TENSOR_BUILDERS:
        raise Refused("builds a tensor with something that builds no tensors")
    return machine.call(function, args)


@_stand_in("torch.Size")
def _torch_size(machine: Machine, sizes: object) -> object:
    return check_sizes(sizes, "shape")


@_stand_in("torch.device")
def _torch_device(machine: Machine, kind: object, index: object = None) -> object:
    name = expect(kind, str, "the name of a device")
    if index is None:
        return name
    return f"{name[:MAX_NAME]}:{expect_size(index, 'the number of a device')}"
