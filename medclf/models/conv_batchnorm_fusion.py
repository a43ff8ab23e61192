"""A convolution and what follows it in one call of oneDNN, where a CPU only looks: the maps are written once."""

import copy
import logging
import operator
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.experimental.optimization import fuse
from torch.nn import functional

from medclf.models.network import Network

ADDS = (operator.add, operator.iadd, torch.add)
RELUS = (functional.relu, torch.relu)
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "setitem")


class FusedConvolution(nn.Module):
    """A convolution, the sum with other maps if there are such, and ReLU.

    Where gradients are wanted, on another device, or without oneDNN, they are done one after the other.

    Args:
        convolution: of two dimensions, in evaluation mode for good.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self._kept: dict[torch.dtype, tuple[Tensor, Tensor | None]] = {}

    def forward(self, images: Tensor, other: Tensor | None = None) -> Tensor:
        """Convolve maps (n, channels, height, width); ``other`` is added."""
        autocast = torch.is_autocast_enabled("cpu")
        kind = torch.get_autocast_dtype("cpu") if autocast else images.dtype
        possible = images.device.type == "cpu" and not torch.is_grad_enabled() and kind in _kinds()
        if not possible or (other is not None and other.shape != self._shape(images)):
            maps = self.convolution(images)
            return functional.relu(maps if other is None else maps + other)
        weight, bias = self._weights(kind, images.shape)
        form = self._form
        call = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return torch.as_tensor(call(images.to(kind), weight, bias, *form, "relu", [], ""))
        return torch.as_tensor(
            call.binary(images.to(kind), other.to(kind), weight, bias, *form, "add", None, "relu", [], None)
        )

    @property
    def _form(self) -> tuple[Any, ...]:
        """As oneDNN takes it."""
        own = self.convolution
        return own.padding, own.stride, own.dilation, own.groups

    def _shape(self, images: Tensor) -> tuple[int, ...]:
        """Of the maps that the convolution makes."""
        own = self.convolution
        assert not isinstance(own.padding, str)
        sides = zip(images.shape[2:], own.padding, own.dilation, own.kernel_size, own.stride, strict=True)
        lengths = [(length + 2 * pad - d * (k - 1) - 1) // step + 1 for length, pad, d, k, step in sides]
        return (images.shape[0], own.out_channels, *lengths)

    def _weights(self, kind: torch.dtype, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
        """In the order in which oneDNN reads them for maps of this shape, which other shapes may have put in another
        order at each call."""
        if kind not in self._kept:
            own = self.convolution
            bias = None if own.bias is None else own.bias.to(kind)
            weight = own.weight.to(kind).contiguous(memory_format=torch.channels_last)
            order = torch.ops.mkldnn._reorder_convolution_weight
            self._kept[kind] = order(weight, *self._form, list(shape)), bias
        return self._kept[kind]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FusedConvolution":
        self._kept.clear()  # they go with the weights to another device or kind
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}}  # what oneDNN has put in its order can be copied by oneDNN alone


def fuse_convolutions(traced: Any) -> None:
    """Put a ``FusedConvolution`` in the place of each convolution with a ReLU after it, or a sum and a ReLU.

    Args:
        traced: a GraphModule, which is changed.
    """
    modules = dict(traced.named_modules())
    for relu in list(traced.graph.nodes):
        inner = relu.args[0] if _is_relu(relu, modules) else None
        if not isinstance(inner, Node) or len(inner.users) > 1:
            continue
        found = (inner, None) if _is_convolution(inner, modules) else _summed(inner, modules)
        if found is None:
            continue
        convolution, other = found
        if any(_writes_over(node, modules) for node in _between(convolution, relu)):
            continue  # the convolution comes later now, and might see what is not its input any more
        name = str(convolution.target).replace(".", "_") + "_fused"
        fused_module = FusedConvolution(modules[str(convolution.target)])
        traced.add_submodule(name, fused_module.eval())
        with traced.graph.inserting_before(relu):
            images = convolution.args[0]
            fused = traced.graph.call_module(name, (images,) if other is None else (images, other))
        relu.replace_all_uses_with(fused)
        for node in (relu, inner, convolution):
            if not node.users and node in traced.graph.nodes:
                traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()


def _between(first: Node, last: Node) -> Iterator[Node]:
    node = first.next
    while node is not last:
        yield node
        node = node.next


def _writes_over(node: Node, modules: dict[str, nn.Module]) -> bool:
    """Whether it may change its input in place."""
    if node.op == "call_module":
        return bool(getattr(modules.get(str(node.target)), "inplace", False))
    name = str(getattr(node.target, "__name__", node.target))
    return bool(node.kwargs.get("inplace")) or name.endswith("_") or (name in IN_PLACE and node.op == "call_function")


def _summed(node: Node, modules: dict[str, nn.Module]) -> tuple[Node, Node] | None:
    """Of a sum the convolution in it and the other maps; of two convolutions the one that is named first."""
    if node.op != "call_function" or node.target not in ADDS or len(node.args) != 2 or node.kwargs:
        return None
    for own, other in (node.args, reversed(node.args)):
        if isinstance(own, Node) and isinstance(other, Node) and _is_convolution(own, modules):
            return own, other
    return None


def _is_convolution(node: Node, modules: dict[str, nn.Module]) -> bool:
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    plain = isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and len(node.users) == 1 and len(node.args) == 1


def _is_relu(node: Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules.get(str(node.target)), nn.ReLU)
    return node.op == "call_function" and node.target in RELUS


@cache
def _kinds() -> tuple[torch.dtype, ...]:
    """The types in which oneDNN fuses on this processor; older ones cannot in bfloat16, and raise."""
    if not _is_there():
        return ()
    bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)()
    return (torch.float32, torch.bfloat16) if bfloat16 else (torch.float32,)


def _is_there() -> bool:
    own = torch.ops.mkldnn  # no public name has them
    fused: Any = getattr(own, "_convolution_pointwise", None)
    there = hasattr(fused, "binary") and hasattr(own, "_reorder_convolution_weight")
    return bool(torch.backends.mkldnn.is_available()) and there  # type: ignore[no-untyped-call]


log = logging.getLogger(__name__)


def fold_batchnorm(network: Network) -> Network:
    """Return a copy in evaluation mode with each BatchNorm folded into the convolution before it.

    On a CPU, convolution, residual addition and ReLU are fused too, by ``fuse_convolutions``. The features are
    the same but for rounding, and faster to compute. A backbone whose forward pass depends on the values of its input
    cannot be traced: it is copied as it is, and the log says so.
    """
    twin = copy.deepcopy(network).eval()
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in twin.backbone.modules()):
        try:
            traced = fuse(twin.backbone)
            fuse_convolutions(traced)
            twin.backbone = traced
        except Exception as error:  # whatever a user's forward does with what torch.fx gives it
            log.info("BatchNorm stays apart from the convolutions, which is slower: torch.fx says: %s", error)
    return twin
