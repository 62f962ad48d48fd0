"""Inert values -> the state_dict among them, and a Structure of it."""
