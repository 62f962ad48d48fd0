"""Bytes to structures, one module a format; the format is found from the content, never the name."""
