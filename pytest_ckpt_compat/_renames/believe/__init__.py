"""Which of the matches are believed, and how surely."""
