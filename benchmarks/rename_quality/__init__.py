"""How good the explanation of renames is, on cases with known truth."""
