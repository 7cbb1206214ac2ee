"""The doors through which bytes of strangers come, and what reads them there.

A target makes a file of an input and has functions that read it, as commands do. Each
function returns whether it found something. Where formats have checksums, lengths or
compression around what matters, the input is what is inside, and the file is made of
it, so that mutations get through.
"""

import dataclasses
import functools
import io
import json
import types
import zipfile
from collections.abc import Callable
from pathlib import Path

from alphanet_jax import files, outputs, parsing, staging
from alphanet_jax.comparison import kept
from alphanet_jax.config import fields as config_lib
from alphanet_jax.data import class_files, contents, records, registry, zip_members
from alphanet_jax.data.feature_files import read_feature_file
from alphanet_jax.data.group_files import Part
from alphanet_jax.data.heads import read_head
from alphanet_jax.data.inspection import inspect_file
from alphanet_jax.data.untrusted import Refused
from alphanet_jax.errors import UserError, printable
from alphanet_jax.experiment import checkpoints, keeping, neighbor_cache
from alphanet_jax.experiment.memory import Plan
from alphanet_jax.figures.kinds import tradeoff as tradeoff_figure
from alphanet_jax.results import accuracy_tables, changes, comparison_file, sets
from alphanet_jax.results import file as results
from fuzz import seeds as made
from fuzz.words import JSON_WORDS, NPY_WORDS, PICKLE_WORDS, TOML_WORDS


@dataclasses.dataclass(frozen=True)
class Target:
    """A door.

    Attributes:
      name: Its name.
      file: Where the file goes, below the directory.
      seeds: Makes inputs to begin with.
      uses: What reads the file: each takes its path, and returns whether anything was
        found.
      make: Makes the content of the file of an input.
      prepare: Makes what else is needed, in an empty directory.
      words: What inputs are often made of.
    """

    name: str
    file: str
    seeds: Callable[[], list[bytes]]
    uses: tuple[Callable[[Path], object], ...]
    make: Callable[[bytes], bytes] = bytes
    prepare: Callable[[Path], object] = lambda directory: None
    words: tuple[bytes, ...] = ()

    def write(self, directory, data):
        """Makes the file of an input; returns its path."""
        path = directory / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.make(data))
        return path


def documented(*kinds):
    """Lets errors through that a function documents, as those of users."""

    def decorate(use):
        @functools.wraps(use)
        def call(path):
            try:
                return use(path)
            except kinds as error:
                # Whoever calls it shows the line with the name of the file.
                raise UserError(printable(str(error)[:300])) from None

        return call

    return decorate


# --- Files of tensors and arrays ------------------------------------------------------


def take(path):
    return contents.load_content(path) is not None


def look(path):
    found = inspect_file(path)
    shown = [found.title, *found.remarks, *found.values, *found.objects]
    shown += [*found.values.values(), *found.objects.values()]
    shown += [text for row in found.tensors for text in row]
    assert all(text.isprintable() for text in shown), shown
    return bool(found.tensors)


def samples(path):
    return len(
        read_feature_file(Part(path, None), num_classes=3, num_features=4).labels
    )


def head(path):
    return read_head(path).weight.size


@documented(Refused)
def members(path):
    return zip_members.find_members(path)


ARRAYS = (take, look, samples, head)
_STORAGES = [(f"a/data/{i}", bytes(range(96))) for i in range(3)]


def torch_archive(data):
    return hostile_zip(data, _STORAGES)


def hostile_zip(data, storages):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in [("a/data.pkl", data), *storages]:
            archive.writestr(name, content)
    return file.getvalue()


def archive_of_features(data):
    return made.in_npz(data, "feats.npy", ("labels.npy", made.npy_of([0, 1, 2])))


def archive_of_labels(data):
    return made.in_npz(data, "labels.npy", ("feats.npy", made.npy_of(made.FEATURES)))


def feature_samples(path):
    """Reads an archive whose features are right, or whose labels are."""
    return samples(path)


# --- Text -----------------------------------------------------------------------------


def entry(path):
    return registry.get_entry(path, "ds")


def tables(path):
    return registry.load_registry(path)


@documented(ValueError)
def toml(path):
    return parsing.parse_toml(files.decode_text(path.read_bytes()))


