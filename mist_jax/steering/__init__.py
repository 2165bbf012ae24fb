"""Edits of the residual stream, as arrays."""
