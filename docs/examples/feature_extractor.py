"""A backbone as a feature extractor, with a head of your own on it, trained in plain PyTorch.

    python docs/examples/feature_extractor.py

It prints:

    yolov4-tiny has 38 layers
    layer 8: (4, 128, 32, 32)
    layer 16: (4, 256, 16, 16)
    layer 26: (4, 512, 4, 4)
    backbone.weights has 27 layers and yields (4, 512, 4, 4)
    trained: 1026 parameters of the head, 0 of the backbone
    accuracy on images that it has not seen: 1.00

The values of the backbone are random here, so that nothing is fetched; in earnest it begins with
`dt.load("yolov4-tiny")`. The head learns whether stripes lie or stand.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import darknet_torch as dt

SIZE = 128
"""Height and width of the images in pixels, in place of the 416 of the cfg."""


class StripeClassifier(nn.Module):
    """A frozen backbone, the mean of each of its channels, and a linear layer."""

    def __init__(self, backbone: dt.Network, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.norm = nn.LayerNorm(channels, elementwise_affine=False)
        self.head = nn.Linear(channels, classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (B, channels) of images (B, 3, H, W) in 0..1."""
        maps: Tensor = self.backbone(images)
        features: Tensor = self.norm(maps.mean(dim=(2, 3)))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def stripes(count: int) -> tuple[Tensor, Tensor]:
    """Return images (count, 3, SIZE, SIZE) of stripes, and whether each has standing ones."""
    labels = torch.arange(count) % 2
    position = torch.arange(SIZE).repeat(count, SIZE, 1)  # (count, SIZE, SIZE), standing
    period, shift = torch.randint(6, 16, (count, 1, 1)), torch.randint(0, 16, (count, 1, 1))
    standing = ((position + shift) % period < period / 2).float()
    lying = standing.transpose(1, 2)
    images = torch.where(labels[:, None, None] == 1, standing, lying)
    return images[:, None].repeat(1, 3, 1, 1), labels


def main() -> None:
    """Look at the features, cut the backbone, train a head on it."""
    torch.manual_seed(0)
    network = dt.build("yolov4-tiny", width=SIZE, height=SIZE)
    print(f"yolov4-tiny has {len(network.plan)} layers")

    images, labels = stripes(4)
    with torch.inference_mode():
        outputs = network.activations(images)  # the output of every layer
    for index in (8, 16, 26):
        print(f"layer {index}: {tuple(outputs[index].shape)}")

    dt.export(network, "backbone.weights", cutoff=27)  # layers 0 to 26, and backbone.cfg
    backbone = dt.load("backbone.cfg", "backbone.weights")
    assert isinstance(backbone, dt.Network)  # a converted file would have no parameters
    shape = tuple(backbone(images).shape)
    print(f"backbone.weights has {len(backbone.plan)} layers and yields {shape}")

    model = StripeClassifier(backbone, channels=shape[1], classes=2)
    images, labels = stripes(48)
    optimizer = torch.optim.Adam(model.head.parameters(), lr=0.02)
    features = model.features(images)  # the backbone stays as it is, so once is enough
    for _ in range(100):
        optimizer.zero_grad()
        loss = F.cross_entropy(model.head(features), labels)
        torch.autograd.backward(loss)  # loss.backward(), which torch leaves without types
        optimizer.step()
    trained, frozen = model.head.parameters(), model.backbone.parameters()
    print(
        f"trained: {sum(each.numel() for each in trained)} parameters of the head,"
        f" {sum(each.numel() for each in frozen if each.requires_grad)} of the backbone"
    )

    model.eval()
    images, labels = stripes(16)
    with torch.inference_mode():
        right = model(images).argmax(dim=1) == labels
    print(f"accuracy on images that it has not seen: {right.float().mean():.2f}")


if __name__ == "__main__":
    main()
