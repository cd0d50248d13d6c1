"""Stable-Baselines3 agents trained in an imagined world: the vectorised environment adapter, features and policies."""
