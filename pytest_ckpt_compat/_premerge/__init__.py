"""What a branch breaks that its merge base did not: git, the merge base's tree, and its code."""
