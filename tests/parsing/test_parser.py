"""The text grammar, rule by rule of Darknet's own reader, and the way back."""

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darknet_torch.errors import CfgError
from darknet_torch.loading import plan
from darknet_torch.parsing import parser
from darknet_torch.parsing.parser import Option, Section


def outline(text: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """The content of a text, without lines and file."""
    return [(s.name, [(o.key, o.value) for o in s.options]) for s in parser.parse(text)]


def naive(text: str) -> list[tuple[str, list[tuple[str, str | None]]]]:
    """The grammar once more, letter by letter, as the C programs walk through a line."""
    sections: list[tuple[str, list[tuple[str, str | None]]]] = []
    line = ""
    for letter in [*text, "\n"]:
        if letter in " \t\r":
            continue
        if letter != "\n":
            line += letter
            continue
        if line and line[0] == "[":
            closed = line[-1] == "]" and len(line) > 2
            sections.append((line[1:-1] if closed else line, []))
        elif line and line[0] not in "#;":
            equals = line.find("=")
            if equals < 0:
                sections[-1][1].append((line, None))
            else:
                sections[-1][1].append((line[:equals], line[equals + 1 :]))
        line = ""
    return sections


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ net ]\n", [("net", [])]),
        ("[net]\nwid th = 9\n", [("net", [("width", "9")])]),
        ("[net]\n\tactivation\t= lin ear \n", [("net", [("activation", "linear")])]),
        ("[net]\n#a=1\n;b=2\n  # c=3\n\n \t\nd=4\n", [("net", [("d", "4")])]),
        ("[net]\na=1#b\n", [("net", [("a", "1#b")])]),
        ("[net]\na=1;b\n", [("net", [("a", "1;b")])]),
        ("[net]\na=b=c\n", [("net", [("a", "b=c")])]),
        ("[net]\na=\nb = \na=2\n", [("net", [("a", ""), ("b", ""), ("a", "2")])]),
        ("[net]\na\na=2\n", [("net", [("a", None), ("a", "2")])]),
        ("[net]\n=5\n", [("net", [("", "5")])]),
        ("[net]\na=1\na=2\n", [("net", [("a", "1"), ("a", "2")])]),
        ("[network]\na=1", [("network", [("a", "1")])]),
        ("[net]\r\na=1\r\n\r\n[avgpool]\r\n", [("net", [("a", "1")]), ("avgpool", [])]),
        (
            "[net]\na=1\n[avgpool]\n[net]\nb=2",
            [("net", [("a", "1")]), ("avgpool", []), ("net", [("b", "2")])],
        ),
        ("[net]#x\n", [("[net]#x", [])]),
        ("[net\n", [("[net", [])]),
        ("[]\n", [("[]", [])]),
        ("[Net]\nA=B\n", [("Net", [("A", "B")])]),
    ],
)
def test_grammar(text: str, expected: object) -> None:
    assert outline(text) == expected


@given(st.text(alphabet="[]=#; \t\r\nab1,-", max_size=80))
def test_any_text_reads_as_letter_by_letter(text: str) -> None:
    text = f"[net]\n{text}"
    assert outline(text) == naive(text)


@given(st.text(max_size=200))
def test_no_text_at_all_raises_anything_but_a_cfg_error(text: str) -> None:
    try:
        sections = parser.parse(text)
    except CfgError as error:
        assert "\n" not in str(error)
    else:
        assert sections


NAMES = st.text(alphabet=string.ascii_letters + string.digits + "_[]#;-=", min_size=1, max_size=12)
KEYS = NAMES.filter(lambda key: key[0] not in "#;[" and "=" not in key)
OPTIONS = st.builds(Option, KEYS, st.none() | NAMES)
SECTIONS = st.lists(
    st.builds(Section, NAMES, st.lists(OPTIONS, max_size=6).map(tuple)), min_size=1, max_size=6
)


@given(SECTIONS)
def test_what_is_written_reads_back(sections: list[Section]) -> None:
    expected = [(s.name, [(o.key, o.value) for o in s.options]) for s in sections]
    assert outline(parser.write(sections)) == expected


def test_written_text_is_readable_for_people() -> None:
    text = "[net]\nwidth=8\n\n[avgpool]\n"
    assert parser.write(parser.parse(" [net]\n#c\nwidth = 8\n[avgpool]")) == text


def test_a_key_without_a_value_does_not_count() -> None:
    (net,) = parser.parse("[net]\na=\na=2\na=3")
    assert (net.get("a"), net.get("b"), parser.write([net])) == ("2", None, "[net]\na=\na=2\na=3\n")


def test_line_ends_of_old_macs(tmp_path: Path) -> None:
    old, cfg = "[net]\ra=1\r\r[avgpool]\r", tmp_path / "my.cfg"
    for content in (old.encode(), old.encode("utf-16"), b"[net]\na=\r1\n[avgpool]"):
        cfg.write_bytes(content)
        net, pool = parser.read(cfg)
        assert (net.name, net.get("a"), pool.name, pool.options) == ("net", "1", "avgpool", ())


