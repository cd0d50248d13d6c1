"""`python -m benchmarks.NAME [--quick] key=value ...`: the settings of `v2w eval benchmark=NAME key=value ...`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from configs.loader import load, yaml_text
from world_model.allocator import keep_freed_memory
from world_model.schema import build

ConfigType = TypeVar("ConfigType")

_USAGE = """usage: python -m benchmarks.{name} [--quick] [key=value ...]

--quick   few samples, under a minute on 2 cores; writes beside, not over, the recorded results.
          With a model of the published size it takes longer: on processors each pass of its network takes seconds

Settings and their defaults (configs/benchmark/{name}.yaml):

{settings}"""


def run(
    name: str,
    config_type: type[ConfigType],
    main: Callable[[ConfigType], Any],
    arguments: Sequence[str] | None = None,
) -> None:
    """Entry of a benchmark module: read the arguments, run, and turn a user's mistake into one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(given):
        print(_USAGE.format(name=name, settings=yaml_text("eval", "benchmark", name)))
        return
    keep_freed_memory()
    try:
        main(parse(name, config_type, given))
    except (ValueError, FileNotFoundError, ModuleNotFoundError, TimeoutError) as error:
        sys.exit(f"benchmarks.{name}: {error}")


def parse(name: str, config_type: type[ConfigType], arguments: Sequence[str]) -> ConfigType:
    """The benchmark's frozen dataclass from `key=value` arguments over `configs/benchmark/NAME.yaml`.

    Raises:
        ValueError: an unknown key (names the nearest) or a value of the wrong type.
    """
    pairs = ["quick=true" if argument == "--quick" else argument for argument in arguments]
    # The prefix keeps the benchmark's keys apart from those of `v2w eval` itself.
    settings = [pair if pair.startswith("benchmark.") else f"benchmark.{pair}" for pair in pairs]
    try:
        merged = load("eval", [f"benchmark={name}", *settings])["benchmark"]
    except ValueError as error:
        raise ValueError(str(error).replace("benchmark.", "")) from error
    return build(config_type, {key: value for key, value in merged.items() if key != "base"})
