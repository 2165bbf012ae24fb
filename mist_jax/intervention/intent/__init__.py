"""What a steered policy should do otherwise: a wanted change of its action, one file each."""
