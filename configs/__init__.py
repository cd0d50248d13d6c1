"""Configuration at the edge: YAML files, and the one loader that merges them with ``key=value`` overrides."""

from configs.loader import commands, groups, load, options, to_yaml, yaml_text

__all__ = ["commands", "groups", "load", "options", "to_yaml", "yaml_text"]
