"""Looking inside: patching, attribution, attention, the lens, two policies beside each other."""
