"""Planners that search in an imagined world: CEM, iCEM, MPPI, random shooting, gradient descent, and the MPC loop."""
