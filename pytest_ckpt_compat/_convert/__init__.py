"""Rewrites checkpoints under new keys: one tensor at a time, whole or not at all, read back afterwards."""
