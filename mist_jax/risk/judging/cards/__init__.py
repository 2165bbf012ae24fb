"""What judging comes to: scorecards, their sentences and tables."""
