"""Published checkpoints into ours."""
