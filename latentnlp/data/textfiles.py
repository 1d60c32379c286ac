"""Lines of text files, read and written strictly: the rules that every reader here shares.

A line ends at ``\\n`` and nowhere else (U+2028, U+0085, a lone ``\\r`` do not end one); one ``\\r``
before it is dropped, so is a byte order mark at the start of the file, and the last line may lack
its ``\\n``. Words are split at ASCII space and tab only, so a no-break space stays inside its word.
Other tools that read the same file therefore count the same lines and words.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TextIO

from latentnlp.errors import UserError

BOM = b"\xef\xbb\xbf"
STDIN = "-"


def split_words(text: str) -> list[str]:
    """The words of a line, split at runs of ASCII space and tab."""
    return list(filter(None, text.replace("\t", " ").split(" ")))


def decode_line(raw: bytes, name: str, line: int) -> str:
    """Strict UTF-8; raises UserError with the file, the line (from 1) and its byte (from 1)."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name}, line {line}, byte {error.start + 1}: not valid UTF-8 "
            f"(0x{raw[error.start]:02x}); convert the file to UTF-8"
        ) from None


def open_bytes(path: str | Path) -> BinaryIO:
    """A file, a gzip file (by its name) or standard input (``-``), opened to read bytes."""
    if str(path) == STDIN:
        return sys.stdin.buffer
    try:
        return gzip.open(path, "rb") if is_gzip(path) else open(path, "rb")  # type: ignore[return-value]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: is a folder, not a text file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def is_gzip(path: str | Path) -> bool:
    return str(path).endswith(".gz")


@contextmanager
def gzip_errors(name: str | Path) -> Iterator[None]:
    """Turns the three ways in which gzip reports damage into one UserError."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(
            f"{name}: damaged gzip file ({error}); fetch or compress it again"
        ) from None


def read_lines(path: str | Path, drop_bom: bool = True) -> Iterator[tuple[int, str]]:
    """Yields (line number from 1, text without its line end); ``-`` is standard input.

    Raises:
        UserError: missing or unreadable file, damaged gzip, a line that is not UTF-8.
    """
    stream = open_bytes(path)
    owned = nullcontext() if stream is sys.stdin.buffer else stream
    with owned, gzip_errors(path):
        for number, raw in enumerate(stream, start=1):
            if number == 1 and drop_bom:
                raw = raw.removeprefix(BOM)
            yield number, decode_line(strip_line_end(raw), str(path), number)


def strip_line_end(raw: bytes) -> bytes:
    return raw.removesuffix(b"\n").removesuffix(b"\r")


@contextmanager
def write_atomically(path: str | Path) -> Iterator[TextIO]:
    """A text stream whose content appears at `path` only when the block ends without an error.

    Raises:
        UserError: the file cannot be written (no room, no permission).
    """
    with write_atomically_bytes(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
        yield text
        text.flush()
        text.detach()


@contextmanager
def write_atomically_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """`write_atomically` for bytes."""
    path = Path(path)
    temporary: Path | None = None
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe: never to be replaced
            with open(path, "wb") as stream:
                yield stream
            return
        path = path.resolve()  # a link keeps pointing to its file
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with open(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's 0600 is for secrets, not for results
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Complain now rather than after hours of work. Raises UserError if `path` cannot be made."""
    path = Path(path)
    if path.exists() and not path.is_file():
        return  # a pipe or a device
    try:
        path.resolve().parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.resolve().parent).close()
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
