"""Frozen data and pure functions that every other folder may use. Imports none of those folders."""
