"""Where the episodes of a run go, one by one as they end."""
