"""Refactors of real models whose modules are known: what their classes add to the explanation of renames.

Nothing in the package reads any of it.
"""
