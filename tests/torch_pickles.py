"""Files as `torch.save` and `pickle` write them: real ones, and such made by hand."""

import base64
import io
import pickle
import struct
import sys
import zipfile
import zlib

import ml_dtypes
import numpy as np
import pytest

from alphanet_jax.data.torch_files import FileFormatError, load

# All of one object: {"feats": 2x2 float32, "labels": list of whole numbers, "half":
# two bfloat16, "turned": arange(6) as 2x3, transposed}.
_REAL_FILES = {
    "zip": (
        "c-o~^-)qxQ6uwE?w2QMpwz;{fQ{O7iE@`{8^T#@ZL@<h7RVV`~S(~-Ntl3R&CknzqHW)tXi*KS&{"
        "t5cH2hnHW_cl;`@=uuerfrsFtaI+taG>1pJ73N@-$_YfLI6ag;J`_MA)s2droN_4*HxsZSDzZP6a"
        "$OCvrfN+AXN!tz_O+y8&Wl7VpO`?M!I2hRZClH>qfnbw3cmJ)wK)<=~Su`!2lcIR2v#(IuK4aOcg"
        "!s{K>&kg~E4u7_Kll)>hk)RYC|x78Ib+3cU%VI8d8#V5?R$4MVFT-E7(11FNoCTK%?OLmcF;l;J4"
        "^2g~qug~cp}x}+I4j6H$zlmhNgQFm996u7&Gk5<8T08Q0chKVLt*zBp299e?s3QIb|1US@W6&k@|"
        "N6-cwQK$`gW~)hZjv_c#hG(6esBN{hIvn?r-ZNVbmvF)%%)oP)kVWu3A!NuKUQj57*@TlF(u)XQD"
        "#Od|bV-RscPhW$Aq*o=>ChgIfr#6~^s;HKsHnQ8SvIbeEHR{&0wMeSXXh1>K%T?NCP03ltlPV)YU"
        "qvDiq=B1lnso=KOHeg1Qega-!x7^_Z5%?MOVPmbEKK1)v|QsfAaQ@p(A8yM8n3d-Eq<{wy%a5nDe"
        "<}nwO>PClCO@dJ)sk;~#$3=ZTU>BcEO;90&GSlJhGOWQjkvlI<ecCOIPui@U@Cp(Aq6`*UVw>E=n"
        "wzu04@x{>ZirW-@u816=*b@2PQk3888eYM8Hu&dRb`FK!lmLrTm-Zvf}J%5uRvu^<B^=-}4u>)SH"
        "WcO6{x-6xSSq;9Bo6Qvpg<O7CoZ)kYe0GNCGh#u^X7fTu6ht8}iZcRFRKB@7_cMicq#Tu$Q>va$?"
        "><NzP#)alL9}-PjQNmXDR9^Z36gkCJmEJk4f<@3AdlCGNgvN!50AS5f^e^UVm|mN0|MR+V!bZ#V?"
        "PA3LJ;enN<Vfa6u@SJSnvGBeb{Xe_K>=J$70e49twja2DYTI>{M^OnQJa`AQ10#efcHavmr~q;9x"
        "JZZ{Ly<W;>Vx=YHqzUzzB~nE"
    ),
    "legacy": (
        "c-n1|%}(4f5XWODo26-?KtJgxy`>UbLAt<l0#y|UT>7!S<btA*7!qW~JF$b*N=SQQRr(BlfIbGV("
        "?_UO3C7u7Bvw0eJj!@H^ZSqc^p_|8|K9z#eDdeZQmaq*|Jt~pf#rwumSy!ysbwNXbjnMW%K``{gt"
        "K@ea;*iAc#-CD0rY3+VNieX@kr%AxB~kO96xMeP-U{z&|oyQ@h>klxXcM1Q$rTV&}2?kjeDB>BOY"
        "r7B+;@=vQ|{-TqrLp`C*ldG}63KvW!jx52){lP167~<6{o?@QSx9WURjpgC02H9Oi7bJHf{0`g*X"
        "ny1CkhM$MA+D#P+gL-Q-M7-e(-Gw8?w?p!1&Tku4qYUO<{Q(p4)L!M|4ytiGrtKnW3W<%G=h!43?"
        "Fn0j=eP->ikiFglvG%Uec&#&w#SzSB$eWEB-`9|98#kB>6PRnky8sq5mr=xfP~)A$Lq^Ww(M4tm9"
        "&32gg{L)vuF8U^uym`%N1X0W`Dc?;=(IcV9Lu{{{)H)T8}%<4VfFxC4O_g{u-t_==5-Ft>r5FWnO"
        "2uh(_-_MnZ?lh+qmuE!mq#MTDOgiJRNy^<j40L6X%!P*5x$=udbK"
    ),
    "pickle2": (
        "c-qyI%Wl&^6o!3E0s}1#_m*3^8wo{CNSky;giseXEnqg@RF-2;Y9nLkx5t%=R4JQ8lxN@p;1Q5mI"
        "S&RivAc*wyYI;I@r-|+Ip_OlM#>Q+-Kt2EG@uSkA-gP2T)$ywEC^F#C$yghp=UE1rEy{(v<MWv)T"
        "BH(`;^#W?0EJdiNDzWLq<~q)wSK&qi#xQBt8f<Yekl%e5B;xNjUwJ|Ja)TUj3Z^{IJ~Mi#yX_s)("
        "~<mUuD4BxbQ2hxP$Y(jbl?3yHPBe}w^KA+>4b1x^Gd|7H=s$_|IrPJ^#Bg?a?7XessMgrQ<6mda;"
        "A#85RfOA|@rXdg90%QCU8Zq<akXa`c!9@*k;u}@`>kgY|o*=%=P8=dv_*5+Dgt&JkFJItUO+Af3k"
        "QKZ|0^gpreG{n}$$VadFyT_lNnDkJws-iB31yK{#32G)TjB(KfF(gAVlnE~JAWv}l*yUhC>N3tHC"
        "GQiDCe(WyxQt-og^5LmD<+o8bbT78sPEybZb&;X<?UfzmbU-$L1!F%Cmi6Kujsz&YgYZdS@dS+QF"
        "G%|mzu3ttvQ#JGhCX9xl2mv(Uf~M9pSpq?YLp$<`}n3+!l6>v24g=tQ`A-_#KA3ChpCMvn+|Ihx;"
        "c;JLe7QJFYqX(0AM2Ih@tA4!sa_oK<Ol$Yngitd{ZQa#YHQ2Lk-6iHBo6GVz#$SH(SeV#tO%!P5f"
        "%Glu6T^sMm@)Pq!$"
    ),
    "pickle4": (
        "c-qyH&u`N(6vyo(ZKamM;Kq$(K&aY6w{@pY)wILR_%SZIOjeq>OOT0c$C)&wO1ZRRC^yWFKY%}D{"
        "|<iw5)!<o=|m;UeNXm#^2;~2-^Z_Tz8*QKvWaoa#)t(vGvz%kR2X+@t`iQ+M^v$4p74ljmS#fHOV"
        "4}(`Nl$)K?p9GDK{w>K}1JNe4xWC%`#98IvAnC`rPKfz8(L3^8Wjq$KAp@{b7TjNaXsPaQ0XUEke"
        "QRB~w`<Qi(y}Z@?FxXw4aAX_N%1v_AQ5Nb0LGqgnEiWzwEV$MqYK%wnOmY!J)0VU?s>Hi_fUi{m1"
        "_kS*fmIh^VGt+{w{Wr@P7g!VC9T)$f++Y<ZtL9^fMd%Jr(JKp}*-d0a8_6^6mw2AXdOXn@@b}rGs"
        "v^eP2RKbb^aECBp7KdhP&J01sBG$}+$1`(XcA$37LJg$@?#^o!F~y>zB-B9g>6y{+Pub+bkim1D8"
        "<(Kd=lEp&5TlddV61fFfR9Y<xN&P>-38!-ium^KTISo{3vY$FwVrvU1?E;w{N@1N+;W~8f~V#>es"
        "IfC=PG4UP3zfRp!E_Y>$|hx>#vY%{--<VS|HU#tA^{iBxu)h*~N`IE~(m8_hMqt{vw-q{{ZrhF;x"
    ),
}
REAL_FILES = {
    name: zlib.decompress(base64.b85decode(text)) for name, text in _REAL_FILES.items()
}


