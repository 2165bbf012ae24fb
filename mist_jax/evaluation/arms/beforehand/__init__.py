"""What is drawn for an episode, or known of it, before it runs."""