@documented(ValueError)
def as_json(path):
    return parsing.parse_json(path.read_bytes()) is not None


def comparison(path):
    found = comparison_file.load(path)
    text = comparison_file.table(found)
    assert all(line.isprintable() for line in text.split("\n")), text
    return text and comparison_file.tables_of(found)


def tradeoff(path):
    options = tradeoff_figure._NumbersOptions(compare=str(path))
    return tradeoff_figure._compute(None, options)


def index(path):
    return read_head(path).weight.size


def _index_parts(directory):
    (directory / "part.safetensors").write_bytes(
        made.in_safetensors(made.safetensors_headers()[0])
    )


_ENTRY = registry.DatasetEntry(
    "ds", "f", "c", split_files_dir=".", counts_file="few.txt",
    label_names_file="few.txt",
)  # fmt: skip


def split_lists(path):
    return class_files.read_splits(_ENTRY, path.parent)


def counts(path):
    return class_files.read_counts(_ENTRY, path.parent, num_classes=3) is not None


def names(path):
    return class_files.read_label_names(_ENTRY, path.parent, num_classes=3)


def _other_splits(directory):
    for name in ("medium", "many"):
        (directory / f"{name}.txt").write_text("7\n")


# --- Results and what commands keep ---------------------------------------------------

_CONFIG = json.loads(json.dumps(config_lib.default_config().to_dict()))


def result_with_member(data):
    """A whole result, but for one of its arrays."""
    arrays = made.result_arrays()
    names = list(arrays)
    hurt = names[data[0] % len(names)] if data else names[0]
    rest = [(name, arrays[name]) for name in names if name != hurt]
    return made.in_npz(data[1:], hurt, *rest)


def result_with_text(data):
    """A whole result, but for one of its texts."""
    number = data[0] % len(made.RESULT_TEXTS) if data else 0
    name = f"{made.RESULT_TEXTS[number]}.npy"
    text = data[1:].decode("utf-8", "replace")
    arrays = made.result_arrays() | {name: made.npy_of(text)}
    rest = [(other, content) for other, content in arrays.items() if other != name]
    return made.in_npz(arrays[name], name, *rest)


def whole_result(path):
    arrays = results.load_result(path)
    return changes.describe_changes(arrays)


def compared_result(path):
    return results.differences(path, config=_CONFIG, file_hashes={}) is not None


def tables_of_result(path):
    (found,) = sets.load_sets({"a": [path]})
    made_tables = accuracy_tables.make_accuracy_tables(
        [found], accuracy_tables.Metric(accuracy_tables.hits_of_predictions)
    )
    return bool(made_tables)


def settings_of_result(path):
    file = sets.load_file(path)
    return file.rho >= 0 and file.file_hashes is not None


_RECORD = {
    "format": 1,
    "options": {"labels_by": "", "use_idxs": True},
    "outputs": [{"name": "out.npy", "size": 3, "mtime_ns": 1, "sha256": "x"}],
    "sources": [{"name": "in.pkl", "size": 3, "mtime_ns": 1, "sha256": "x"}],
    "notes": ["idxs is not in order"],
    "labels_read": "row",
    "forms": [{"a": 1}],
}
_MADE_OF = ("in.pkl", "out.npy")


def _converted(directory):
    for name in _MADE_OF:
        (directory / name).write_bytes(b"abc")


def _right_record():
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    right = json.loads(json.dumps(_RECORD))
    for item in (*right["outputs"], *right["sources"]):
        item["sha256"] = digest
    return [json.dumps(right).encode(), json.dumps(_RECORD).encode(), *made.JSONS]


def conversion(path):
    source, output = (path.parent / name for name in _MADE_OF)
    found = records.recorded_head(path, [output])
    records.reading_fits(path, "", by_choice=True)
    records.labels_read(path)
    records.recorded_sources(path, [output])
    return records.is_fresh(path, [output], [source]) and found


_FEW_AND_BASE = types.SimpleNamespace(
    train_files=("a",), file_hashes={"a": "1"}, few_classes=made.np.arange(2),
    base_classes=made.np.arange(2, 6),
    splits={"few": made.np.arange(2), "many": made.np.arange(2, 6)},
)  # fmt: skip
_NEAREST = types.SimpleNamespace(nn_dist="euclidean", n_neighbors=2)


