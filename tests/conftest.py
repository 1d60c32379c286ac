"""Puts this folder on the import path: `tiny` is shared by tests/maths and tests/contracts."""
