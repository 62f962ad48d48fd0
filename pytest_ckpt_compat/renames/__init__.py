"""Which layer became which: explains missing and unexpected keys."""
