"""Random definitions of many kinds, and what torch and this package find out about pairs of them.

A kind is a tuple of variants. A variant makes a module of a size; an old and a new definition are two
variants of one kind, most often the same one.
"""
