"""Arms, statistics and the report."""
