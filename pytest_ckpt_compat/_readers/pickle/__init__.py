"""Pickles read as inert values. Nothing is imported, nothing is called."""
