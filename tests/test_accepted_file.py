"""``accepted.toml`` as people edit it: what they wrote stays, and what is written reads back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_ckpt_compat._core.display import visible
from pytest_ckpt_compat._core.errors import SnapshotError
from pytest_ckpt_compat._snapshots import accepted, accepted_edit
from pytest_ckpt_compat._snapshots.accepted import Entry, loads
from pytest_ckpt_compat._snapshots.accepted_edit import put
from pytest_ckpt_compat._snapshots.accepted_files import save
from tests.effort import examples

#: A busy machine is no failure.
_EXAMPLES = settings(max_examples=examples(50), deadline=None, suppress_health_check=list(HealthCheck))

RULES = st.sampled_from(["CK101", "CK202", "CK401"])
DATES = st.none() | st.dates(date(2000, 1, 1), date(2100, 1, 1))
#: Any text at all: quotes, line ends, comment signs, control characters, lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=()) | st.sampled_from("\"'\\#\n\r[]{}=,"), max_size=12)
REASONS = TEXTS.filter(str.strip)
CHANGES = st.lists(TEXTS.map(lambda text: f"{text} -> b"), min_size=1, max_size=4, unique_by=visible)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    identity = draw(st.sampled_from(["net-v1", "it's", 'a "b"', "models.Net(x=1)@forward"]))
    key = draw(st.sampled_from(["*", "head.*", "a\\b"]))
    return Entry(identity, draw(RULES), key, draw(REASONS), draw(DATES), tuple(draw(CHANGES)))


def read_back(entry: Entry) -> Entry:
    """The entry as a file gives it."""
    return replace(
        entry,
        id=visible(entry.id),
        key=visible(entry.key),
        reason=visible(entry.reason),
        changes=tuple(map(visible, entry.changes)),
    )


@dataclass(frozen=True)
class Edited:
    """A file that people have edited, in pieces, one an entry; the comments above each are in its piece."""

    head: str
    pieces: tuple[str, ...]
    comments: tuple[tuple[str, ...], ...]
    entries: tuple[Entry, ...]
    tail: str

    @property
    def text(self) -> str:
        return self.head + "".join(self.pieces) + self.tail


SPACES = st.sampled_from(["", " ", "  ", "\t"])


def written(draw: st.DrawFn, text: str) -> str:
    """A TOML string in one of the ways in which it can be written."""
    text = visible(text)
    styles = [accepted_edit._quote(text)]
    if "'" not in text:
        styles += [f"'{text}'"]
    if '"' not in text and "\\" not in text:
        styles += [f'"""{text}"""']
    return draw(st.sampled_from(styles))


HEADERS = st.sampled_from(["[[accepted]]", "[[ accepted ]]", '[["accepted"]]'])
LAYOUTS = st.sampled_from(["one line", "one a line", "comment at the end", "brackets beside values"])


def array(layout: str, texts: list[str], comment: Callable[[], str], after: Callable[[], str]) -> list[str]:
    """The lines of a list of changes in a layout that people use."""
    first, last = texts[:-1], texts[-1]
    if layout == "one line":
        return [f"changes = [{', '.join(texts)}]"]
    if layout == "one a line":
        return [f"changes = [ # {len(texts)} changes", *(f"  {text},{after()}" for text in texts), "]"]
    if layout == "comment at the end":
        return ["changes = [", *(f"  {text}," for text in first), f"  {last}{after()}", f"  {comment()}", "]"]
    return [f"changes = [{after()}", *(f"  {text},{after()}" for text in first), f"  {last} ]"]


@st.composite
def edited(draw: st.DrawFn) -> Edited:
    """A file with comments, blank lines, and its own layout and line ends."""
    number = iter(range(1000))
    endings = draw(st.sampled_from([["\n"], ["\r\n"], ["\n", "\r\n"]]))

    def end() -> str:
        return draw(st.sampled_from(endings))

    def comment() -> str:
        return f"# comment {next(number)} é, \"]\" [[accepted]] = 'x'"

    def after() -> str:
        return draw(SPACES) + (comment() if draw(st.booleans()) else "")

    found = draw(st.lists(entries(), max_size=3, unique_by=lambda each: (each.id, each.rule, each.key)))
    pieces, comments = [], []
    for entry in found:
        indent = draw(SPACES)
        lines = [comment() if draw(st.booleans()) else "" for _ in range(draw(st.integers(0, 2)))]
        lines.append(f"{indent}{draw(HEADERS)}{after()}")
        fields = [[f"id={written(draw, entry.id)}"], [f"reason = {written(draw, entry.reason)}"]]
        fields.append([f"rule{draw(SPACES)}= {written(draw, entry.rule)}"])
        if entry.key != "*" or draw(st.booleans()):
            fields.append([f'"key" = {written(draw, entry.key)}'])
        if entry.until is not None:
            fields.append([f"until = {entry.until}"])
        fields.append(array(draw(LAYOUTS), [written(draw, text) for text in entry.changes], comment, after))
        for *inner, last in draw(st.permutations(fields)):
            lines += [*(indent + line for line in inner), f"{indent}{last}{after()}"]
        pieces.append("".join(line + end() for line in lines))
        comments.append(tuple(line.strip() for line in lines if line.strip().startswith("#")))
    tail = draw(st.sampled_from(["", endings[0], f"# the end{endings[0]}", "# the end"]))
    head = draw(st.sampled_from(["", f"# by hand{endings[0]}{endings[0]}"]))
    return Edited(head, tuple(pieces), tuple(comments), tuple(map(read_back, found)), tail)


@_EXAMPLES
@given(edited(), entries())
def test_a_new_entry_leaves_the_file_as_it_is(file: Edited, entry: Entry) -> None:
    known = {(each.id, each.rule, each.key) for each in file.entries}
    if (visible(entry.id), entry.rule, visible(entry.key)) in known:
        entry = replace(entry, id="another")
    text = put(file.text, entry)
    assert text.startswith(file.text)
    assert loads(text, "accepted.toml") == (*file.entries, read_back(entry))
    if "\n" not in file.text.replace("\r\n", "") and "\r\n" in file.text:
        assert "\n" not in text.replace("\r\n", "")


@_EXAMPLES
@given(edited(), entries(), st.data())
def test_an_update_changes_the_lines_of_its_entry_alone(
    file: Edited, entry: Entry, data: st.DataObject
) -> None:
    if not file.entries:
        return
    index = data.draw(st.integers(0, len(file.entries) - 1))
    old = file.entries[index]
    kept = data.draw(st.lists(st.sampled_from(old.changes), unique=True))
    changes = tuple(dict.fromkeys((*kept, *map(visible, entry.changes))))
    entry = replace(old, reason=entry.reason, until=entry.until, changes=changes)
    text = put(file.text, entry)
    before, after = file.pieces[:index], file.pieces[index + 1 :]
    start, end = file.head + "".join(before), "".join(after) + file.tail
    assert text.startswith(start)
    assert text.endswith(end)
    piece = text.removeprefix(start).removesuffix(end)
    assert all(line in piece for line in file.comments[index])
    found = loads(text, "accepted.toml")
    assert (*found[:index], *found[index + 1 :]) == (*file.entries[:index], *file.entries[index + 1 :])
    wanted = read_back(entry)
    assert replace(found[index], changes=()) == replace(wanted, changes=())
    assert sorted(found[index].changes) == sorted(wanted.changes)


@_EXAMPLES
@given(edited())
def test_what_stays_the_same_is_not_written_anew(file: Edited) -> None:
    for entry in file.entries:
        assert put(file.text, entry) == file.text


@_EXAMPLES
@given(st.lists(entries(), max_size=4, unique_by=lambda each: (each.id, each.rule, each.key)))
def test_entries_read_back(wanted: list[Entry]) -> None:
    text = ""
    for entry in wanted:
        text = put(text, entry)
    assert loads(text, "accepted.toml") == tuple(map(read_back, wanted))


FILE = """\
# Ask the vision team before you add to this.

