"""Obstacles that a scene of LIBERO is cluttered with."""
