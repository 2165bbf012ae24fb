"""From samples to a trained detector, its cards and its pictures: the registry and the study."""