def check_equal(found, wanted):
    """Compares with the original, whose tensors torch turns into arrays."""
    if hasattr(wanted, "detach"):
        tensor = wanted.detach()
        name = str(tensor.dtype).removeprefix("torch.")
        if name == "bfloat16" or name.startswith("float8"):
            dtype = np.dtype(getattr(ml_dtypes, name))
            bits = {1: "int8", 2: "int16"}[dtype.itemsize]
            torch = sys.modules["torch"]
            wanted = tensor.contiguous().view(getattr(torch, bits)).numpy().view(dtype)
        else:
            wanted = tensor.numpy()
    if isinstance(wanted, np.ndarray):
        assert type(found) is np.ndarray
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert found.tobytes() == wanted.tobytes()
        assert not found.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            found.flags.writeable = True
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key in wanted:
            check_equal(found[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        assert isinstance(found, (type(wanted), tuple))
        for one, other in zip(found, wanted, strict=True):
            check_equal(one, other)
    else:
        assert type(found) is type(wanted)
        assert found == wanted


PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def text(value):
    content = value.encode()
    return b"X" + struct.pack("<I", len(content)) + content


def call(module, name, argument):
    """Writes a call of a function with one argument."""
    return f"c{module}\n{name}\n".encode() + argument + b"\x85R"


def array_pickle(shape=b"K\x02\x85", dtype=b"f4", data=b"\0" * 8, order=b"\x89"):
    """Writes an array by hand."""
    state = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    head = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R"
    kind = b"cnumpy\ndtype\nX\x02\0\0\0" + dtype + b"\x89\x88\x87R" + state
    content = b"C" + bytes([len(data)]) + data
    return b"\x80\x03" + head + b"(K\x01" + shape + kind + order + content + b"tb."


LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."


def legacy_storage(size):
    """Writes a storage of bytes as torch.save did."""
    number = b"J" + struct.pack("<i", size)
    name = b"(" + text("storage") + b"ctorch\nByteStorage\n" + text("0") + text("cpu")
    head = LEGACY_START + name + number + b"NtQ.]" + text("0") + b"a."
    return head + struct.pack("<q", size) + b"\0" * size


def long_bytes(content):
    return b"B" + struct.pack("<I", len(content)) + content


STORAGE_PICKLE = (
    b"\x80\x02ctorch._utils\n%(function)s\n((X\x07\0\0\0storagectorch\n%(kind)s\n"
    b"X\x01\0\0\x000X\x03\0\0\0cpu%(size)stQ%(offset)s%(shape)s%(strides)s"
    b"\x89}%(more)stR."
)


def zipped(entries, **options):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def tensor_pickle(**parts):
    defaults = {
        b"function": b"_rebuild_tensor_v2",
        b"kind": b"FloatStorage",
        b"size": b"K\x06",
        b"offset": b"K\0",
        b"shape": b"K\x02K\x03\x86",
        b"strides": b"K\x03K\x01\x86",
        b"more": b"",
    }
    parts = {key.encode(): value for key, value in parts.items()}
    return STORAGE_PICKLE % (defaults | parts)


def tensor_zip(**parts):
    content = np.arange(6, dtype=np.float32).tobytes()
    return zipped({"a/data.pkl": tensor_pickle(**parts), "a/data/0": content})


def number(value):
    return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)


def touch_everything(value):
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
        elif isinstance(value, np.ndarray) and value.size < 10_000:
            value.tolist()


def file_reader(path, usual=load):
    """Returns what reads bytes as a file; it checks that refusals are of one line."""

    def read_bytes(content, reader=usual):
        path.write_bytes(content)
        try:
            return reader(path)
        except FileFormatError as error:
            message = str(error)
            assert message.startswith(str(path))
            assert "\n" not in message
            assert len(message) < len(str(path)) + 600
            raise

    return read_bytes
