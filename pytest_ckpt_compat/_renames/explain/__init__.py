"""Turns believed matches into changes, their reasons, and patterns that cover many changes."""
