"""The same training step in PyTorch, for `cargo bench -p flawd-train`: prints CPU seconds a step.

usage: step.py CHANNELS HIDDEN MAP BATCH STEPS
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class Subnet(nn.Module):
    def __init__(self, inputs, hidden, outputs, kernel):
        super().__init__()

        def conv(a, b, stride=1):
            return nn.Conv2d(a, b, kernel, padding=kernel // 2, stride=stride)

        self.enter = nn.ModuleList(conv(inputs, hidden) for _ in range(3))
        self.leave = nn.ModuleList(conv(hidden, outputs) for _ in range(3))
        self.up = nn.ModuleList(conv(hidden, outputs) for _ in range(2))
        self.down = nn.ModuleList(conv(hidden, outputs, 2) for _ in range(2))
        self.gamma = nn.Parameter(torch.full((3,), 0.3))

    def forward(self, x):
        y = [F.leaky_relu(conv(t), 0.1) for conv, t in zip(self.enter, x)]
        out = [conv(t) for conv, t in zip(self.leave, y)]
        for fine in range(2):
            coarse = F.interpolate(y[fine + 1], scale_factor=2, mode="bilinear")
            out[fine] = out[fine] + self.up[fine](coarse)
            out[fine + 1] = out[fine + 1] + self.down[fine](y[fine])
        return [g * t for g, t in zip(self.gamma, out)]


class Coupling(nn.Module):
    def __init__(self, channels, hidden, kernel):
        super().__init__()
        half = channels // 2
        self.s1 = Subnet(half, hidden, channels, kernel)
        self.s2 = Subnet(half, hidden, channels, kernel)
        order = torch.randperm(channels)
        self.register_buffer("order", order)

    def forward(self, x, log_det):
        a, b = zip(*(t[:, self.order].chunk(2, 1) for t in x))
        a, log_det = affine(self.s2(b), a, log_det)
        b, log_det = affine(self.s1(a), b, log_det)
        return [torch.cat(pair, 1).clamp(-1e6, 1e6) for pair in zip(a, b)], log_det


def affine(raw, half, log_det):
    output = []
    for r, t in zip(raw, half):
        s, offset = r.chunk(2, 1)
        s = 3 * 0.636 * torch.atan(s / 3)
        log_det = log_det + s.sum((1, 2, 3))
        output.append(torch.exp(s) * t + offset)
    return output, log_det


def main():
    channels, hidden, size, batch, steps = map(int, sys.argv[1:])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    blocks = nn.ModuleList(Coupling(channels, hidden, k) for k in (3, 3, 3, 5))
    adam = torch.optim.Adam(blocks.parameters(), lr=2e-4, eps=1e-4, weight_decay=1e-5)
    features = [torch.randn(batch, channels, size >> s, size >> s) for s in range(3)]
    for _ in range(steps):
        start = time.process_time()
        adam.zero_grad()
        z, log_det = features, torch.zeros(batch)
        for block in blocks:
            z, log_det = block(z, log_det)
        dimensions = sum(t[0].numel() for t in z)
        norm = sum((t**2).sum((1, 2, 3)) for t in z)
        loss = ((norm / 2 - log_det) / dimensions).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(blocks.parameters(), 1.0)
        adam.step()
        print(time.process_time() - start, flush=True)


main()
