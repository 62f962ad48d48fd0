"""What the user registered: markers, the project's file, the hook -> Registration."""
