"""Which sampled scenes are good ones: the expert tries them."""
