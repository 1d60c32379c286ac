"""Lines and words: what ends a line, what splits a word, and what cannot be read or written."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path

import pytest

from latentnlp.data.textfiles import open_bytes, read_lines, split_words, write_atomically
from latentnlp.errors import UserError


def lines_of(path: Path) -> list[str]:
    return [text for _, text in read_lines(path)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\n\n", ["a", ""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\r\r\n", ["a\r"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        (b"a\n\xef\xbb\xbfb", ["a", "\ufeffb"]),
        ("a\u2028b\u0085c\x0cd\n".encode(), ["a\u2028b\u0085c\x0cd"]),
    ],
)
def test_a_line_ends_at_a_newline_only(tmp_path: Path, raw: bytes, expected: list[str]) -> None:
    (tmp_path / "x").write_bytes(raw)
    (tmp_path / "x.gz").write_bytes(gzip.compress(raw))
    assert lines_of(tmp_path / "x") == expected
    assert lines_of(tmp_path / "x.gz") == expected


def test_words_are_split_at_ascii_space_and_tab_only() -> None:
    assert split_words("  a\t b  c ") == ["a", "b", "c"]
    assert split_words("10\u00a0000 a\u2028b\u3000c x\x0by") == [
        "10\u00a0000",
        "a\u2028b\u3000c",
        "x\x0by",
    ]
    assert split_words(" \t ") == []


def test_standard_input_is_read_and_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"a b\nc"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert list(read_lines("-")) == [(1, "a b"), (2, "c")]
    assert not stdin.buffer.closed


def test_bad_utf8_names_file_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes("ok\nf\u00fcr ".encode() + b"\xff\n")
    with pytest.raises(UserError, match=r"x, line 2, byte 6: not valid UTF-8 \(0xff\)"):
        lines_of(path)


def test_missing_folder_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such file"):
        open_bytes(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"nowhere\.gz: no such file"):
        open_bytes(tmp_path / "nowhere.gz")
    with pytest.raises(UserError, match="is a folder"):
        open_bytes(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be read"):
        open_bytes(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: b"no gzip at all",
        lambda raw: raw[:20] + bytes(20) + raw[40:],
        lambda raw: raw[:-8] + bytes(8),
    ],
)
def test_damaged_gzip(tmp_path: Path, damage) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(1000).hex().encode())))
    with pytest.raises(UserError, match=r"x\.gz: damaged gzip file"):
        lines_of(path)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x"
    with write_atomically(path) as stream:
        stream.write("old\n")
    with pytest.raises(KeyError), write_atomically(path) as stream:
        stream.write("half")
        raise KeyError
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]


def test_no_room_and_no_folder_are_user_errors(tmp_path: Path) -> None:
    full = pytest.raises(UserError, match="full: cannot be written: No space left")
    with full, write_atomically(tmp_path / "full"):
        raise OSError(28, "No space left on device")
    (tmp_path / "file").touch()
    below = pytest.raises(UserError, match="below: cannot be written")
    with below, write_atomically(tmp_path / "file" / "below"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with write_atomically(tmp_path / "ours"):
        pass
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_pipe_and_a_symbolic_link_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_text()))
    reader.start()
    with write_atomically(tmp_path / "pipe") as stream:
        stream.write("through\n")
    reader.join()
    assert received == ["through\n"]
    assert (tmp_path / "pipe").is_fifo()

    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with write_atomically(tmp_path / "link") as stream:
        stream.write("new\n")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new\n"
    below = pytest.raises(UserError, match="cannot be written: Is a directory")
    with below, write_atomically(tmp_path):
        pass
