"""How one lab makes its loaders: every project a little differently."""

import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torch_geometric.loader import DataLoader as GraphLoader

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Frames(Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return torch.load(self.paths[i], weights_only=True)


class DeviceFrames(Frames):
    """Decodes on the GPU."""

    def __getitem__(self, i):
        return super().__getitem__(i).cuda() / 255.0  # silent: CUD004 one item, no loader's batch


class DataLoader:
    """Our own: batches of memory-mapped tokens, no workers."""

    def __init__(self, tokens, batch_size):
        self.tokens, self.batch_size = tokens, batch_size

    def __iter__(self):
        for i in range(0, len(self.tokens) - self.batch_size, self.batch_size):
            yield self.tokens[i : i + self.batch_size]


class Stream(IterableDataset):
    def __init__(self, shards):
        self.shards = shards

    def __iter__(self):
        for shard in self.shards:
            yield from torch.load(shard, weights_only=True)


def device_collate(items):
    return torch.stack(items).to("cuda")


def cpu_collate(items):
    return torch.stack(items)


def plain(paths):
    return TorchLoader(Frames(paths), batch_size=8, shuffle=True)  # expect: CUD001


def through_module(shards):
    return torch.utils.data.DataLoader(Stream(shards), batch_size=None, num_workers=2)  # expect: CUD001


def refused(paths):
    return TorchLoader(Frames(paths), 8, False, num_workers=4, pin_memory=False, drop_last=True)  # expect: CUD001


def visible_dict(paths):
    options = {"batch_size": 16, "num_workers": 4}
    options["persistent_workers"] = True
    return TorchLoader(Frames(paths), **options)  # expect: CUD001


def visible_dict_with_pin(paths):
    options = dict(batch_size=16, num_workers=4)
    options["pin_memory"] = True
    return TorchLoader(Frames(paths), **options)  # silent: CUD001 pinned through the dict


def unseen_options(paths, **options):
    return TorchLoader(Frames(paths), **options)  # silent: CUD001 options that are not in sight


def chosen(paths, pin):
    return TorchLoader(Frames(paths), 16, pin_memory=pin)  # silent: CUD001 a variable decides


def where_available(paths):
    return TorchLoader(Frames(paths), 16, pin_memory=torch.cuda.is_available())  # silent: CUD001 pinned where there is a GPU


def on_device(paths):
    return TorchLoader(DeviceFrames(paths), batch_size=4)  # silent: CUD001 the dataset returns CUDA tensors


def collated_on_device(paths):
    return TorchLoader(Frames(paths), batch_size=4, collate_fn=device_collate)  # silent: CUD001 the collate function returns CUDA tensors


def collated(paths):
    return TorchLoader(Frames(paths), batch_size=4, collate_fn=cpu_collate)  # expect: CUD001


def resident(x, y):
    return TorchLoader(TensorDataset(x.to(device), y.to(device)), batch_size=512, shuffle=True)  # silent: CUD001 tensors that live on the GPU


def graphs(items):
    return GraphLoader(items, batch_size=32, shuffle=True)  # silent: CUD001 another class


def tokens(memmap):
    return DataLoader(memmap, batch_size=64)  # silent: CUD001 the program's own class


def train(model, paths, epochs=3):
    torch.set_float32_matmul_precision("high")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)  # silent: CUF012 chosen
    pinned = visible_dict_with_pin(paths)
    for _ in range(epochs):
        for frames in pinned:
            frames = frames.to(device)  # expect: CUD004
            loss = model(frames).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
