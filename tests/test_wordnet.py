import os
import re
import socket
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alphanet_jax.data import registry
from alphanet_jax.errors import UserError
from alphanet_jax.results import wordnet

ROOT = Path(__file__).parents[1]
HEADER = b"  1 WordNet 3.0 Copyright 2006 by Princeton University.  \n"
INSTALL = (
    "apt-get install wordnet-base, or name the directory of WordNet 3.0 "
    "(--wordnet DIR or NLTK_DATA)"
)
# Where the made databases below, which say no version, turn out not to be right.
NO_VERSION = "data.noun: does not say that it is of WordNet 3.0"

# Edges counted by hand along the hypernyms that the database prints.
DISTANCES = {
    ("n02085620", "n01440764"): 14,  # Chihuahua, tench
    ("n02085620", "n02099601"): 6,  # Chihuahua, golden retriever
    ("n02129165", "n02129604"): 2,  # lion, tiger: both are big cats
    ("n07739125", "n07767847"): 2,  # apple, pear: two ways, edible fruit and pome
    ("n07739125", "n07747607"): 3,  # apple, orange: a citrus is an edible fruit
    ("n07705931", "n07739125"): 1,  # edible fruit, apple
    ("n00001740", "n00001740"): 0,  # entity, at the top
}


@pytest.fixture(scope="session")
def reader(wordnet_reader):
    return wordnet_reader


@pytest.fixture(scope="session")
def noun_files(reader):
    """The contents of the two files that nouns need."""
    return {
        name: reader.root.join(name).open().read()
        for name in ("index.noun", "data.noun")
    }


