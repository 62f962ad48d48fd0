"""Matches the units of one side to those of the other."""
