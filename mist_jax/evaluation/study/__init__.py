"""A study that can decide: how many episodes it takes, what it is to show, and whether it did."""