@pytest.fixture
def no_network(monkeypatch):
    """Makes whatever would download fail."""
    import nltk

    def fail(*args, **kwargs):
        raise AssertionError("the network is asked")

    monkeypatch.setattr(nltk, "download", fail)
    monkeypatch.setattr(socket, "socket", fail)
    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The usual places, all empty: of NLTK_DATA two, of nltk, and of Debian."""
    import nltk

    names = ("given 1", "given 2", "usual", "debian")
    paths = {name: tmp_path / name for name in names}
    given = [str(paths["given 1"]), str(paths["given 2"])]
    monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["", *given]))
    monkeypatch.setattr(nltk.data, "path", [str(paths["usual"])])
    monkeypatch.setattr(wordnet, "_DEBIAN", paths["debian"])
    return paths


def write_files(directory, *, noun=b"none\n", index=b"none\n"):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "data.noun").write_bytes(noun)
    (directory / "index.noun").write_bytes(index)


def write_zip(path, files, inner="wordnet/"):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(inner + name, content)


def synset(reader, name):
    return reader.synset_from_pos_and_offset(name[0], int(name[1:]))


def id_of(found):
    return f"{found.pos()}{found.offset():08d}"


def error_of(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- Where the database is looked for -------------------------------------------------


def test_only_nltk_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    assert error_of(wordnet.open_wordnet) == (
        "nltk, which reads WordNet, is not installed: "
        "pip install 'alphanet_jax[wordnet]'"
    )


@pytest.mark.slow
def test_importing_is_quick_and_without_nltk():
    code = (
        "import sys, alphanet_jax.results.wordnet; "
        "print([name for name in ('nltk', 'jax') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("no_network", "places")
def test_no_database_anywhere():
    assert error_of(wordnet.open_wordnet) == (
        f"no WordNet database on this machine: {INSTALL}"
    )


@pytest.mark.usefixtures("no_network")
def test_no_database_where_it_is_said_to_be(tmp_path):
    (tmp_path / "data.noun").write_bytes(HEADER)  # but there is no index
    assert error_of(wordnet.open_wordnet, tmp_path) == (
        f"{tmp_path}: no WordNet database here (index.noun and data.noun, also below "
        f"wordnet or corpora/wordnet or in wordnet.zip); {INSTALL}"
    )
    missing = tmp_path / "missing"
    assert error_of(wordnet.open_wordnet, missing).startswith(f"{missing}: no WordNet")


@pytest.mark.parametrize("below", ["", "wordnet", "corpora/wordnet"])
def test_directories(below, tmp_path):
    write_files(tmp_path / below)
    assert error_of(wordnet.open_wordnet, tmp_path) == (
        f"{tmp_path / below / NO_VERSION}"
    )


@pytest.mark.parametrize("inner", ["wordnet/", ""])
@pytest.mark.parametrize("name", ["wordnet.zip", "corpora/wordnet.zip"])
@pytest.mark.parametrize("directly", [False, True])
def test_zip_files(name, inner, directly, tmp_path):
    path = tmp_path / name
    write_zip(path, {"data.noun": b"none\n", "index.noun": b"none\n"}, inner)
    error = error_of(wordnet.open_wordnet, path if directly else tmp_path)
    assert error == f"{path}/{inner}{NO_VERSION}"


def test_zip_file_without_a_database(tmp_path):
    write_zip(tmp_path / "wordnet.zip", {"data.noun": HEADER})
    error = error_of(wordnet.open_wordnet, tmp_path)
    assert error.startswith(f"{tmp_path}: no WordNet database here (")


def test_damaged_zip_file(tmp_path):
    path = tmp_path / "wordnet.zip"
    path.write_bytes(b"PK")
    assert error_of(wordnet.open_wordnet, tmp_path) == (
        f"{path}: not a readable WordNet database (File is not a zip file)"
    )


def test_order_of_the_usual_places(places):
    found = {
        "debian": places["debian"],
        "usual": places["usual"] / "corpora/wordnet",
        "given 2": places["given 2"] / "corpora/wordnet",
        "given 1": places["given 1"],
    }
    for directory in found.values():
        write_files(directory)
        assert error_of(wordnet.open_wordnet) == f"{directory / NO_VERSION}"


@pytest.mark.parametrize("version", ["1.6", "2.1", "3.1", "3.0.1", "3"])
def test_other_version(version, tmp_path):
    write_files(tmp_path, noun=HEADER.replace(b"3.0", version.encode()))
    assert error_of(wordnet.open_wordnet, tmp_path) == (
        f"{tmp_path / 'data.noun'}: WordNet {version}, whose ids differ from those of "
        f"3.0; {INSTALL}"
    )


@pytest.mark.parametrize(
    "index", [b"dog n x\n", b"dog n\n", b"dog n 2 0 1 0 00000001\n", b"\xff n\n"]
)
def test_damaged_database(index, tmp_path):
    write_files(tmp_path, noun=HEADER, index=index)
    error = error_of(wordnet.open_wordnet, tmp_path)
    start = re.escape(f"{tmp_path}: not a readable WordNet database (")
    assert re.fullmatch(rf"{start}.+\)", error)


def test_directory_in_place_of_a_file(tmp_path):
    write_files(tmp_path)
    (tmp_path / "data.noun").unlink()
    (tmp_path / "data.noun").mkdir()
    assert "no WordNet database here" in error_of(wordnet.open_wordnet, tmp_path)


# --- The database of this machine -----------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
def test_nouns_alone_from_a_zip_file(noun_files, tmp_path, monkeypatch):
    import nltk

    before = list(nltk.data.path), dict(os.environ)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    write_zip(tmp_path / "corpora/wordnet.zip", noun_files)
    found = wordnet.open_wordnet(tmp_path)
    assert (list(nltk.data.path), dict(os.environ)) == before
    assert not list((tmp_path / "temporary").iterdir())
    (tmp_path / "corpora/wordnet.zip").unlink()  # all that is needed has been read
    assert synset(found, "n01440764").lemma_names() == ["tench", "Tinca_tinca"]
    assert synset(found, "n01440764").lexname() == "noun.animal"
    assert found.synsets("run", "v") == []
    assert found.get_version() == "3.0"
    assert wordnet.synset_distances(["n02085620", "n01440764"], found)[0, 1] == 14
    assert error_of(wordnet.synset_distances, ["v00001740"], found) == (
        "class 0: WordNet 3.0 has no synset 'v00001740'"
    )


def test_files_that_are_left_out_are_not_taken_for_empty(reader):
    with pytest.raises(FileNotFoundError, match=r"cntlist\.rev is not used here"):
        reader.synset("dog.n.01").lemmas()[0].count()


def test_lexicographer_files(reader):
    """The database's own numbers agree with our list: part of speech, and meaning."""
    names = {
        "entity.n.01": "noun.Tops",
        "run.n.05": "noun.act",
        "dog.n.01": "noun.animal",
        "tulip.n.01": "noun.plant",
        "january.n.01": "noun.time",
        "breathe.v.01": "verb.body",
        "rain.v.01": "verb.weather",
        "good.a.01": "adj.all",
        "lunar.a.01": "adj.pert",
        "quickly.r.01": "adv.all",
    }
    assert {name: reader.synset(name).lexname() for name in names} == names


def test_known_distances(reader):
    for (one, other), edges in DISTANCES.items():
        distances = wordnet.synset_distances([one, other], reader)
        assert distances.dtype == np.int32
        np.testing.assert_array_equal(distances, [[0, edges], [edges, 0]])


