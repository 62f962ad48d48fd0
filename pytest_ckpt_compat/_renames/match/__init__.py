"""Which unit of one side goes with which of the other."""
