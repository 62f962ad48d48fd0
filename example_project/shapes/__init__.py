"""Tells circles, squares, triangles and crosses apart."""
