"""Pushes that change the action by what is wanted: made from the action's Jacobian, measured."""
