"""Conceptors: soft projections onto the states that were safe, as a rival of directions."""
