"""What a detector must beat: forecasts that need no look inside the model."""
