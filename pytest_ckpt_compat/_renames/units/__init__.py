"""Groups keys into the units that are matched, and compares the words of their names."""
