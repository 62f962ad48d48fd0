"""Pairs of key lists of which it is known which key became which.

=================  =====================================================================================
``case``           one such pair and its truth
``corpus``         the file that holds many: compressed, one case a line, divided by family
``collect``        refactors of real libraries, read from a folder
``architectures``  key lists of real models
``draft``, ``edit_*``, ``orders``, ``negatives``, ``generate``  made-up refactors of them
``tables``         renames that transformers itself undoes
=================  =====================================================================================

Nothing in the package reads any of it: it is there to fit the evidence of renames and to judge the result.
"""
