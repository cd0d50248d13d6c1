"""The report of what published models cost at their true size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.report import Table, Target, number, target_table
from benchmarks.step_cost import DECODER, ENCODER, IMAGE_TOWER, NETWORK, PROJECTOR, TEXT_TOWER, StepCost

PEAK_RATIO = 1.3
"""Most memory while loading, in multiples of what the weights take; the target of a load that copies nothing whole."""

_LARGE = 1e9  # bytes of weights; the memory of smaller ones is mostly that of libraries
_LABELS = {
    NETWORK: "U-Net",
    ENCODER: "autoencoder, encoder",
    DECODER: "autoencoder, decoder",
    IMAGE_TOWER: "CLIP image tower",
    PROJECTOR: "image projector",
    TEXT_TOWER: "CLIP text tower",
}


def tables(costs: Mapping[str, StepCost], measures: Mapping[str, Any], steps: int) -> list[Table]:
    """Targets, memory and times; a column for each temporal norm."""
    norms = list(costs)
    full_size = all(cost.kept_bytes > _LARGE for cost in costs.values())
    targets = [
        Target(f"{key}_{norm}", "at_most", value, f"{label}, {norm}")
        for norm in norms
        for key, value, label in (
            *[("peak_ratio_load", PEAK_RATIO, "most memory while loading, in multiples of the weights'")] * full_size,
            ("image_tower_calls", 0.0, "runs of the CLIP image tower in a step"),
            ("text_tower_calls", 0.0, "runs of the CLIP text tower in a step"),
            ("reset_text_tower_calls", 0.0, "runs of the CLIP text tower in a reset"),
        )
    ]
    memory = [
        [label, *(number(measures[f"{key}_{norm}"]) for norm in norms)]
        for key, label in (
            ("weights_gb", "weights"),
            ("peak_gb_load", "most, until loaded"),
            ("peak_ratio_load", "in multiples of the weights"),
            ("peak_gb", "most, reset and step included"),
            ("peak_ratio", "in multiples of the weights"),
        )
    ]
    return [
        target_table(measures, targets),
        Table("Memory, GB", ["", *norms], memory),
        Table("Seconds (of the processor)", ["", *norms], _time_rows(costs, steps)),
    ]


def _time_rows(costs: Mapping[str, StepCost], steps: int) -> list[list[str]]:
    """Phases, and below each the parts that ran in it."""
    rows = []
    for phase, label in (("load", "load"), ("reset", "reset"), ("step", "step")):
        times = steps if phase == "step" else 1
        found = [getattr(cost, phase) for cost in costs.values()]
        rows.append([f"**{label}**", *(f"{one.seconds / times:.1f} ({one.cpu_seconds / times:.1f})" for one in found)])
        for name, part_label in _LABELS.items():
            parts = [one.parts[name] for one in found]
            if any(part.calls for part in parts):
                cells = [f"{p.seconds / times:.1f} ({p.cpu_seconds / times:.1f}), {p.calls / times:g} x" for p in parts]
                rows.append([part_label, *cells])
    return rows
