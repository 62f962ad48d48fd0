"""Believed matches -> changes, rules and evidence."""
