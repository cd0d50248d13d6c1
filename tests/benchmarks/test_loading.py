"""Names of models, under which results are kept."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.loading import digest
from world_model.model import WorldModel


def test_a_model_that_samples_otherwise_is_another(tiny_model: WorldModel) -> None:
    name, config = digest(tiny_model), tiny_model.config
    assert digest(tiny_model) == name
    try:
        tiny_model.config = replace(config, sampling=replace(config.sampling, temperature=1.5))
        assert digest(tiny_model) != name
    finally:
        tiny_model.config = config
    parameter = next(tiny_model.parameters())
    parameter.data += 1
    assert digest(tiny_model) != name
    parameter.data -= 1
