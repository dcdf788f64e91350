"""Products of bfloat16 tensors in float32, rounded once: what the units of newer processors give (AVX-512, AMX).

Older ones have plain loops for them, tens to hundreds of times slower than float32: too slow for full-size models.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "linear", "matmul", "conv2d", "convolution", "convolution_backward"}


class Float32Products(TorchDispatchMode):
    """All else stays as it is: dtypes, memory between the operations, sums, normalisations."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ not in PRODUCTS or args[0].dtype is not torch.bfloat16:
            return func(*args, **kwargs)
        wide = tree_map_only(torch.Tensor, torch.Tensor.float, (args, kwargs))
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, func(*wide[0], **wide[1]))
