"""Runs a module on its data with logs, checkpoints and resume."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from world_model.allocator import keep_freed_memory
from world_model.precision import inference_dtype
from world_model.trainer.settings import RunConfig
from world_model.trainer.stepping import CHECKPOINT, SteppedModule
from world_model.trainer.throughput import Throughput


def fit(
    module: SteppedModule, data: L.LightningDataModule, run: RunConfig, callbacks: Sequence[Callback] = ()
) -> L.Trainer:
    """Train until a limit of `run` is reached, going on from the folder's checkpoint if there is one.

    Raises:
        ValueError: if the checkpoint cannot be read, there is one and `run.resume` is "never", or this machine does not
            have the devices.
    """
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = _checkpoint_to_resume(folder / CHECKPOINT, run)
    if run.num_threads:
        torch.set_num_threads(run.num_threads)
    try:
        trainer = _trainer(module, run, [*callbacks, *_own_callbacks(folder, run)])
    except MisconfigurationException as error:
        raise ValueError(f"run.accelerator, devices, strategy, precision: not possible here: {error}") from error
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=False)
    return trainer


def _trainer(module: SteppedModule, run: RunConfig, callbacks: Sequence[Callback]) -> L.Trainer:
    folder = Path(run.folder)
    return L.Trainer(
        accelerator=run.accelerator,
        devices=run.devices,
        strategy=_strategy(run),
        precision=_precision(run),
        max_steps=run.max_steps or -1,
        max_epochs=-1,
        # The learning rate follows the clock too, so the module ends the run itself; see SteppedModule.
        accumulate_grad_batches=run.accumulate,
        val_check_interval=run.validate_every * run.accumulate,  # Lightning counts batches here
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
        callbacks=list(callbacks),
    )


def _precision(run: RunConfig) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    if run.precision != "auto":
        return run.precision
    accelerated = torch.cuda.is_available() or torch.backends.mps.is_available()
    on_cpu = run.accelerator == "cpu" or (run.accelerator == "auto" and not accelerated)
    return "32-true" if on_cpu and inference_dtype("bfloat16") is torch.float32 else "bf16-mixed"


def _strategy(run: RunConfig) -> str | Strategy:
    if not run.sharded:
        return run.strategy
    # Of the parallelism that the class offers, only the data's is used: every device has other clips.
    return ModelParallelStrategy(run.devices, tensor_parallel_size=1, save_distributed_checkpoint=False)


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
        Throughput(run.log_every, run.batch_size * run.accumulate),
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
