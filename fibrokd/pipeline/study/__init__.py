"""Command ``study``: what is compared, how a cell is trained, and what stays of it."""
