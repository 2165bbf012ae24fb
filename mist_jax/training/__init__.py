"""Behaviour cloning and DAgger of policies of this architecture."""