def test_a_long_header_is_cut_in_messages() -> None:
    section = Section(f"[net]{'x' * 500}", line=3)
    assert section.where() == f"<cfg>:3: [net]{'x' * 55}..."


def test_lines_are_numbered_as_an_editor_shows_them() -> None:
    sections = parser.parse("\n# c\n[net]\n\nwidth=8\r\n[avgpool]\na\n", "my.cfg")
    assert [(s.line, [o.line for o in s.options]) for s in sections] == [(3, [5]), (6, [7])]
    assert sections[0].where() == "my.cfg:3: [net]"
    assert str(sections[0].error("bad")) == "my.cfg:3: [net]: bad"
    assert str(sections[0].error("a=1: bad", line=5)) == "my.cfg:5: [net] a=1: bad"


def test_first_of_equal_keys_wins() -> None:
    (section,) = parser.parse("[net]\nfilters=4\nfilters=9\nempty\nempty=3\n")
    assert section.get("filters") == "4"
    assert section.get("empty") is None
    assert section.get("empty", "7") == "7"  # a line without = hides the later one
    assert section.get("none") is None
    sections = section.option("filters")
    assert sections is not None
    assert sections.line == 2


def test_a_text_and_a_file_read_alike(tmp_path: Path) -> None:
    text = "[net]\nwidth=8\n[avgpool]"
    path = tmp_path / "my.cfg"
    path.write_text(text)
    (from_file, _), (from_text, _) = parser.read(path), parser.read(text)
    assert from_file.options == from_text.options
    assert (from_file.file, from_file.folder) == (str(path), tmp_path)
    assert (from_text.file, from_text.folder) == ("<cfg>", None)
    assert parser.read(str(path)) == parser.read(path)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "bom"])
@pytest.mark.parametrize("last", [True, False], ids=["newline", "no-newline"])
def test_bytes_that_editors_leave(ending: bytes, start: bytes, last: bool, tmp_path: Path) -> None:
    path = tmp_path / "my.cfg"
    path.write_bytes(start + ending.join([b"[net]", b"width=8"]) + (ending if last else b""))
    (section,) = parser.read(path)
    assert (section.name, section.get("width")) == ("net", "8")


def test_bytes_that_are_no_utf8_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "my.cfg"
    path.write_bytes(b"# gr\xfc\xdfe\n[net]\nwidth=8\n")
    assert parser.read(path)[0].get("width") == "8"


def test_an_error_about_bytes_that_are_no_utf8_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "my.cfg"
    path.write_bytes(b"[net]\nwidth=8\nheight=8\nchannels=3\n" + b"[gr\xfc\xdfe]\n")
    with pytest.raises(CfgError) as caught:
        plan(path)
    str(caught.value).encode("utf-8")


def refused(source: Path | str, expected: str) -> None:
    with pytest.raises(CfgError) as caught:
        parser.read(source)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert "\n" not in message


def test_option_before_the_first_section() -> None:
    refused("# c\nwidth=8\n[net]\n", r"^<cfg>:2: .*\[net\]")


def test_no_section() -> None:
    refused("# nothing\n\n", r"^<cfg>: no section")


def test_binary_file(tmp_path: Path) -> None:
    (tmp_path / "my.cfg").write_bytes(b"\x00\x00\x00\x00\x02\x00\x00\x00")
    refused(tmp_path / "my.cfg", "my.cfg: is a binary file")


def test_huge_file_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "my.cfg").open("wb") as file:
        file.truncate(parser.MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    refused(tmp_path / "my.cfg", "my.cfg: larger than 16 MB")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="the system has no /dev/zero")
def test_an_endless_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read"))
    refused(Path("/dev/zero"), "^/dev/zero: ")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "my.cfg", "my.cfg: cannot be read: No such file")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "[net]"])
def test_a_name_that_can_be_no_file(name: str) -> None:
    refused(name, "cannot be read")
    with pytest.raises(CfgError):
        plan(name)


def test_data_file(tmp_path: Path) -> None:
    path = tmp_path / "my.data"
    path.write_bytes(b"# c\nclasses = 2\r\ntrain  = a b.txt\nclasses=3\nnames=\nalone\n")
    assert parser.read_data(path) == {"classes": "2", "train": "ab.txt"}
    path.write_bytes(b"")
    assert parser.read_data(path) == {}
    with pytest.raises(CfgError, match="cannot be read"):
        parser.read_data(tmp_path / "no.data")


def test_names_file(tmp_path: Path) -> None:
    path = tmp_path / "my.names"
    path.write_bytes("\ufeffperson\r\ntraffic light\n\n vélo \n# 9\n\n\n".encode())
    assert parser.read_names(path) == ("person", "traffic light", "", "vélo", "# 9")
    path.write_bytes(b"\n\n")
    assert parser.read_names(path) == ()
    with pytest.raises(CfgError, match="cannot be read"):
        parser.read_names(tmp_path / "no.names")


def test_lines_with_numbers(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"a b\r\n\n  c \n")
    assert parser.read_lines(path) == [(1, "a b"), (3, "c")]
