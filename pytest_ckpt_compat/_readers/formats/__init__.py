"""One module a format: bytes -> Structure."""
