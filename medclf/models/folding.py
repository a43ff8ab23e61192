"""Convolution and BatchNorm made one, for a network that only looks."""

import copy
import logging

from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from medclf.models.network import Network

log = logging.getLogger(__name__)


def folded(network: Network) -> Network:
    """A copy in evaluation mode whose backbone has each BatchNorm folded into the convolution before it.

    It gives the same features but for rounding, faster. A backbone whose forward depends on its input's values cannot
    be followed, and is copied as it is.
    """
    twin = copy.deepcopy(network).eval()
    try:
        twin.backbone = fuse(twin.backbone)
    except (TraceError, NotImplementedError, TypeError, RuntimeError) as error:
        log.debug("The backbone is not folded: %s", error)
    return twin
