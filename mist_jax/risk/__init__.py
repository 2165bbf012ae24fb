"""Which action dimension is about to cause a harmful contact, read from activations."""
