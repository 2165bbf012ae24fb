"""What the model is made of: layers, towers, action head, and how their weights lie."""
