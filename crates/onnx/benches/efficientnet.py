"""The model of efficientnet.rs in PyTorch, exported to ONNX: image in, score and anomaly map out.

FOLDER EXPORTER SIZE HIDDEN FILE.onnx
"""

import sys

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

CHANNELS = 304
KERNELS = (3, 3, 3, 5)
CLAMP = 3.0


class Subnet(nn.Module):
    def __init__(self, channels, outputs, hidden, kernel):
        super().__init__()
        same = dict(kernel_size=kernel, padding=kernel // 2)
        self.gamma = nn.Parameter(torch.zeros(3))
        for scale in range(3):
            self.add_module(f"conv_scale{scale}_0", nn.Conv2d(channels, hidden, **same))
            self.add_module(f"conv_scale{scale}_1", nn.Conv2d(hidden, outputs, **same))
        self.up_conv10 = nn.Conv2d(hidden, outputs, **same)
        self.up_conv21 = nn.Conv2d(hidden, outputs, **same)
        self.down_conv01 = nn.Conv2d(hidden, outputs, stride=2, **same)
        self.down_conv12 = nn.Conv2d(hidden, outputs, stride=2, **same)

    def forward(self, maps):
        hidden = [
            functional.leaky_relu(getattr(self, f"conv_scale{scale}_0")(x), 0.1)
            for scale, x in enumerate(maps)
        ]
        fine, middle, coarse = (
            getattr(self, f"conv_scale{scale}_1")(x) for scale, x in enumerate(hidden)
        )

        def twice(x):
            return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)

        sums = [
            fine + self.up_conv10(twice(hidden[1])),
            middle + self.down_conv01(hidden[0]) + self.up_conv21(twice(hidden[2])),
            coarse + self.down_conv12(hidden[1]),
        ]
        return [x * self.gamma[scale] for scale, x in enumerate(sums)]


class Coupling(nn.Module):
    def __init__(self, hidden, kernel):
        super().__init__()
        self.half = CHANNELS // 2
        self.s1 = Subnet(self.half, CHANNELS, hidden, kernel)
        self.s2 = Subnet(self.half, CHANNELS, hidden, kernel)

    def moved(self, maps, moves):
        for x, move in zip(maps, moves):
            log_scale = CLAMP * 0.636 * torch.atan(move[:, : self.half] / CLAMP)
            yield x * torch.exp(log_scale) + move[:, self.half :]

    def forward(self, maps):
        first = [x[:, : self.half] for x in maps]
        second = [x[:, self.half :] for x in maps]
        first = list(self.moved(first, self.s2(second)))
        second = list(self.moved(second, self.s1(first)))
        return [torch.cat(pair, 1).clamp(-1e6, 1e6) for pair in zip(first, second)]


class Model(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.features = torchvision.models.efficientnet_b5(weights=None).features[:7]
        self.blocks = nn.ModuleList(Coupling(hidden, kernel) for kernel in KERNELS)
        self.permutations = [[None] * 3 for _ in KERNELS]
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, image):
        x = (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        maps = [self.features(x[:, :, ::step, ::step]) for step in (1, 2, 4)]
        for block, permutations in zip(self.blocks, self.permutations):
            maps = block([x[:, order] for x, order in zip(maps, permutations)])
        latents = torch.cat([z.flatten(1) for z in maps], 1)
        return (latents**2).mean(1) / 2, (maps[0] ** 2).mean(1, keepdim=True)


def load(folder, hidden):
    model = Model(hidden)
    weights = load_file(f"{folder}/efficientnet-b5.safetensors")
    weights = {name: x for name, x in weights.items() if not name.startswith("features.7.")}
    flow = load_file(f"{folder}/flow.safetensors")
    for name in [name for name in flow if name.startswith("permutation.")]:
        _, block, scale = name.split(".")
        model.permutations[int(block)][int(scale)] = flow.pop(name).long()
    unused = model.load_state_dict(weights | flow, strict=False)
    assert not unused.unexpected_keys, unused
    missing = [name for name in unused.missing_keys if "num_batches" not in name]
    assert set(missing) == {"mean", "std"}, missing
    return model.eval()


def main():
    folder, exporter, size, hidden, path = sys.argv[1:]
    model = load(folder, int(hidden))
    image = torch.zeros(1, int(size), int(size), 3, dtype=torch.uint8)
    names = dict(input_names=["image"], output_names=["score", "anomaly_map"])
    with torch.no_grad():
        torch.onnx.export(
            model,
            (image,),
            path,
            opset_version=17 if exporter == "script" else None,
            dynamo=exporter == "dynamo",
            external_data=False,
            **names,
        )


if __name__ == "__main__":
    main()
