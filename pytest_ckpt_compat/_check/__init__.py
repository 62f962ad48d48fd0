"""A structure and a definition -> a verdict; a registered checkpoint -> a result; a run -> an outcome."""
