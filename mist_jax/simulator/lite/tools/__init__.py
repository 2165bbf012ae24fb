"""Meshes, MJCF text and painted textures, as the parts need them."""
