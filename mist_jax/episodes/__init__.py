"""Episodes: what one is, and the dataset that stores them."""
