"""Measures made of the features of published networks: LPIPS, FID, FVD and DreamSim. None of them needs torchvision.

The networks' weights are not part of this package; `weights` says which files they are and where they come from.
"""
