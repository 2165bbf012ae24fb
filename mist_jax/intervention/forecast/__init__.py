"""The risk head, as the compiled forward evaluates it."""
