"""Distances between classes in WordNet 3.0: which are near in meaning.

Every class has a synset, named by an id such as n01440764: its part of speech and its
offset in the database. Offsets differ between versions of WordNet, so the database must
be of version 3.0. It is looked for on this machine only; nothing is ever downloaded.
"""

import contextlib
import io
import os
import re
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from alphanet_jax import files
from alphanet_jax.errors import UserError, count_of

if TYPE_CHECKING:
    from nltk.corpus.reader.wordnet import Synset, WordNetCorpusReader

__all__ = [
    "NO_PATH",
    "open_wordnet",
    "parse_synsets",
    "semantic_neighbors",
    "synset_distances",
]

NO_PATH: int = np.iinfo(np.int32).max
"""Distance of synsets that no path connects: farther than every other."""

_VERSION = "3.0"
_DEBIAN = Path("/usr/share/wordnet")
_INSTALL = (
    "apt-get install wordnet-base, or name the directory of WordNet 3.0 "
    "(--wordnet DIR or NLTK_DATA)"
)
_ID = re.compile(r"([nvars])([0-9]{8})")
_LINE = re.compile(rf"({_ID.pattern})(?:\s+(.*))?")

_REQUIRED = ("index.noun", "data.noun")
_FILES = (
    *(f"{kind}.{pos}" for kind in ("index", "data") for pos in ("adj", "adv", "verb")),
    *(f"{pos}.exc" for pos in ("adj", "adv", "noun", "verb")),
    *_REQUIRED,
)
# The lexicographer files of lexnames(5WN), in the order of their numbers. Debian's
# packages lack the file `lexnames` that lists them.
_LEXICOGRAPHER_FILES = (
    *("adj.all", "adj.pert", "adv.all"),
    *("noun.Tops", "noun.act", "noun.animal", "noun.artifact", "noun.attribute"),
    *("noun.body", "noun.cognition", "noun.communication", "noun.event"),
    *("noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive"),
    *("noun.object", "noun.person", "noun.phenomenon", "noun.plant"),
    *("noun.possession", "noun.process", "noun.quantity", "noun.relation"),
    *("noun.shape", "noun.state", "noun.substance", "noun.time"),
    *("verb.body", "verb.change", "verb.cognition", "verb.communication"),
    *("verb.competition", "verb.consumption", "verb.contact", "verb.creation"),
    *("verb.emotion", "verb.motion", "verb.perception", "verb.possession"),
    *("verb.social", "verb.stative", "verb.weather"),
    "adj.ppl",
)


# --- The database ---------------------------------------------------------------------


def open_wordnet(path: Path | None = None) -> "WordNetCorpusReader":
    """Opens the WordNet 3.0 database of this machine, with nltk's reader.

    The files are read into memory, about 30 MB; none stays open. Files of verbs,
    adjectives and adverbs may be missing; there are no synsets of theirs then. The
    languages other than English and the sense index are left out.

    Args:
      path: Directory of the database (`data.noun` and so on); or one that has it as
        `wordnet`, `corpora/wordnet`, or as nltk's `wordnet.zip` in one of these
        places; or that zip file. By default the directories of NLTK_DATA, nltk's usual
        ones, and that of Debian's package `wordnet-base` are searched, in this order.

    Returns:
      The reader.

    Raises:
      UserError: If nltk is missing, no database is found, it is not of version 3.0, or
        it cannot be read.
    """
    try:
        import nltk
    except ImportError:
        raise UserError(
            "nltk, which reads WordNet, is not installed: "
            "pip install 'alphanet_jax[wordnet]'"
        ) from None

    if path is not None:
        root = _find(path)
        if root is None:
            raise UserError(
                f"{path}: no WordNet database here ({' and '.join(_REQUIRED)}, also "
                f"below wordnet or corpora/wordnet or in wordnet.zip); {_INSTALL}"
            )
    else:
        given = os.environ.get("NLTK_DATA", "").split(os.pathsep)
        # nltk.data.path has NLTK_DATA as it was when nltk was first imported.
        places = [Path(place) for place in (*given, *nltk.data.path) if place]
        found = (_find(place) for place in (*places, _DEBIAN))
        root = next((root for root in found if root is not None), None)
        if root is None:
            raise UserError(f"no WordNet database on this machine: {_INSTALL}")

    with _blame(root.name_of()):
        contents = _read(root)
    _check_version(root.name_of("data.noun"), contents["data.noun"])
    with _blame(root.name_of()):
        return _make_reader(root.name_of(), contents)


