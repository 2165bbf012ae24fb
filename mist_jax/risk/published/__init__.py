"""Detectors that others have published, fitted and judged beside the risk head."""
