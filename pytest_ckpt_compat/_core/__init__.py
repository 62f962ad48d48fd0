"""Frozen data and pure functions: what all the other folders speak of. Imports none of them."""
