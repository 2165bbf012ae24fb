"""Flags that several commands take, declared once."""
