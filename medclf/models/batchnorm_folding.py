"""Convolution and BatchNorm made one, for a network that only looks."""

import copy
import logging

from torch import nn
from torch.fx.experimental.optimization import fuse

from medclf.models.conv_fusion import fuse_convolutions
from medclf.models.network import Network

log = logging.getLogger(__name__)


def folded(network: Network) -> Network:
    """A copy in evaluation mode whose backbone has each BatchNorm folded into the convolution before it.

    On a CPU, convolution, residual addition and ReLU are fused too (``medclf.models.conv_fusion``). The features are
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