def neighbors(path):
    cache = neighbor_cache.NeighborCache([path.parent], _FEW_AND_BASE)
    return cache.load(_NEAREST, 0) is not None


_NEIGHBORS = neighbor_cache.NeighborCache([], _FEW_AND_BASE)._name(_NEAREST, 0)


def _curves():
    facts = {"name": "a", "linear": True, "source": "b", "knob_name": "c"}
    facts |= {"choices": [{}], "key": "key", "chosen": {}}
    hurt = [facts | {"chosen": {"a": []}}, facts | {"choices": 1}, facts | {"key": []}]
    return [json.dumps(one).encode() for one in (facts, *hurt)] + made.JSONS


def curve_with_facts(data):
    arrays = {name: made.np.zeros((1, 4)) for name in ("val", "test", "knobs")}
    arrays |= {name: made.np.zeros((1, 6)) for name in ("correct", "val_correct")}
    rest = [(f"{name}.npy", made.npy_of(array)) for name, array in arrays.items()]
    text = data.decode("utf-8", "replace")
    return made.in_npz(made.npy_of(text), "facts.npy", *rest)


def curve(path):
    return kept.load(path, "key") is not None


def moves(path):
    """Reads a list of moves; all that it lists must be below the root."""
    root = path.parents[1]
    found = staging._read_moves(root, path.parent)
    for name, _ in found or ():
        assert (root / name).resolve().is_relative_to(root.resolve()), name
    return found


_HASHES = {"a.npy": "11"}
_PLAN = Plan(4, True, 8, {"rows": 10}, 100)


def _checkpoint_records():
    right = {
        "format": checkpoints._FORMAT,
        "jax": checkpoints.jax.__version__,
        "configs": {"": {"rho": 0.1}},
        "file_hashes": _HASHES,
        "plans": [dataclasses.asdict(_PLAN)],
    }
    sweep = right | {
        "format": keeping._RECORD_FORMAT,
        "devices": checkpoints.jax.device_count(),
        "file_hashes": list(_HASHES.values()),
    }
    hurt = [
        {"configs": {"": [1]}},
        {"file_hashes": {"a": 1, "b": "x"}},
        {"plans": [dataclasses.asdict(_PLAN) | {"runs_at_a_time": 0}]},
        {"plans": [dataclasses.asdict(_PLAN) | {"runs_at_a_time": "4"}]},
        {"jax": "0.0\x1b"},
        {"format": "\n"},
    ]
    return [json.dumps(right | each).encode() for each in ({}, *hurt)] + [
        json.dumps(sweep).encode(),
        *made.JSONS,
    ]


def checkpoint(path):
    store, plans = checkpoints.open_store(
        path.parent, configs={"": {"rho": 0.1}}, file_hashes=_HASHES, plans=[_PLAN]
    )
    store.close()
    assert [type(plan.runs_at_a_time) for plan in plans] == [int]
    return plans


def lock(path):
    """Describes who holds a directory, by what the file in it says."""
    found = outputs._holder(path)
    assert found.isprintable(), found
    return found != "another program"


def plan_record(path):
    note = keeping.PlanRecord(
        path.parent, configs={"": {"rho": 0.1}}, file_hashes=_HASHES
    )
    return note.read() is not None


