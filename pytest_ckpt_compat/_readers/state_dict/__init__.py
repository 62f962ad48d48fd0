"""Finds the state_dict among inert values, and makes a Structure of it."""
