"""Running a protocol from its settings: the benchmarks `rt1_ar`, `csgo` and the others are this with other defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.loading import load_model
from benchmarks.perceptual.weights import weights_folder
from benchmarks.protocols.clips import FilmTask, choose_films
from benchmarks.protocols.imagine import Manner
from benchmarks.protocols.outcome import report_run
from benchmarks.protocols.recordings import open_recordings
from benchmarks.protocols.run import Run, run_films
from benchmarks.protocols.run_folder import RunFolder
from benchmarks.protocols.settings import ProtocolConfig, settled
from benchmarks.protocols.sharding import Shard, local_device, this_shard, wait_for
from benchmarks.protocols.table import PROTOCOLS, Protocol
from benchmarks.scoring import Scorer, check_metrics
from benchmarks.summary import Uncertainty
from world_model.data.evaluation_clips import stored_starts
from world_model.data.opening import detect_format

_LOOKS = {
    "rt1": "train_eps_*.npz",
    "csgo": "*.hdf5",
    "recon": "folders of pictures with traj_data.pkl",
    "images": "pictures",
}


def evaluate(name: str, config: ProtocolConfig) -> dict[str, Any]:
    """Run a protocol and, in the first process, write its report.

    Returns:
        The measures, flat; nothing in the other processes.

    Raises:
        ValueError: unusable settings, dataset, checkpoint or run folder; says what is wrong.
        FileNotFoundError: no such checkpoint, or weights of measures are missing.
    """
    given, (protocol, config) = config, settled(PROTOCOLS[name], config)
    shard = this_shard()
    compared = protocol.actions == "recorded"
    metrics = config.metrics or protocol.metrics
    weights = weights_folder(config.metric_weights)
    if compared:  # what can be wrong is looked at before anything long begins
        check_metrics(metrics, protocol.lpips_net, weights)
    _check_dataset(config.dataset, protocol)
    device = local_device(config.device)
    model = load_model(config.checkpoint, device, config.dtype)
    model.set_window(config.window or protocol.window)
    dataset = open_recordings(config.dataset, protocol, model.config, config.checkpoint, config.validation_list)
    part = None if config.split == "all" else config.split
    starts = stored_starts(config.starts) if config.starts else None
    tasks = choose_films(protocol, dataset, part, config.num_clips, starts)
    folder = RunFolder(config.out, protocol.layout, _identity(config, protocol, metrics if compared else (), tasks))
    sampling = model.with_sampling(num_sampling_steps=config.num_sampling_steps, guidance_scale=config.guidance_scale)
    run = Run(
        protocol=protocol,
        model=model,
        dataset=dataset,
        folder=folder,
        manner=Manner(protocol.context_frames, protocol.sampler, sampling, config.seed),
        view=protocol.view(model.config.frame_size),
        scorer=Scorer(metrics, protocol.lpips_net, weights, device) if compared else None,
        measured_on=config.metrics_on,
        random_actions=config.random_actions,
    )
    run_films(run, shard.own(tasks), config.batch_size, progress=shard.rank == 0)
    if shard.rank:
        return {}
    _wait(folder, tasks, shard, config)
    uncertainty = Uncertainty(config.seed, config.frechet_resamples)
    return report_run(run, tasks, given, uncertainty)


def _check_dataset(path: str, protocol: Protocol) -> None:
    """Say what is expected where there is nothing, before the checkpoint is read."""
    if not Path(path).is_dir():
        raise ValueError(
            f"dataset: {protocol.name} expects a folder with {_LOOKS[protocol.dataset]}, there is none at {path!r}; "
            "get the recordings and name their folder with dataset="
        )
    if protocol.dataset != "images":
        detect_format(Path(path))


def _identity(
    config: ProtocolConfig, protocol: Protocol, metrics: tuple[str, ...], tasks: Sequence[FilmTask]
) -> dict[str, Any]:
    """What two runs must have in common to share a folder."""
    keys = (
        "checkpoint",
        "dataset",
        "num_sampling_steps",
        "guidance_scale",
        "metrics_on",
        "random_actions",
        "seed",
        "dtype",
    )
    own = {key: getattr(config, key) for key in keys}
    films = [[task.name, task.place.start] for task in tasks]
    window = config.window or protocol.window
    return {
        "protocol": protocol.name,
        "actions": protocol.actions,
        "window": window,
        "metrics": list(metrics),
        **own,
    } | {"films": films}


def _wait(folder: RunFolder, tasks: Sequence[FilmTask], shard: Shard, config: ProtocolConfig) -> None:
    def unfinished() -> list[str]:
        return [task.name for task in tasks if not folder.is_finished(task.name)]

    if shard.world > 1 and unfinished():
        print(f"waiting for {len(unfinished())} films of {shard.world - 1} other processes", flush=True)
    wait_for(unfinished, config.patience_minutes * 60)
