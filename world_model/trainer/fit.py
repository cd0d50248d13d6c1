"""Runs a module on its data with logs, checkpoints and resume."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from world_model.trainer.settings import RunConfig
from world_model.trainer.stepping import CHECKPOINT, SteppedModule
from world_model.trainer.throughput import Throughput


def fit(
    module: SteppedModule, data: L.LightningDataModule, run: RunConfig, callbacks: Sequence[Callback] = ()
) -> L.Trainer:
    """Train until a limit of `run` is reached, going on from the folder's checkpoint if there is one.

    Raises:
        ValueError: if the checkpoint cannot be read, or there is one and `run.resume` is "never".
    """
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = _checkpoint_to_resume(folder / CHECKPOINT, run)
    if run.num_threads:
        torch.set_num_threads(run.num_threads)
    trainer = L.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        strategy=run.strategy,
        precision=run.precision,
        max_steps=run.max_steps or -1,
        max_epochs=-1,
        # The learning rate follows the clock too, so the module ends the run itself; see SteppedModule.
        val_check_interval=run.validate_every,
        check_val_every_n_epoch=None,
        limit_val_batches=run.validation_batches,
        num_sanity_val_steps=0,
        log_every_n_steps=run.log_every,
        gradient_clip_val=module.optimizer_config.gradient_clip or None,
        use_distributed_sampler=False,  # SteppedBatches splits the data among the ranks
        enable_model_summary=False,
        enable_progress_bar=run.progress_bar,
        # A CSV logger empties the folder it is given, so every start of a run gets its own version_N.
        logger=[CSVLogger(folder, name="logs"), TensorBoardLogger(folder, name="tensorboard", version="")],
        plugins=[AtomicCheckpointIO()],
        callbacks=[*callbacks, *_own_callbacks(folder, run)],
    )
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    return trainer


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames.

    Lightning 2.6 writes to the system's temporary folder and moves the file; across file systems that is a copy, and a
    kill during it leaves half a checkpoint under the final name.
    """

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        with temporary.open("wb") as file:
            torch.save(dict(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)


def _own_callbacks(folder: Path, run: RunConfig) -> list[Callback]:
    callbacks: list[Callback] = [
        Throughput(run.log_every, run.batch_size),
        ModelCheckpoint(
            dirpath=folder / CHECKPOINT.parent,
            filename=CHECKPOINT.stem,
            every_n_train_steps=run.checkpoint_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        ),
    ]
    if run.progress_bar:  # in a log file every refresh is a line
        callbacks.append(TQDMProgressBar(refresh_rate=1 if sys.stderr.isatty() else 10 * run.log_every))
    return callbacks


def _checkpoint_to_resume(path: Path, run: RunConfig) -> str | None:
    if not path.exists():
        return None
    if run.resume == "never":
        raise ValueError(
            f"run.folder: {path.parent.parent} already holds a run ({path.name}); choose another folder, delete it, or "
            "use run.resume=auto to go on with it"
        )
    try:
        torch.load(path, map_location="meta", weights_only=True, mmap=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        raise ValueError(f"{path}: not a readable checkpoint ({reason}); delete it to start the run again") from error
    return str(path)
