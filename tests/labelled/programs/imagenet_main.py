"""ImageNet training over several GPUs, one process each (torchrun imagenet_main.py /data/imagenet)."""

import argparse
import os
import time

import torch
import torch.distributed as dist
import torch.nn as nn
import torch.utils.data as data_utils
import torchvision.datasets as datasets
import torchvision.models as models
import torchvision.transforms as T
from torch.nn.parallel import DistributedDataParallel as DDP

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("-a", "--arch", default="resnet50")
parser.add_argument("-j", "--workers", default=8, type=int)
parser.add_argument("-b", "--batch-size", default=256, type=int)
parser.add_argument("-p", "--print-freq", default=10, type=int)
parser.add_argument("--epochs", default=90, type=int)


class AverageMeter:
    def __init__(self, name):
        self.name = name
        self.sum = 0.0
        self.count = 0

    def update(self, val, n=1):
        self.sum += val * n
        self.count += n

    @property
    def avg(self):
        return self.sum / max(self.count, 1)

    def __str__(self):
        return f"{self.name} {self.avg:.3f}"  # silent: CUS004 Python numbers


def accuracy(output, target, topk=(1,)):
    with torch.no_grad():
        maxk = max(topk)
        _, pred = output.topk(maxk, 1, True, True)
        correct = pred.t().eq(target.view(1, -1).expand(maxk, -1))
        res = []
        for k in topk:
            correct_k = correct[:k].reshape(-1).float().sum(0)
            res.append(correct_k.mul_(100.0 / target.size(0)).item())  # expect: CUS001
        return res


def train(loader, model, criterion, optimizer, epoch, gpu, args):
    batch_time, losses, top1, top5 = (AverageMeter(n) for n in ("Time", "Loss", "Acc@1", "Acc@5"))
    model.train()
    end = time.time()
    for i, (images, target) in enumerate(loader):
        images = images.cuda(gpu, non_blocking=True)  # silent: CUD004 does not block
        target = target.cuda(gpu)  # expect: CUD004
        output = model(images)
        loss = criterion(output, target)
        acc1, acc5 = accuracy(output, target, topk=(1, 5))
        losses.update(loss.item(), images.size(0))  # expect: CUS001
        top1.update(acc1, images.size(0))
        top5.update(float(acc5), images.size(0))  # silent: CUS004 already a Python number
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        batch_time.update(time.time() - end)
        end = time.time()
        if gpu == 0 and i % args.print_freq == 0:
            print(f"[{epoch}][{i}/{len(loader)}] loss {loss.item():.4f} {top1} {top5}")  # silent: CUS001 throttled


@torch.no_grad()
def validate(loader, model, criterion, gpu):
    model.eval()
    loss_sum = torch.zeros((), device=f"cuda:{gpu}")
    hits = torch.zeros((), device=f"cuda:{gpu}")
    seen = 0
    for images, target in loader:
        images = images.cuda(gpu, non_blocking=True)
        target = target.cuda(gpu, non_blocking=True)
        output = model(images)
        loss_sum += criterion(output, target)
        hits += (output.argmax(1) == target).sum()
        seen += int(target.numel())  # silent: CUS004 a size
    dist.all_reduce(hits)
    print(f"loss {loss_sum.item() / len(loader):.4f}")  # silent: CUS001 after the loop
    return 100.0 * float(hits) / (seen * dist.get_world_size())  # silent: CUS004 after the loop


def main():
    args = parser.parse_args()
    gpu = int(os.environ["LOCAL_RANK"])  # silent: CUS004 a string
    torch.cuda.set_device(gpu)
    dist.init_process_group("nccl")
    torch.set_float32_matmul_precision("high")
    model = DDP(models.__dict__[args.arch]().cuda(gpu), device_ids=[gpu])
    criterion = nn.CrossEntropyLoss().cuda(gpu)
    optimizer = torch.optim.SGD(model.parameters(), 0.1 * dist.get_world_size(), momentum=0.9)  # expect: CUF012

    normalize = T.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    train_tf = T.Compose([T.RandomResizedCrop(224), T.RandomHorizontalFlip(), T.ToTensor(), normalize])
    val_tf = T.Compose([T.Resize(256), T.CenterCrop(224), T.ToTensor(), normalize])
    train_set = datasets.ImageFolder(os.path.join(args.data, "train"), train_tf)
    val_set = datasets.ImageFolder(os.path.join(args.data, "val"), val_tf)
    sampler = data_utils.distributed.DistributedSampler(train_set)
    train_loader = data_utils.DataLoader(  # silent: CUD001 pinned
        train_set, batch_size=args.batch_size, num_workers=args.workers, pin_memory=True, sampler=sampler
    )
    val_loader = data_utils.DataLoader(val_set, args.batch_size, num_workers=args.workers)  # expect: CUD001
    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        train(train_loader, model, criterion, optimizer, epoch, gpu, args)
        acc1 = validate(val_loader, model, criterion, gpu)
        if gpu == 0:
            torch.save({"epoch": epoch, "model": model.module.state_dict(), "acc1": acc1}, "checkpoint.pth")


if __name__ == "__main__":
    main()
