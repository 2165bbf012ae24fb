"""Objects, fixtures and scenes of the lite assets, one file each."""
