"""The one exception for bad input."""

from __future__ import annotations


class UserError(Exception):
    """Something the user gave us cannot be used.

    The message is one line that names the file, the line where there is one, and what to do. The
    command line prints it as ``latentnlp: error: <message>``, without a traceback, and exits
    with 2.
    """
