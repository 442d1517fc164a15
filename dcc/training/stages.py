"""The sequence of the stages: prune, retrain, share; checkpoints between epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dcc.training.checkpoints import read_checkpoint, write_checkpoint
from dcc.training.epoch_report import EpochReport, OnEpoch
from dcc.training.loop import Learning, StageRun
from dcc.training.settings import STAGES, StageName


def run_stages(
    learning: Learning,
    identity: dict[str, Any],
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: OnEpoch | None = None,
) -> list[EpochReport]:
    """Run every stage that has epochs; the model is changed in place.

    Parameters
    ----------
    identity
        What must be equal for a checkpoint to be taken up again: model, recipe, data, seed.
    checkpoint
        Written after each epoch, so that an interruption loses one epoch at most.
    resume
        Go on from ``checkpoint``; the result is the one that the uninterrupted training has.

    Raises
    ------
    InputError
        The checkpoint is missing, damaged or of another training.
    """
    saved = read_checkpoint(checkpoint, identity) if resume and checkpoint is not None else None
    reports = [EpochReport(**report) for report in saved["reports"]] if saved else []
    first_epoch = 0
    for stage in STAGES:
        epochs = learning.settings.epochs_of(stage)
        if epochs and (saved is None or STAGES.index(stage) >= STAGES.index(saved["stage"])):
            restored = saved if saved is not None and saved["stage"] == stage else None
            saved = None if restored is not None else saved
            run = _begin(stage, learning, first_epoch, restored)
            while run.epoch < run.epochs:
                reports.append(run.run_epoch())
                if on_epoch is not None:
                    on_epoch(reports[-1])
                if checkpoint is not None:
                    write_checkpoint(checkpoint, identity, run, reports)
            _end(run)
        first_epoch += epochs
    return reports


def _begin(
    stage: StageName, learning: Learning, first_epoch: int, saved: dict[str, Any] | None
) -> StageRun:
    model = learning.model
    if saved is not None:
        model.load(saved["model"])
    elif stage == "share":
        for weight in model.weights.values():
            weight.settle()
            weight.share(learning.seed)
    run = StageRun(stage, learning, first_epoch)
    if saved is not None:
        run.load(saved["run"])
    return run


def _end(run: StageRun) -> None:
    run.keep_best()
    for weight in run.learning.model.weights.values():
        if run.stage == "prune":
            weight.settle()
            weight.splicing = False
