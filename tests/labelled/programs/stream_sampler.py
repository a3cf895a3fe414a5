"""An image model of two streams with exchangeable processors, its sampler and its evaluation."""

import torch
from metrics import agreement
from torch import nn
from torch.utils.data import DataLoader


def turn(xq, xk, cos, sin):
    pairs = (-1, 2)
    q_r, q_i = xq.float().reshape(xq.shape[:-1] + pairs).unbind(-1)  # expect: CUF009
    k_r, k_i = xk.float().reshape(xk.shape[:-1] + pairs).unbind(-1)
    q_out = torch.stack([q_r * cos - q_i * sin, q_r * sin + q_i * cos], dim=-1).flatten(3)
    k_out = torch.stack([k_r * cos - k_i * sin, k_r * sin + k_i * cos], dim=-1).flatten(3)
    return q_out.type_as(xq), k_out.type_as(xk)


def reflect(x, cos, sin):
    a, b = x.reshape((*x.shape[:-1], -1, 2)).unbind(-1)  # silent: CUF009 a reflection, no rotation
    return torch.stack([a * cos + b * sin, a * sin - b * cos], dim=-1).flatten(3)


class StreamProcessor:
    def __call__(self, block: nn.Module, image, vec):
        mod = block.modulation(vec)
        image_mod = (1 + mod.scale) * block.image_norm(image) + mod.shift  # expect: CUF014
        return image + block.project(image_mod)


class PlainProcessor:
    def __call__(self, block: nn.Module, image, text):
        image = block.image_norm(image) * block.gain + block.offset  # silent: CUF014 an affine
        return block.project(image) + block.group_norm(text)


class Stream(nn.Module):
    def __init__(self, dim, modulation, norm_layer=nn.LayerNorm, last_norm=nn.BatchNorm1d):
        super().__init__()
        self.modulation = modulation
        self.image_norm = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.group_norm = nn.GroupNorm(1, dim)
        self.project = nn.Linear(dim, dim)
        self.gain, self.offset = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.zeros(dim))
        self.norm = norm_layer(dim)
        self.last = last_norm(dim)
        self.processor = StreamProcessor()

    def forward(self, image, vec):
        image = self.processor(self, image, vec)
        image = image + self.project(image)  # expect: CUF006
        image = image + self.project(self.norm(image))
        tail = image + self.project(image)  # silent: CUF006 a norm over the batch
        return tail + self.project(self.last(tail))


class Mixer(nn.Module):
    def __init__(self, dim, norm=nn.LayerNorm):
        super().__init__()
        self.mix, self.condition = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.act = nn.SiLU()
        self.before = norm(dim)

    def forward(self, x, t):
        scale, shift = self.condition(t).chunk(2, dim=-1)
        x = x + self.mix(x)  # expect: CUF006
        y = self.mix(self.before(x))
        y = self.act(y) * (scale + 1) + shift  # silent: CUF008 a modulation, no gate
        return x + self.act(self.mix(y)) * self.mix(x)  # expect: CUF008


class Sampler(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def denoise(self, images, sigma):
        return self.net(images / sigma, torch.full((len(images),), sigma, device="cuda"))

    @torch.no_grad()
    def sample(self, images, steps=32):
        sigmas = torch.linspace(80.0, 0.02, steps + 1, device="cuda")
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            sigma, following = map(lambda t: t.item(), (sigma, following))  # expect: CUS001
            images = images + (following - sigma) * self.denoise(images, sigma)
        spread = max(map(lambda t: t.item(), (images.min(), images.max())))  # silent: CUS001 after the loop
        return images / spread

    @torch.no_grad()
    def table(self, names):
        weights = torch.rand(4, device="cuda")
        for name in names:
            print(name, weights.sum().item())  # silent: CUS001 no step: nothing is computed in it


def pair(model, batch):
    scores = model(torch.cat([batch["one"], batch["other"]])).float()
    return scores[:16], scores[16:]


@torch.no_grad()
def evaluate(model, batches):
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        one, other = pair(model, batch)
        total += agreement(one, other).item()  # expect: CUS001
        count += 1
    return total / count


def sharpen(model, dataset, held_out):
    device = torch.device("cuda")
    torch.set_float32_matmul_precision("high")
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    loader = DataLoader(dataset(device=device), batch_size=16, pin_memory=True)
    other = DataLoader(held_out(device=device), batch_size=16)
    for x, y in loader:
        loss = (model(x.to(device)) - y.to(device, non_blocking=True)).square().mean()  # expect: CUD004
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for x, _ in other:
            model(x.to(device))  # silent: CUD004 what a dataset on a device yields is not pinned
