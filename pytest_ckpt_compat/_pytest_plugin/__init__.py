"""The pytest plugin: hooks, items, session, fixture."""