@pytest.mark.slow
def test_distances_equal_those_of_nltk(reader, rng):
    lemmas = sorted(reader.all_lemma_names("n"))
    nouns = [
        reader.synsets(lemma, "n")[0] for lemma in rng.choice(lemmas, 60, replace=False)
    ]
    # A thing of its own kind, verbs, of which not all have a path, and a synset twice.
    others = ("einstein.n.01", "run.v.01", "walk.v.01", "think.v.01", "good.a.01")
    synsets = [*nouns, *map(reader.synset, others), nouns[0]]
    assert any(found.instance_hypernyms() for found in synsets)
    assert any(len(found.hypernyms()) > 1 for found in synsets)
    distances = wordnet.synset_distances([id_of(found) for found in synsets], reader)
    wanted = [[one.shortest_path_distance(two) for two in synsets] for one in synsets]
    assert any(None in row for row in wanted)
    wanted = [[wordnet.NO_PATH if d is None else d for d in row] for row in wanted]
    np.testing.assert_array_equal(distances, wanted)
    np.testing.assert_array_equal(distances, distances.T)
    assert (distances.diagonal() == 0).all()
    assert distances[0, -1] == 0
    neighbors = wordnet.semantic_neighbors(distances, 25)
    assert neighbors[0, -1]  # of one synset, but two classes
    assert not neighbors[-2].any()  # an adjective


def test_no_classes(reader):
    assert wordnet.synset_distances([], reader).shape == (0, 0)


@pytest.mark.parametrize("name", ["n00000000", "n01440765", "n99999999", "v01440764"])
def test_unknown_id(name, reader):
    # Not as an error, which is what pytest makes of a warning.
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        error = error_of(wordnet.synset_distances, ["n01440764", name], reader)
    assert error == f"class 1: WordNet 3.0 has no synset {name!r}"
    assert seen == []


@pytest.mark.parametrize("name", ["tench", "n1440764", "N01440764", "n01440764 tench"])
def test_id_of_another_form(name, reader):
    assert error_of(wordnet.synset_distances, ["n01440764", name], reader) == (
        f"class 1: expected a synset id such as n01440764, got {name!r}"
    )


# --- Files of synsets -----------------------------------------------------------------


@pytest.fixture
def parse(tmp_path):
    def write_and_parse(text, *args, **kwargs):
        path = tmp_path / "synsets.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return wordnet.parse_synsets(path, *args, **kwargs)

    return write_and_parse


def test_ids_alone_and_with_names(parse):
    text = "n01440764\nn01443537\tgoldfish\n\n  n02085620 Chihuahua, Mexican dog \r\n"
    wanted = ("n01440764", "n01443537", "n02085620")
    assert parse(text) == wanted
    assert parse(text, num_classes=3) == wanted
    assert parse(text, ["tench", "goldfish", "Chihuahua"]) == wanted
    assert parse(b"\xef\xbb\xbf" + text.encode()) == wanted
    assert parse("v00001740\na00001740\n") == ("v00001740", "a00001740")


@pytest.mark.parametrize(
    ("listed", "label_name"),
    [
        ("great white shark, white shark", "great white shark"),
        ("great white shark, white shark", "great_white_shark"),
        ("great_white_shark", "Great  White Shark"),
        ("church, indoor", "church, indoor"),
        ("\u00c9clair, cake", "\u00e9clair"),
    ],
)
def test_names_that_agree(listed, label_name, parse):
    assert parse(f"n01440764 {listed}\n", [label_name]) == ("n01440764",)


@pytest.mark.parametrize(
    ("listed", "label_name"),
    [
        ("great white shark, white shark", "white shark"),
        ("great white shark", "great white"),
        ("man-eater", "man eater"),
        (", tench", "tench"),
    ],
)
def test_names_that_differ(listed, label_name, parse, tmp_path):
    text = f"n01440764\n\nn01484850 {listed}\n"
    assert parse(text) == ("n01440764", "n01484850")
    assert error_of(parse, text, ["tench", label_name]) == (
        f"{tmp_path / 'synsets.txt'}:3: the first name must be that of class 1, "
        f"{label_name!r}, got {listed.partition(',')[0]!r}"
    )


@pytest.mark.parametrize(
    "line",
    ["tench", "n0144076", "n014407641", "x01440764", "n01440764,tench", "N01440764"],
)
def test_lines_of_another_form(line, parse, tmp_path):
    assert error_of(parse, f"n01443537\n{line}\n") == (
        f"{tmp_path / 'synsets.txt'}:2: expected a synset id such as n01440764, and "
        f"names if any after a space, got {line!r}"
    )


def test_long_line_is_cut(parse):
    assert error_of(parse, "x" * 1000).endswith(f"got '{'x' * 60}...'")


