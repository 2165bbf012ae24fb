"""The risk head and the baselines: one perceptron on different inputs, fitted many at once."""
