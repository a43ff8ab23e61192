"""Backbones: networks that turn an image into features. Each is built with ``in_channels``."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models import get_model

from medclf.models.activations import build_activation as activation_layer


class SmallCNN(nn.Module):
    """Convolution (3x3), activation and 2x2 max pooling, once for each entry of ``channels``.

    The last pooling is adaptive: it brings any image to ``grid`` x ``grid`` values a channel, so that one network takes
    images of every size. Features: (n, channels[-1] * grid * grid), of which ``map_values`` are of one channel.

    Args:
        in_channels: channels of the image.
        channels: output channels of the convolutions, in order.
        grid: side of the last feature map, in values.
        activation: relu, elu or gelu.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int] = (16, 32, 64), grid: int = 7, activation: str = "relu"
    ) -> None:
        super().__init__()
        self.map_values = grid * grid
        layers: list[nn.Module] = []
        for position, (before, after) in enumerate(zip((in_channels, *channels), channels, strict=False), start=1):
            pool = nn.AdaptiveMaxPool2d(grid) if position == len(channels) else nn.MaxPool2d(2)
            layers += [nn.Conv2d(before, after, 3, padding=1), activation_layer(activation), pool]
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (n, in_channels, height, width) to features (n, features)."""
        features: Tensor = self.layers(images)
        return features


class ResNet(nn.Module):
    """A ResNet of torchvision (He et al., CVPR 2016) up to its global average pooling, without the last layer.

    A grey image enters as three equal channels, as pretrained weights expect it.

    Args:
        in_channels: 1 or 3.
        name: resnet18, resnet50, resnet101 or another ResNet that ``torchvision.models.get_model`` knows.
    """

    def __init__(self, in_channels: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.grey = in_channels == 1
        self.network = get_model(name, weights=None)
        if not isinstance(getattr(self.network, "fc", None), nn.Linear):
            raise ValueError(f"name={name}: is no ResNet; resnet18, resnet50, resnet101 and their kin are")
        self.network.fc = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (n, in_channels, height, width) to features: (n, 512), or (n, 2048) from ResNet-50 on."""
        features: Tensor = self.network(images.expand(-1, 3, -1, -1) if self.grey else images)
        return features
