"""Fingerprint files and accepted.toml: the only folder that writes."""
