"""What a query costs: time, memory and arithmetic."""
