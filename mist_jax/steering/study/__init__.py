"""From samples and pictures to banks of directions: every method there is, and the report."""
