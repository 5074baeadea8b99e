"""One training run in several processes, started by ``torchrun``; alone, all of this is trivial."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn

from lddu_model.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Rank on this machine: the index of its GPU."""

    @property
    def first(self) -> bool:
        """Whether this process scores, writes and talks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """Samples of this process in a batch."""
        if batch % self.size:
            raise ConfigError(
                f"optim.batch {batch} cannot be divided among {self.size} processes",
                "choose a multiple",
            )
        return batch // self.size

    def wrap(self, net: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes."""
        if self.size == 1:
            return net
        on_gpu = next(net.parameters()).is_cuda
        # A batch without a missing modality leaves that modality's token without a gradient.
        return nn.parallel.DistributedDataParallel(
            net, device_ids=[self.local] if on_gpu else None, find_unused_parameters=True
        )

    def agree(self, value: float) -> float:
        """The value of the first process, in all of them."""
        if self.size == 1:
            return value
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        shared = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.broadcast(shared, src=0)
        return float(shared.item())


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; without it, a run alone. `device` is cpu or cuda.

    torchrun says by environment variables who is who.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    ranks = Ranks(int(os.environ["RANK"]), size, int(os.environ["LOCAL_RANK"]))
    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
