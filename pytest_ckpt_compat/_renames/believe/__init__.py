"""Decides which matches are believed, and how confidently."""
