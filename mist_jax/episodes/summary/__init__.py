"""What a dataset contains, at a glance."""
