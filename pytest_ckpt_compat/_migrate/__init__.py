"""Turns an explained difference into a migration: steps, the few rules that give them, and code.

Nothing here imports torch: what runs the code and proves it is in ``_definition``.
"""