# Ten classes since March.
[[accepted]]
id = "net-v1"
rule = "CK202"  # the head
reason = 'ten classes'
changes = [  # 2 changes
    # the bias goes with it
    "head.bias float32[4] -> head.bias float32[5]",
    "head.weight float32[4, 8] -> head.weight float32[5, 8]",
]

# This one has an end.
[[accepted]]
id = "net-v2"
rule = "CK101"
reason = "for a week"
changes = ["(none) -> scale float32[1]"]
"""


def test_an_update_reads_well() -> None:
    scale = "(none) -> scale float32[1]"
    first = loads(FILE, "accepted.toml")[0]
    text = put(FILE, replace(first, until=date(2030, 1, 1), changes=(*first.changes, scale)))
    assert text == FILE.replace(
        "'ten classes'\nchanges = [  # 2 changes",
        "'ten classes'\nuntil = 2030-01-01\nchanges = [  # 3 changes",
    ).replace('float32[5, 8]",\n', f'float32[5, 8]",\n    "{scale}",\n')


INLINE = """\
accepted = [  # one a line
    {id = "a", rule = "CK101", reason = "r", changes = ["(none) -> a"]},  # the first
    {id = "b", rule = "CK101", reason = "r", changes = ["(none) -> a"]},
]
"""


def test_a_list_of_inline_tables_goes_on_as_one() -> None:
    new = Entry("c", "CK101", "*", "new", date(2030, 1, 1), ("(none) -> b",))
    assert put(INLINE, new) == INLINE.replace(
        "},\n]",
        '},\n    {id = "c", rule = "CK101", key = "*", reason = "new", until = 2030-01-01, '
        'changes = ["(none) -> b"]},\n]',
    )
    updated = put(INLINE, replace(new, id="b"))
    assert updated.splitlines()[:2] == INLINE.splitlines()[:2]
    assert loads(updated, "accepted.toml")[1] == replace(new, id="b")
    assert loads(put("accepted = []", new), "accepted.toml") == (new,)


BROKEN = (
    """\
