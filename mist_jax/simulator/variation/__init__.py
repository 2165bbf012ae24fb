"""Scenes of a suite made harder along LIBERO-plus's axes: camera, robot, noise, words, layout."""
