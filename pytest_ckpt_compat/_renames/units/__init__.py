"""Keys -> the units that are matched: modules, blocks, the words of their names."""
