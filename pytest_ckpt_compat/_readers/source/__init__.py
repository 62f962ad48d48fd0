"""Where bytes come from: files, folders, zip members, addresses."""