[[accepted]]
id = "net-v1"
rule = "CK202"
reason = """
    + '"""\n[[accepted]]\n# no comment"""'
    + """  # why
changes = [
    "a -> b"  # the only one
    # more to come
]  # CK202
# about what follows
[[ accepted ]]
id = "net-v2"
rule = "CK202"
reason = "r"
changes = [ # 1 change
    "a -> b" ]
"""
)


def test_layouts_that_a_library_may_break() -> None:
    first, second = loads(BROKEN, "accepted.toml")
    more = replace(first, changes=(*first.changes, "c -> d"))
    text = put(BROKEN, more)
    assert loads(text, "accepted.toml") == (more, second)
    assert text == BROKEN.replace('"a -> b"  #', '"a -> b",  #').replace("come\n", 'come\n    "c -> d",\n')
    text = put(BROKEN, replace(second, changes=("c -> d",)))
    assert text == BROKEN.replace('    "a -> b" ]', '    "c -> d"\n    ]')


def test_an_entry_that_the_library_cannot_edit_is_written_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    import tomlkit
    from tomlkit.exceptions import ParseError

    def parse(text: str) -> None:
        raise ParseError(1, 1)

    monkeypatch.setattr(tomlkit, "parse", parse)
    first, second = loads(BROKEN, "accepted.toml")
    second = replace(second, changes=("c -> d",), until=date(2030, 1, 1))
    text = put(BROKEN, second)
    assert text.startswith(BROKEN[: BROKEN.index('id = "net-v2"')] + "# 1 change\nid =")
    assert loads(text, "accepted.toml") == (first, second)
    old = loads(INLINE, "accepted.toml")
    new = replace(old[1], changes=("c -> d",))
    text = put(INLINE, new)
    assert text.startswith('# one a line\n# the first\n\n[[accepted]]\nid = "a"')
    assert loads(text, "accepted.toml") == (old[0], new)


def test_of_two_entries_of_one_change_the_first_is_updated() -> None:
    text = FILE.replace('"net-v2"', '"net-v1"').replace('"CK101"', '"CK202"')
    first, second = loads(text, "accepted.toml")
    found = loads(put(text, replace(first, reason="new")), "accepted.toml")
    assert found == (replace(first, reason="new"), second)


def test_an_id_with_a_control_character_is_found_again() -> None:
    text = FILE.replace('"net-v1"', r'"net\u0007"')
    first, second = loads(text, "accepted.toml")
    assert first.id == r"net\x07"
    found = loads(put(text, replace(first, id="net\x07", reason="new")), "accepted.toml")
    assert found == (replace(first, reason="new"), second)


@pytest.mark.parametrize("line_end", [b"\r", b"\r\r\n"])
def test_line_ends_that_are_not_toml_are_refused(tmp_path: Path, line_end: bytes) -> None:
    content = FILE.encode().replace(b"\n", line_end)
    (tmp_path / accepted.FILE).write_bytes(content)
    with pytest.raises(SnapshotError, match=r"accepted\.toml: is not TOML"):
        accepted.load(tmp_path)
    with pytest.raises(SnapshotError, match=r"accepted\.toml: is not TOML"):
        save(tmp_path, [Entry("a", "CK101", "*", "new", None, ("(none) -> b",))])
    assert (tmp_path / accepted.FILE).read_bytes() == content


def test_a_file_that_cannot_be_used_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / accepted.FILE
    path.write_text("[[accepted]]\nid = 3\n")
    with pytest.raises(SnapshotError, match="number 1, key id: is 3"):
        save(tmp_path, [Entry("a", "CK101", "*", "new", None, ("(none) -> b",))])
    assert path.read_text() == "[[accepted]]\nid = 3\n"


def test_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / accepted.FILE
    path.write_bytes(FILE.replace("\n", "\r\n").encode())
    new = Entry("a", "CK101", "*", "new", None, ("(none) -> b",))
    save(tmp_path, [new])
    assert path.read_bytes().replace(b"\r\n", b"").count(b"\n") == 0
    assert path.read_bytes().startswith(FILE.replace("\n", "\r\n").encode())
    assert accepted.load(tmp_path)[-1] == new
