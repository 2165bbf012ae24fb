"""LIBERO's files: package, assets, suites, initial states, problem objects."""
