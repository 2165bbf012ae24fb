"""Operators beside steering: one file each."""
