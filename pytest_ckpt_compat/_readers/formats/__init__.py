"""Readers of the formats, one module each: bytes -> Structure."""
