"""A scripted expert that does the tasks, and what it would do next."""
