"""Risky states forked over small changes of the action: which change would have helped."""
