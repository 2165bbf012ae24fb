"""The arms of an evaluation: one row per way to treat an episode, and what a run builds of them."""
