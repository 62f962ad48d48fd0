"""A pickle's opcodes -> inert values: nothing is imported, nothing is called."""
