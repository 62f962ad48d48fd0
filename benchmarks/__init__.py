"""What is measured beside the tests, each by one command."""
