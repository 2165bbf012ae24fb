"""From scores to probabilities, and from probabilities to alarms with a stated rate."""
