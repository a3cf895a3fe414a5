"""Road segmentation with Lightning."""

from argparse import ArgumentParser
from pathlib import Path

import lightning as L
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class Roads(Dataset):
    def __init__(self, root, split):
        self.images = sorted(Path(root, split, "img").glob("*.png"))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        path = self.images[idx]
        img = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255.0
        lab = np.asarray(Image.open(str(path).replace("img", "lab")), dtype=np.int64)
        peak = img.max().item()  # silent: CUS001 NumPy
        return torch.from_numpy(img.transpose(2, 0, 1)) / max(peak, 1e-6), torch.from_numpy(lab)


class Segmenter(L.LightningModule):
    def __init__(self, lr=1e-3, classes=2):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, classes, 1))
        self.running = 0.0
        self.validation_losses = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        img, mask = batch
        loss = F.cross_entropy(self(img), mask)  # silent: CUP001 the Trainer chooses a precision
        self.running = 0.9 * self.running + 0.1 * loss.item()  # expect: CUS001
        self.log("train_loss", loss)
        if batch_idx % 100 == 0:
            self.print(f"{self.current_epoch}: {loss.item():.3f}")  # silent: CUS001 throttled
        return loss

    def validation_step(self, batch, batch_idx):
        img, mask = batch
        logits = self(img)
        loss = F.cross_entropy(logits, mask)
        acc = float((logits.argmax(1) == mask).float().mean())  # expect: CUS004
        self.validation_losses.append(loss.detach())
        self.log_dict({"val_loss": loss, "val_acc": acc})

    def on_validation_epoch_end(self):
        mean = torch.stack(self.validation_losses).mean().item()  # silent: CUS001 once per epoch
        self.print(f"validation loss {mean:.4f}")  # silent: CUS004 a Python number
        self.validation_losses.clear()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)  # expect: CUF012


class RoadData(L.LightningDataModule):
    def __init__(self, root, batch_size, **loader_options):
        super().__init__()
        self.root = root
        self.batch_size = batch_size
        self.options = loader_options

    def train_dataloader(self):
        return DataLoader(Roads(self.root, "train"), batch_size=self.batch_size, shuffle=True, num_workers=4)  # expect: CUD001

    def val_dataloader(self):
        return DataLoader(Roads(self.root, "val"), batch_size=self.batch_size, pin_memory=True)  # silent: CUD001 pinned

    def predict_dataloader(self):
        return DataLoader(Roads(self.root, "test"), self.batch_size, **self.options)  # silent: CUD001 options that are not in sight


def main():
    parser = ArgumentParser()
    parser.add_argument("--root", default="data/roads")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=8)
    args = parser.parse_args()
    L.seed_everything(7)
    trainer = L.Trainer(max_epochs=args.epochs, accelerator="gpu", devices=1, precision="bf16-mixed")
    trainer.fit(Segmenter(), datamodule=RoadData(args.root, args.batch_size))


if __name__ == "__main__":
    main()
