"""Measurements of world models, each run as ``python -m benchmarks.NAME key=value ...``."""