@pytest.mark.parametrize(
    ("text", "arguments", "counts"),
    [
        ("n01440764\n", {"label_names": ["tench", "goldfish"]}, "1 synset for 2"),
        ("n01440764\nn01443537", {"num_classes": 1}, "2 synsets for 1"),
        ("\n \n", {}, "0 synsets for 0"),
    ],
)
def test_wrong_count(text, arguments, counts, parse, tmp_path):
    error = error_of(parse, text, **arguments)
    assert error == f"{tmp_path / 'synsets.txt'}: {counts} classes"


def test_unreadable_files(parse, tmp_path):
    path = tmp_path / "synsets.txt"
    assert error_of(parse, b"n01440764 \xff\n") == f"{path}: not a UTF-8 text file"
    missing = tmp_path / "missing.txt"
    assert error_of(wordnet.parse_synsets, missing) == (
        f"{missing}: cannot read: No such file or directory"
    )


# --- Neighbors ------------------------------------------------------------------------


def test_level():
    far = wordnet.NO_PATH
    distances = np.array([[0, 2, 4, 5], [2, 0, 0, far], [4, 0, 0, 1], [5, far, 1, 0]])
    kept = distances.copy()
    wanted = {
        1: [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]],
        4: [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]],
        5: [[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0]],
    }
    for level, neighbors in wanted.items():
        found = wordnet.semantic_neighbors(distances, level)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, neighbors)
    np.testing.assert_array_equal(distances, kept)


@pytest.mark.parametrize("level", [0, -1])
def test_level_that_is_too_low(level):
    assert error_of(wordnet.semantic_neighbors, np.zeros((2, 2)), level) == (
        f"level of semantic neighbors must be at least 1, got {level}"
    )


# --- The embedded dataset -------------------------------------------------------------


@pytest.fixture(scope="module")
def embedded():
    """Names and ids of the classes."""
    entry = registry.get_entry(
        ROOT / "configs/datasets.toml", "cifar100lt_effnetlite0_crt"
    )
    names = (ROOT / entry.label_names_file).read_text(encoding="utf-8").splitlines()
    ids = wordnet.parse_synsets(ROOT / entry.synsets_file, names)
    lines = (ROOT / entry.synsets_file).read_text(encoding="utf-8").splitlines()
    assert lines == [f"{id} {name}" for id, name in zip(ids, names, strict=True)]
    return dict(zip(names, ids, strict=True))


def test_every_class_has_a_synset_of_its_own(embedded):
    assert len(embedded) == len(set(embedded.values())) == 100
    assert all(name.startswith("n") for name in embedded.values())


def test_synsets_have_the_names_of_the_classes(embedded, reader):
    differ = {}
    for name, id in embedded.items():
        lemmas = [lemma.replace("_", " ") for lemma in synset(reader, id).lemma_names()]
        if name not in lemmas:
            differ[name] = lemmas[0]
    assert differ == {"aquarium fish": "goldfish", "maple tree": "maple"}


def test_senses_of_names_that_have_many(embedded, reader):
    """Each is a kind of what CIFAR-100's groups of classes say it is."""
    kinds = {
        "animal.n.01": "beaver crab dolphin flatfish leopard lobster mouse otter "
        "raccoon ray seal shrew skunk tiger trout turtle whale worm",
        "food.n.02": "apple mushroom orange pear",
        "plant.n.02": "orchid poppy rose sunflower tulip",
        "tree.n.01": "willow",
        "person.n.01": "baby boy girl man woman",
        "container.n.01": "bottle bowl can cup",
        "tableware.n.01": "plate",
        "furniture.n.01": "bed chair couch lamp table wardrobe",
        "vehicle.n.01": "bicycle motorcycle rocket streetcar tank tractor",
        "conveyance.n.03": "bus train",
        "device.n.01": "clock keyboard",
        "electronic_equipment.n.01": "telephone television",
        "structure.n.01": "bridge castle house skyscraper",
        "object.n.01": "forest mountain plain",
        "body_of_water.n.01": "sea",
        "atmospheric_phenomenon.n.01": "cloud",
    }
    for kind, names in kinds.items():
        above = reader.synset(kind)
        for name in names.split():
            id = embedded.get(name) or embedded[f"{name} tree"]
            paths = synset(reader, id).hypernym_paths()
            assert any(above in path for path in paths), (name, kind)


def test_neighbors_within_four_edges(embedded, reader):
    names = list(embedded)
    distances = wordnet.synset_distances(list(embedded.values()), reader)
    neighbors = wordnet.semantic_neighbors(distances, 4)

    def of(name):
        return {names[label] for label in neighbors[names.index(name)].nonzero()[0]}

    assert of("tiger") == {"bear", "leopard", "lion"}
    assert of("woman") == {"boy", "girl", "man"}
    assert of("crab") == {"lobster"}
    assert of("sea") == set()
