"""Arguments of RecIS, and of Accelerate to which RecIS forwards arguments, that have no effect here.

Owns their names, what happens instead, and the warning. Must not know the trainer.
"""

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

__all__ = ["FOREIGN", "ForeignArguments", "take_over", "warn_of_foreign"]

_logger = logging.getLogger(__name__)

_SAVING = "checkpoints are written every save_steps steps and at the end, by one process per rank"
_LOADING = "only resume=True and trainer.restore() load anything; load other weights into the model yourself"
_WHOLE = "checkpoints always contain everything"
_WINDOWS = "datasets are read in order, without windows"
_PLACE = "the model trains on the device of its parameters"
_DATA = "a dataset is iterated as it is; data_to_cuda moves its batches"
_RANKS = "under torchrun, DistributedDataParallel averages the dense part"
_RANDOM = "generators are restored from checkpoints; seed them yourself"
_TRACKING = "MonitorHook reports the training"
_PREFETCH = "let the dataset prefetch, as torch.utils.data.DataLoader does"
_COMPILE = "compile the model yourself, with torch.compile"


@dataclass(kw_only=True)
class ForeignArguments:
    """Arguments that are accepted without effect, with what happens instead. None if not given."""

    # --- RecIS's TrainingArguments
    model_bank: Annotated[Any, _LOADING] = None
    save_concurrency_per_rank: Annotated[Any, _SAVING] = None
    save_every_n_windows: Annotated[Any, _WINDOWS] = None
    save_every_n_epochs: Annotated[Any, _SAVING] = None
    save_end: Annotated[Any, _SAVING] = None
    load_update_steps: Annotated[Any, _LOADING] = None
    load_update_windows: Annotated[Any, _LOADING] = None
    load_update_epochs: Annotated[Any, _LOADING] = None
    params_not_save: Annotated[Any, _WHOLE] = None
    save_filter_fn: Annotated[Any, _WHOLE] = None
    saver_option: Annotated[Any, _SAVING] = None
    ckpt_save_arg: Annotated[Any, _SAVING] = None
    ckpt_load_arg: Annotated[Any, _LOADING] = None
    window_iter: Annotated[Any, _WINDOWS] = None
    eval_mos_report_uri: Annotated[Any, _TRACKING] = None
    prefetch: Annotated[Any, _PREFETCH] = None
    # --- RecIS's Trainer
    saver: Annotated[Any, _SAVING] = None
    monitor_report_args: Annotated[Any, _TRACKING] = None
    auto_profiler_args: Annotated[Any, "add a ProfilerHook"] = None
    ddp_broadcast_buffers: Annotated[Any, "buffers are copied from rank 0 once, at the start"] = None
    # --- Accelerate's Accelerator
    device_placement: Annotated[Any, _PLACE] = None
    cpu: Annotated[Any, _PLACE] = None
    split_batches: Annotated[Any, _DATA] = None
    dataloader_config: Annotated[Any, _DATA] = None
    dispatch_batches: Annotated[Any, _DATA] = None
    even_batches: Annotated[Any, _DATA] = None
    use_seedable_sampler: Annotated[Any, _DATA] = None
    rng_types: Annotated[Any, _RANDOM] = None
    log_with: Annotated[Any, _TRACKING] = None
    project_dir: Annotated[Any, "checkpoints are in output_dir"] = None
    project_config: Annotated[Any, "checkpoints are in output_dir"] = None
    logging_dir: Annotated[Any, _TRACKING] = None
    deepspeed_plugin: Annotated[Any, _RANKS] = None
    deepspeed_plugins: Annotated[Any, _RANKS] = None
    fsdp_plugin: Annotated[Any, _RANKS] = None
    megatron_lm_plugin: Annotated[Any, _RANKS] = None
    torch_tp_plugin: Annotated[Any, _RANKS] = None
    parallelism_config: Annotated[Any, _RANKS] = None
    kwargs_handlers: Annotated[Any, _RANKS] = None
    gradient_accumulation_plugin: Annotated[Any, "gradient_accumulation_steps determines the steps of an update"] = None
    step_scheduler_with_optimizer: Annotated[Any, "the scheduler steps after each update"] = None
    dynamo_backend: Annotated[Any, _COMPILE] = None
    dynamo_plugin: Annotated[Any, _COMPILE] = None


FOREIGN: Mapping[str, str] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(ForeignArguments, include_extras=True).items()
}
"""What happens instead, for each argument."""
_OF_ARGUMENTS = ("mixed_precision", "gradient_accumulation_steps", "resume")
_OF_DDP = {
    "ddp_find_unused_parameters": "find_unused_parameters",
    "ddp_gradient_as_bucket_view": "gradient_as_bucket_view",
    "ddp_bucket_cap_mb": "bucket_cap_mb",
    "ddp_static_graph": "static_graph",
}


def warn_of_foreign(where: str, given: Mapping[str, Any]) -> None:
    """Log one warning that lists the given arguments and what happens instead; None means not given."""
    told = [f"{name} ({FOREIGN[name]})" for name, value in given.items() if value is not None]
    if told:
        names = ", ".join(told)
        _logger.warning("%s: accepted from RecIS and Accelerate, but not used here: %s", where, names)


def take_over(args: Any, others: Mapping[str, Any]) -> dict[str, Any]:
    """Apply the remaining arguments of a trainer: set those of `args`, and return those of `DistributedDataParallel`.

    Raises:
        TypeError: an unknown name.
    """
    known = [*_OF_ARGUMENTS, *_OF_DDP, *FOREIGN]
    for name in others:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(
                f"Trainer: expected an argument of this class, of RecIS or of Accelerate, got {name!r}{hint}"
            )
    warn_of_foreign("Trainer", {name: value for name, value in others.items() if name in FOREIGN})
    for name in _OF_ARGUMENTS:
        if name in others:
            setattr(args, name, others[name])
    if args.mixed_precision in ("fp16", "fp8"):
        _logger.warning(
            "mixed_precision: the model runs in bf16, not in %s, which needs a scaled loss", args.mixed_precision
        )
    return {theirs: others[name] for name, theirs in _OF_DDP.items() if name in others}
