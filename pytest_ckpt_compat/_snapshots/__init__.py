"""Fingerprint files and accepted breaks: the only folder that writes."""