TARGETS = {
    target.name: target
    for target in (
        Target("torch_zip", "a.pth", made.torch_zips, (*ARRAYS, members),
               words=(*PICKLE_WORDS, b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06",
                      b"a/data/0", b"a/byteorder")),
        Target("torch_zip_pickle", "a.pth", made.torch_pickles, ARRAYS, torch_archive,
               words=PICKLE_WORDS),
        Target("torch_legacy", "a.pth", made.torch_legacy, ARRAYS, words=PICKLE_WORDS),
        Target("pickle", "a.pkl", made.pickles, ARRAYS, words=PICKLE_WORDS),
        Target("safetensors", "a.safetensors",
               lambda: list(map(made.in_safetensors, made.safetensors_headers())),
               ARRAYS, words=JSON_WORDS),
        Target("safetensors_header", "a.safetensors", made.safetensors_headers,
               ARRAYS, made.in_safetensors,
               words=(*JSON_WORDS, b'"dtype":"F32"', b'"shape":', b'"data_offsets":',
                      b'"BF16"', b'"BOOL"', b'"fc.weight"', b'"labels"')),
        Target("npz", "a.npz", made.npzs, ARRAYS, words=NPY_WORDS),
        Target("npz_features", "a.npz", made.npys, ARRAYS[:3], archive_of_features,
               words=NPY_WORDS),
        Target("npz_labels", "a.npz", made.npys, ARRAYS[:3], archive_of_labels,
               words=NPY_WORDS),
        Target("npy", "a.npy", made.npys, ARRAYS[:2], words=NPY_WORDS),
        Target("registry", "reg.toml", made.registries, (entry, tables, toml),
               words=TOML_WORDS),
        Target("json", "a.json", lambda: list(made.JSONS), (as_json,),
               words=JSON_WORDS),
        Target("comparison", "compare.json", made.comparisons, (comparison, tradeoff),
               words=(*JSON_WORDS, b'"methods":', b'"curve":', b'"chosen":',
                      b'"overall":', b'"harmonic":', b'"knob":', b'"val":',
                      b'"test":', b'"choice":', b'"lines":')),
        Target("index", "a.safetensors.index.json", lambda: [
            b'{"weight_map": {"fc.weight": "part.safetensors", '
            b'"fc.bias": "part.safetensors"}}', *made.JSONS],
            (index, look), prepare=_index_parts,
            words=(*JSON_WORDS, b'"weight_map":', b'"part.safetensors"')),
        Target("class_lists", "few.txt", made.lists, (split_lists, counts, names),
               prepare=_other_splits,
               words=(b"\xff\xfe", b"1e9", b"1.0", b"# ", b"[0, 1]", b"a.jpg 2\n")),
        Target("result", "result.npz", made.result_members,
               (whole_result, compared_result, tables_of_result, settings_of_result),
               result_with_member, words=NPY_WORDS),
        Target("result_texts", "result.npz", made.result_texts,
               (compared_result, tables_of_result, settings_of_result),
               result_with_text,
               words=(*JSON_WORDS, b'"rho":', b'"training":', b'"sampler_builder":',
                      b'"sampler_args":', b'"alphanet_jax":', b'"r=0.5"')),
        Target("conversion_record", "a.json", _right_record, (conversion,),
               prepare=_converted,
               words=(*JSON_WORDS, b'"format": 1', b'"options":', b'"outputs":',
                      b'"sources":', b'"notes":', b'"forms":', b'"labels_read":')),
        Target("neighbor_cache", _NEIGHBORS,
               lambda: made.neighbor_files(
                   lambda *arrays: neighbor_cache._digest(*map(made.np.asarray, arrays))
               ), (neighbors,), prepare=made.without_write_access_of_others,
               words=NPY_WORDS),
        Target("curve_cache", "curve.npz", _curves, (curve,), curve_with_facts,
               words=(*JSON_WORDS, b'"chosen":', b'"key": "key"', b'"index":',
                      b'"metrics":', b'"choices":')),
        Target("moves", ".staging-1/moves.json",
               made.with_json([["a/b.npy", True], ["c", False]], [["../a", True]],
                              [["/etc/passwd", 1]], [["a\x00", 1]], [[1, 2]],
                              [["\ud800", 1]], {"ab": 1}),
               (moves,), words=(*JSON_WORDS, b'"../x"', b'"/x"', b'"a/../../x"')),
        Target("checkpoint_record", "run.json", _checkpoint_records, (checkpoint,),
               words=(*JSON_WORDS, b'"format": 3', b'"configs":', b'"file_hashes":',
                      b'"plans":', b'"runs_at_a_time":', b'"shared_table":',
                      b'"table_rows":', b'"parts":', b'"limit":')),
        Target("lock", outputs.LOCK_NAME, made.with_json(
            {"process": 7, "host": "a", "command": "b", "since": "c"},
            {"process": 1e999, "host": "", "command": "", "since": ""},
            {"process": "1\n", "host": "\x1b", "command": [], "since": {}},
        ), (lock,), words=(*JSON_WORDS, b'"process":', b'"host":')),
        Target("plan_record", keeping._PLANS, _checkpoint_records, (plan_record,),
               words=(*JSON_WORDS, b'"configs":', b'"devices":', b'"plans":')),
    )
}  # fmt: skip