class _Root(NamedTuple):
    """The directory of the database, which may be inside a zip file."""

    path: Path
    inner: str | None = None  # what names in the zip file begin with

    def name_of(self, file: str = "") -> str:
        """Names a file of it for people."""
        if self.inner is None:
            return str(self.path / file)
        return f"{self.path}/{self.inner}{file}"


def _find(place: Path) -> _Root | None:
    """Finds the directory of the database."""
    for directory in (place, place / "wordnet", place / "corpora" / "wordnet"):
        # Unlike Path.is_file, False also where it is not allowed to look.
        if all(os.path.isfile(directory / name) for name in _REQUIRED):
            return _Root(directory)
    for file in (place, place / "wordnet.zip", place / "corpora" / "wordnet.zip"):
        if file.suffix == ".zip" and os.path.isfile(file):
            with _blame(str(file)), zipfile.ZipFile(file) as archive:
                names = set(archive.namelist())
                for inner in ("wordnet/", ""):
                    if names >= {inner + name for name in _REQUIRED}:
                        return _Root(file, inner)
    return None


def _read(root: _Root) -> dict[str, bytes]:
    if root.inner is None:
        files = {name: root.path / name for name in _FILES}
        contents = {
            name: file.read_bytes() if file.is_file() else b""
            for name, file in files.items()
        }
    else:
        with zipfile.ZipFile(root.path) as archive:
            names = set(archive.namelist())
            contents = {
                name: archive.read(root.inner + name)
                if root.inner + name in names
                else b""
                for name in _FILES
            }
    numbers = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}
    lines = (
        f"{index:02d}\t{name}\t{numbers[name.partition('.')[0]]}\n"
        for index, name in enumerate(_LEXICOGRAPHER_FILES)
    )
    return contents | {"lexnames": "".join(lines).encode()}


def _check_version(where: str, content: bytes) -> None:
    found = re.search(rb"WordNet ([0-9][0-9.]*\+?) Copyright", content[:4096])
    if found is None:
        raise UserError(f"{where}: does not say that it is of WordNet {_VERSION}")
    version = found[1].decode()
    if version != _VERSION:
        raise UserError(
            f"{where}: WordNet {version}, whose ids differ from those of {_VERSION}; "
            f"{_INSTALL}"
        )


def _make_reader(where: str, contents: dict[str, bytes]) -> "WordNetCorpusReader":
    """Makes nltk's reader read these files instead of a directory.

    A directory would have to be below `nltk.data.path`, a global list, and to have all
    files that the reader opens.
    """
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import PathPointer, SeekableUnicodeStreamReader

    class Files(PathPointer):
        def __init__(self, path: str, content: bytes = b"") -> None:
            self.path = path
            self.content = content

        def join(self, fileid: str) -> "Files":
            if fileid not in contents:
                raise FileNotFoundError(f"{where}: {fileid} is not used here")
            return Files(f"{where}/{fileid}", contents[fileid])

        def file_size(self) -> int:
            return len(self.content)

        def open(self, encoding: str | None = None) -> Any:
            stream = io.BytesIO(self.content)
            return SeekableUnicodeStreamReader(stream, encoding) if encoding else stream

    class Reader(WordNetCorpusReader):
        def open(self, file: str) -> Any:
            # Not nltk's own, which wants a place on the disk to check.
            return self._root.join(file).open(self.encoding(file))

        def get_version(self) -> str:
            # nltk's own reads it from data.adj, which need not be there.
            return _VERSION

        def map_wn(self, version: str = "wordnet") -> None:
            # For other languages only; nltk's own looks for another database.
            return None

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The multilingual functions are not")
        return Reader(Files(where), None)


@contextlib.contextmanager
def _blame(where: str) -> Iterator[None]:
    """Turns any error of reading a database into a line that names it."""
    try:
        yield
    except UserError:
        raise
    # Damaged files raise all sorts of errors from deep within nltk and zipfile.
    except Exception as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        reason = " ".join((reason or type(error).__name__).split())
        raise UserError(
            f"{where}: not a readable WordNet database ({reason})"
        ) from None


# --- The synsets of the classes -------------------------------------------------------


