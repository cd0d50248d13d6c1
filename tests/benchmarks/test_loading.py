"""Names of models, under which results are kept."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

from benchmarks.loading import digest, encoder_digest
from world_model.model import WorldModel


def test_a_model_that_samples_otherwise_is_another(tiny_model: WorldModel) -> None:
    name = digest(tiny_model)
    assert digest(deepcopy(tiny_model)) == name
    other = deepcopy(tiny_model)
    other.config = replace(other.config, sampling=replace(other.config.sampling, temperature=1.5))
    trained = deepcopy(tiny_model)
    next(trained.parameters()).data += 1
    assert len({name, digest(other), digest(trained)}) == 3


def test_what_only_needs_latents_keeps_its_name_while_the_rest_changes(tiny_model: WorldModel) -> None:
    other, encoder = deepcopy(tiny_model), deepcopy(tiny_model)
    next(other.network.parameters()).data += 1
    other.config = replace(other.config, sampling=replace(other.config.sampling, temperature=1.5))
    next(encoder.autoencoder.parameters()).data += 1
    assert encoder_digest(other) == encoder_digest(tiny_model) != encoder_digest(encoder)
