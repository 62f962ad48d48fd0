"""Turns verdicts into text, JSON, Markdown and GitHub annotations."""
