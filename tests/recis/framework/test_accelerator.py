import torch
from torch.nn.parallel import DistributedDataParallel

from recis.framework import Trainer, TrainingArguments


def test_what_hooks_and_steps_of_recis_ask_is_answered() -> None:
    model = torch.nn.Linear(2, 1)
    accelerator = Trainer(model, TrainingArguments(mixed_precision="bf16")).accelerator
    assert (accelerator.process_index, accelerator.num_processes, accelerator.is_main_process) == (0, 1, True)
    assert accelerator.device.type == "cpu"
    with accelerator.autocast():
        loss = model(torch.ones(1, 2)).sum()
    assert loss.dtype == torch.bfloat16
    accelerator.backward(loss)
    assert model.weight.grad is not None
    assert accelerator.unwrap_model(model) is model
    wrapped = object.__new__(DistributedDataParallel)
    torch.nn.Module.__init__(wrapped)
    wrapped.module = model
    assert accelerator.unwrap_model(wrapped) is model
