"""Convolution and BatchNorm made one, for a network that only looks."""

import copy
import logging

from torch import nn
from torch.fx.experimental.optimization import fuse

from medclf.models.fusing import fuse_convolutions
from medclf.models.network import Network

log = logging.getLogger(__name__)


def folded(network: Network) -> Network:
    """A copy in evaluation mode whose backbone has each BatchNorm folded into the convolution before it.

    On a CPU a convolution takes with it the sum and the ReLU that follow (``medclf.models.fusing``). It gives the same
    features but for rounding, faster. A backbone whose forward cannot be followed, for it depends on its input's
    values, is copied as it is, which the log says.
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