def parse_synsets(
    path: Path,
    label_names: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
) -> tuple[str, ...]:
    """Reads the synset ids of the classes in label order; blank lines are skipped.

    A line is an id, alone or followed by the names of its class or synset: `n01440764
    tench, Tinca tinca`. Where there are names and `label_names` is given, the first
    name or all of them together must be the class's label name. Case, underscores for
    spaces, and how many spaces there are make no difference.

    Classes may share a synset. `synset_distances` checks that WordNet has it.

    Args:
      path: The file, in UTF-8.
      label_names: Names of the C classes.
      num_classes: C; by default the number of label names, or of lines.

    Returns:
      An id for each class.

    Raises:
      UserError: If the file cannot be read, a line has another form, there is not one
        for every class, or names differ.
    """
    lines = files.read_lines(path)
    ids, names, numbers = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise UserError(
                f"{path}:{number}: expected a synset id such as n01440764, and names "
                f"if any after a space, got {_quote(line.strip())}"
            )
        ids.append(match[1])
        names.append(match[4] or "")
        numbers.append(number)
    if num_classes is None:
        num_classes = len(ids) if label_names is None else len(label_names)
    if len(ids) != num_classes or not ids:
        raise UserError(
            f"{path}: {count_of(len(ids), 'synset')} for {num_classes} classes"
        )
    if label_names is not None:
        rows = zip(numbers, label_names, names, strict=True)
        for label, (number, label_name, listed) in enumerate(rows):
            first = listed.partition(",")[0]
            if listed and _plain(label_name) not in (_plain(first), _plain(listed)):
                raise UserError(
                    f"{path}:{number}: the first name must be that of class {label}, "
                    f"{label_name!r}, got {_quote(first)}"
                )
    return tuple(ids)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()


def _quote(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[:most] + "...")


# --- Distances ------------------------------------------------------------------------


def synset_distances(ids: Sequence[str], reader: "WordNetCorpusReader") -> np.ndarray:
    """Computes how far the synsets of classes are from each other.

    The distance is the number of edges of the shortest path that goes up from both
    synsets, along hypernyms and instance hypernyms, to one that is above both, as by
    `shortest_path_distance` of nltk's synsets.

    Args:
      ids: Synset id of each of the C classes.
      reader: What `open_wordnet` returned.

    Returns:
      Distances in edges, `(C, C)`, int32, symmetric, 0 on the diagonal; `NO_PATH` where
      there is no path, as between a noun and a verb.

    Raises:
      UserError: If WordNet has no synset with one of the ids.
    """
    # Of each synset that is above some class: these classes, and how far they are.
    below: dict[Synset, list[tuple[int, int]]] = defaultdict(list)
    for label, name in enumerate(ids):
        for ancestor, height in _ancestors(_synset(name, label, reader)).items():
            below[ancestor].append((label, height))
    distances = np.full((len(ids), len(ids)), NO_PATH, np.int32)
    for pairs in below.values():
        labels, heights = np.array(pairs, np.int32).T
        block = np.ix_(labels, labels)
        paths = heights[:, None] + heights[None, :]
        distances[block] = np.minimum(distances[block], paths)
    return distances


def _synset(name: str, label: int, reader: "WordNetCorpusReader") -> "Synset":
    match = _ID.fullmatch(name)
    if match is None:
        raise UserError(
            f"class {label}: expected a synset id such as n01440764, got {name!r}"
        )
    # nltk warns, or fails on what it finds inside a line, where no synset begins.
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        synset = reader.synset_from_pos_and_offset(match[1], int(match[2]))
        if synset is not None:
            return synset
    raise UserError(f"class {label}: WordNet {_VERSION} has no synset {name!r}")


def _ancestors(synset: "Synset") -> "dict[Synset, int]":
    """Finds all synsets above one, and itself, with the fewest edges between."""
    heights = {synset: 0}
    level = [synset]
    while level:
        above = []
        for below in level:
            for parent in below.hypernyms() + below.instance_hypernyms():
                if parent not in heights:
                    heights[parent] = heights[below] + 1
                    above.append(parent)
        level = above
    return heights


def semantic_neighbors(distances: np.ndarray, level: int) -> np.ndarray:
    """Finds which classes are semantic neighbors of which.

    Args:
      distances: Distances in edges, `(C, C)`, as of `synset_distances`.
      level: The most edges between neighbors, at least 1.

    Returns:
      `(C, C)`, bool: whether the class of the column is another class than that of the
      row, and at most `level` edges from it.

    Raises:
      UserError: If `level` is less than 1.

    Examples:
      >>> distances = np.array([[0, 2, 5], [2, 0, 3], [5, 3, 0]])
      >>> semantic_neighbors(distances, 3).sum(axis=1)
      array([1, 2, 1])
    """
    if level < 1:
        raise UserError(f"level of semantic neighbors must be at least 1, got {level}")
    near = np.asarray(distances) <= level
    np.fill_diagonal(near, False)
    return near
