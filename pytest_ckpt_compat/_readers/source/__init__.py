"""Access to bytes: local files, folders, zip records and URLs."""
