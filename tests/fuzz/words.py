"""What files of each kind are often made of: the fuzzer puts it into them."""

_NAMES = tuple(
    name.encode()
    for name in (
        *("ctorch._utils\n_rebuild_tensor_v2\n", "ctorch._utils\n_rebuild_parameter\n"),
        *("ctorch\nFloatStorage\n", "ctorch\nLongStorage\n"),
        *("ctorch\nBFloat16Storage\n", "ctorch\nSize\n"),
        *("ctorch\ndevice\n", "ctorch\nfloat16\n"),
        *("ccollections\nOrderedDict\n", "ccollections\nCounter\n"),
        *("cnumpy.core.multiarray\n_reconstruct\n", "cnumpy\nndarray\n"),
        *("cnumpy\ndtype\n", "cnumpy.core.multiarray\nscalar\n", "c_codecs\nencode\n"),
        *("cnumpy._core.numeric\n_frombuffer\n", "cbuiltins\nset\n", "cos\nsystem\n"),
        *("ccopyreg\n_reconstructor\n", "cbuiltins\ncomplex\n"),
        "cbuiltins\nbytearray\n",
        *("q\x00", "h\x00", "K\x01", "M\x00\x01", "J\x00\x00\x00\x01", "(", "t", "R"),
        *("X\x05\x00\x00\x00feats", "X\x06\x00\x00\x00labels", "X\x01\x00\x00\x000"),
        *("X\x07\x00\x00\x00storage", "X\x03\x00\x00\x00cpu"),
        "X\x06\x00\x00\x00weight",
        *("}", "]", ")", "u", "s", "e", "a", "b", "Q", "0", "2", "N", ".", "l", "d"),
    )
)
PICKLE_WORDS = (
     *_NAMES, b"\x80\x02", b"\x8a\x02\x00\x01", b"\x8c\x02f4",
     b"\x94", b"\x8f", b"\x90",
     b"\x91", b"\x85", b"\x86", b"\x87", b"\x88", b"\x89", b"\x81", b"\x93",
     b"\x95\x08\x00\x00\x00\x00\x00\x00\x00", b"\x96\x02\x00\x00\x00\x00\x00\x00\x00",
     b"\x97", b"\x98", b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00", b"B\x02\x00\x00\x00",
     b"G?\xf0\x00\x00\x00\x00\x00\x00", b"C\x02ab", b"I1\n", b"L1L\n", b"F1.5\n",
     b"V\\u00e4\n", b"S'a'\n", b"p1\n", b"g1\n", b"Pos\n", b"i", b"o")  # fmt: skip
NPY_WORDS = (
    b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", b"'descr': '<f4'", b"'<U2'", b"'|O'",
    b"'fortran_order': True", b"'shape': (3, 4)", b"'>i8'", b"'<c8'", b"'<M8[s]'",
    b"[('a', '<f4')]", b"'|V4'", b"'|b1'", b"'shape': ()", b"PK\x03\x04", b"PK\x01\x02",
    b"PK\x05\x06", b"PK\x06\x06", b"labels.npy", b"feats.npy", b"weight.npy",
)  # fmt: skip
JSON_WORDS = (b"null", b"true", b"NaN", b"1e999", b"-1", b"[]", b"{}", b'""', b'"a":',
              b"\\u0000", b"\\ud800", b"[[[[[[[[", b"9" * 40, b"0.5")  # fmt: skip
TOML_WORDS = (
    b"[ds]\n", b"[[ds]]\n", b"ds = ", b"feature_files_dir = ", b"classifier_file = ",
    b"split_files_dir = ", b"classifier_loader = ", b"classifier_key = ",
    b"datagrps = ", b"classifier_normalize = true\n", b"label_names_file = ",
    b"labels_by = 'idxs'\n",
    b"few_below = 1\n", b"many_above = nan\n", b"feature_files = ", b"label_files = ",
    b"counts_file = ", b'"""', b"'''", b"1979-05-27", b"{train = 'a'}", b"['a', 'b']",
    b"\\U0010ffff", b"inf", b"0x1f", b"a.b.c = 1\n",
)  # fmt: skip
