"""Recipes of training runs, as ml_collections configurations."""
