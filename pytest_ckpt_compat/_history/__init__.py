"""Definitions as the code had them: at each commit, and in released packages; which commit changed what."""
