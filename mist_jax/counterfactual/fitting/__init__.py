"""From what became of branches to what a policy should want: action value and normal."""
