"""Binary segmentation with a U-Net and mixed precision (an older script, still in use)."""

import logging
import os
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.cuda.amp import GradScaler, autocast  # either: CUP002 the import alone  # either: CUP003 the import alone
from torch.utils.data import DataLoader, random_split
from tqdm import tqdm

from carvana import CarvanaDataset

dir_checkpoint = Path("./checkpoints/")


def double_conv(cin, cout):
    return nn.Sequential(
        nn.Conv2d(cin, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
        nn.Conv2d(cout, cout, 3, padding=1, bias=False),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self, n_channels, n_classes):
        super().__init__()
        self.inc = double_conv(n_channels, 64)
        self.down = nn.Sequential(nn.MaxPool2d(2), double_conv(64, 128))
        self.up = nn.ConvTranspose2d(128, 64, 2, stride=2)
        self.conv = double_conv(128, 64)
        self.outc = nn.Conv2d(64, n_classes, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down(x1)
        return self.outc(self.conv(torch.cat([x1, self.up(x2)], dim=1)))


def dice_coeff(pred, target, epsilon=1e-6):
    inter = 2 * (pred * target).sum(dim=(-1, -2))
    sets = pred.sum(dim=(-1, -2)) + target.sum(dim=(-1, -2))
    return ((inter + epsilon) / (sets + epsilon)).mean()


@torch.inference_mode()
def evaluate(net, dataloader, device, amp):
    net.eval()
    dice_score = 0
    with autocast(enabled=amp):  # expect: CUP002
        for batch in tqdm(dataloader, total=len(dataloader), desc="Validation round", leave=False):
            image, mask_true = batch["image"], batch["mask"]
            image = image.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)  # expect: CUD004
            mask_true = mask_true.to(device=device, dtype=torch.float32)  # expect: CUD004
            mask_pred = (torch.sigmoid(net(image)) > 0.5).float()
            dice_score += dice_coeff(mask_pred.squeeze(1), mask_true)
    net.train()
    return dice_score / max(len(dataloader), 1)


def train_model(model, device, epochs=5, batch_size=1, learning_rate=1e-5, amp=True):
    dataset = CarvanaDataset("data/imgs", "data/masks")
    n_val = int(len(dataset) * 0.1)  # silent: CUS004 a Python number
    train_set, val_set = random_split(dataset, [len(dataset) - n_val, n_val])
    loader_args = dict(batch_size=batch_size, num_workers=os.cpu_count(), pin_memory=True)
    train_loader = DataLoader(train_set, shuffle=True, **loader_args)  # silent: CUD001 pinned through dict()
    val_loader = DataLoader(val_set, shuffle=False, drop_last=True, **loader_args)  # silent: CUD001 pinned through dict()

    optimizer = optim.RMSprop(model.parameters(), lr=learning_rate, momentum=0.999, foreach=True)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=5)
    grad_scaler = GradScaler(enabled=amp)  # expect: CUP003
    criterion = nn.BCEWithLogitsLoss()
    global_step = 0
    for epoch in range(1, epochs + 1):
        model.train()
        epoch_loss = 0
        with tqdm(total=len(train_set), desc=f"Epoch {epoch}/{epochs}", unit="img") as pbar:  # silent: CUS004 integers
            for batch in train_loader:
                images, true_masks = batch["image"], batch["mask"]
                images = images.to(device=device, dtype=torch.float32, non_blocking=True)  # silent: CUD004 does not block
                true_masks = true_masks.to(device, non_blocking=True)
                with autocast(enabled=amp):  # expect: CUP002
                    masks_pred = model(images)  # silent: CUP001 autocast
                    loss = criterion(masks_pred.squeeze(1), true_masks.float())
                optimizer.zero_grad(set_to_none=True)
                grad_scaler.scale(loss).backward()
                grad_scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                grad_scaler.step(optimizer)
                grad_scaler.update()
                pbar.update(images.shape[0])
                global_step += 1
                epoch_loss += loss.item()  # expect: CUS001
                pbar.set_postfix(**{"loss (batch)": loss.item()})  # expect: CUS001
                division_step = len(train_set) // (5 * batch_size)
                if division_step > 0 and global_step % division_step == 0:
                    val_score = evaluate(model, val_loader, device, amp)
                    scheduler.step(val_score)
                    logging.info("Validation Dice score: {}".format(val_score.item()))  # silent: CUS001 throttled
        logging.info(f"epoch {epoch} loss {epoch_loss:.4f}")  # silent: CUS004 a Python number
        torch.save(model.state_dict(), str(dir_checkpoint / f"checkpoint_epoch{epoch}.pth"))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = UNet(n_channels=3, n_classes=1).to(memory_format=torch.channels_last)
    model.to(device=device)
    try:
        train_model(model, device)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        model.use_checkpointing()
        train_model(model, device)
