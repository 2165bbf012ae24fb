"""Pushes learned by gradient: what common push moves the action as wanted in many states."""
