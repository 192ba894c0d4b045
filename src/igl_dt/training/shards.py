"""How processes train together and give the bits of one.

A step's batch is cut into a fixed number of shards. A shard is what one forward sees: batch norm, CutMix partners, loss
denominators and random numbers are its own, whichever process computes it. Gradients, changes of buffers (the running
statistics of batch norm) and losses of a step are the means over its shards, summed in the order of the shards; the
idea is EasyScale's (Li et al., SC 2023). So the result depends on the number of shards, and on no number of processes.

Not DistributedDataParallel: it adds up gradients in the order of an all-reduce, which differs with the number of
processes, and joins neither buffers nor several shards of a process.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.methods.base import Method
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.processes import Group


class OrderedSum:
    """A sum of vectors, one of each process per round: by rounds, and by ranks within a round.

    Each process sums one piece of all vectors, so that together they send and receive as much as in an all-reduce.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._piece: Tensor | None = None
        self._length = 0

    def add(self, vector: Tensor) -> None:
        """Add a round; the vectors of all processes have one length."""
        self._length = len(vector)
        if self._group.size > 1:
            sent = F.pad(vector, (0, -len(vector) % self._group.size))
            vector = torch.empty_like(sent)
            distributed.all_to_all_single(vector, sent)
        for piece in vector.chunk(self._group.size):
            self._piece = piece.clone() if self._piece is None else self._piece.add_(piece)

    def take(self) -> Tensor:
        """Give the sum to each process, and start again from nothing."""
        assert self._piece is not None
        whole, self._piece = self._piece, None
        if self._group.size > 1:
            pieces, whole = whole, whole.new_empty(len(whole) * self._group.size)
            distributed.all_gather_into_tensor(whole, pieces)
        return whole[: self._length]


class PlainSum:
    """The same by an all-reduce, in whatever order that adds."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, vector: Tensor) -> None:
        """Add the only round."""
        distributed.all_reduce(vector)
        self._sum = vector

    def take(self) -> Tensor:
        """Give the sum."""
        assert self._sum is not None
        whole, self._sum = self._sum, None
        return whole


class Shards:
    """Cuts a step's batch into shards, and joins what they give.

    With one shard, batches are cut into ``parts`` for gradient accumulation, and nothing is joined: gradients add up
    where they are, and batch norms see one part after the other.

    Args:
        method: in place on its device; its optimised modules get gradients.
        runtime: shards and reduction.
        group: of processes, whose number divides that of the shards.
        parts: that a batch is cut into where there is but one shard.
    """

    def __init__(self, method: Method, runtime: RuntimeParameters, group: Group, parts: int) -> None:
        fast = runtime.reduction == "fast" and group.size > 1
        self.count = runtime.shards_per_step
        self._group, self._parts = group, parts if self.count == 1 else self.count // group.size
        self._sum = PlainSum() if fast else OrderedSum(group)
        self._parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
        changing = method.own_state()  # other buffers are constants
        buffers = [buffer for name, buffer in method.named_buffers() if name in changing]
        self._buffers = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._counters = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._losses: list[Mapping[str, Tensor]] = []
        if fast and self._parameters[0].is_cuda:
            from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

            for network in method.children():
                convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def slots(self, batch_size: int) -> list[int]:
        """Give the places in the batch of which this process computes the shards, shard by shard."""
        size = batch_size // self.count
        return [
            slot for shard in self._group.share(range(self.count)) for slot in range(shard * size, (shard + 1) * size)
        ]

    def cut(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """Give this process's parts of the batch, each with its number in the whole step."""
        if self.count > 1:
            self._before, counters = self._flat(self._buffers), [counter.clone() for counter in self._counters]
        for index, part in enumerate(batch.parts(self._parts)):
            if index and self.count > 1:
                _fill(self._buffers, self._before)
                for counter, value in zip(self._counters, counters, strict=True):
                    counter.copy_(value)  # every shard leaves the same
            yield index * self._group.size + self._group.rank, part

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Compute the gradients of a part, and keep them with the rest that it gives."""
        total = torch.stack(list(losses.values())).sum()
        self._losses.append(losses)
        if self.count == 1:
            (total / self._parts).backward()
            return
        total.backward()
        after = self._flat(self._buffers)
        change = torch.where(after == self._before, 0, after - self._before)  # also where constants are infinite
        values = torch.stack([loss.detach() for loss in losses.values()])
        self._with_gradient = [parameter for parameter in self._parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in self._with_gradient if parameter.grad is not None]
        self._sum.add(self._flat([*gradients, change, values]))
        for parameter in self._with_gradient:
            parameter.grad = None

    def join(self) -> list[Mapping[str, Tensor]]:
        """Leave the step's gradients in place, and its buffers; give the losses, of each part or joined."""
        losses, self._losses = self._losses, []
        if self.count == 1:
            return losses
        mean = self._sum.take() / self.count
        *gradients, change, values = mean.split(
            [*(parameter.numel() for parameter in self._with_gradient), len(self._before), len(losses[-1])]
        )
        for parameter, gradient in zip(self._with_gradient, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)
        _fill(self._buffers, self._before + change)
        return [dict(zip(losses[-1], values.unbind(), strict=True))]

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copy tensors of any shape into one vector, which may be empty."""
        nothing = self._parameters[0].new_zeros(0)
        return torch.cat([nothing, *(tensor.detach().reshape(-1) for tensor in tensors)])


def _fill(tensors: Sequence[Tensor], vector: Tensor) -> None:
    """Copy a vector back into the tensors that it was made of."""
    for tensor, values in zip(tensors, vector.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(values.view_as(tensor))
