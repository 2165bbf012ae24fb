"""Directions from the weights alone: what they write, and what the action head makes of it."""
