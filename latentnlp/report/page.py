"""One self-contained HTML page: no script, no network, every text escaped."""

from __future__ import annotations

import html
from pathlib import Path


def escape(text: object) -> str:
    """`text` for HTML and SVG, in content or in a quoted attribute; control characters replaced."""
    visible = "".join(c if c >= " " and not "\x7f" <= c <= "\x9f" else "\ufffd" for c in str(text))
    return html.escape(visible, quote=True)


def render_page(title: str, body: str) -> str:
    """The whole document around `body` (HTML, already escaped)."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Even if an escape were forgotten, nothing would run and nothing would be fetched.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
