"""One noun of the lite assets per file; each has `files()`: relative path -> content."""
