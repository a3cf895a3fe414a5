import os
import random

import torch
import torch.nn as nn
import torchvision.utils as vutils
from torch.utils import data
from torchvision import datasets, transforms

random.seed(999)
torch.manual_seed(999)

nz, ngf, ndf, nc = 100, 64, 64, 3
batch_size, num_epochs, lr = 128, 5, 0.0002
out_dir = "samples"
os.makedirs(out_dir, exist_ok=True)

dataset = datasets.ImageFolder(
    "data/celeba",
    transform=transforms.Compose(
        [transforms.Resize(64), transforms.CenterCrop(64), transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.5,) * 3)]
    ),
)
dataloader = data.DataLoader(dataset, batch_size=batch_size, shuffle=True, num_workers=2)  # expect: CUD001
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


def up(cin, cout, first=False):
    conv = nn.ConvTranspose2d(cin, cout, 4, 1 if first else 2, 0 if first else 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(True))


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            up(nz, ngf * 8, first=True),
            up(ngf * 8, ngf * 4),
            up(ngf * 4, ngf * 2),
            up(ngf * 2, ngf),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, z):
        return self.main(z)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(nc, ndf, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
        for i in range(3):
            cin, cout = ndf * 2**i, ndf * 2 ** (i + 1)
            layers += [nn.Conv2d(cin, cout, 4, 2, 1, bias=False), nn.BatchNorm2d(cout), nn.LeakyReLU(0.2, inplace=True)]  # silent: CUF020 no bias
        self.main = nn.Sequential(*layers, nn.Conv2d(ndf * 8, 1, 4, 1, 0, bias=False), nn.Sigmoid())

    def forward(self, x):
        return self.main(x).view(-1)


netG = Generator().to(device)
netG.apply(weights_init)
netD = Discriminator().to(device)
netD.apply(weights_init)
criterion = nn.BCELoss()
fixed_noise = torch.randn(64, nz, 1, 1, device=device)
optimizerD = torch.optim.Adam(netD.parameters(), lr=lr, betas=(0.5, 0.999))  # expect: CUF012
optimizerG = torch.optim.Adam(netG.parameters(), lr=lr, betas=(0.5, 0.999))  # expect: CUF012

G_losses, D_losses = [], []
iters = 0
for epoch in range(num_epochs):
    for i, (real, _) in enumerate(dataloader):
        netD.zero_grad()
        real = real.to(device)  # silent: CUD004 the loader does not pin
        b_size = real.size(0)
        label = torch.full((b_size,), 1.0, dtype=torch.float, device=device)
        output = netD(real)  # expect: CUP001
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean().item()  # expect: CUS001
        noise = torch.randn(b_size, nz, 1, 1, device=device)
        fake = netG(noise)
        label.fill_(0.0)
        output = netD(fake.detach())
        errD_fake = criterion(output, label)
        errD_fake.backward()
        D_G_z1 = output.mean().item()  # expect: CUS001
        errD = errD_real + errD_fake
        optimizerD.step()

        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()

        if i % 50 == 0:
            D_G_z2 = output.mean().item()  # silent: CUS001 throttled
            print(
                "[%d/%d][%d/%d]\tLoss_D: %.4f\tLoss_G: %.4f\tD(x): %.4f\tD(G(z)): %.4f / %.4f"
                % (epoch, num_epochs, i, len(dataloader), errD.item(), errG.item(), D_x, D_G_z1, D_G_z2)  # silent: CUS001 throttled
            )
        G_losses.append(errG.item())  # expect: CUS001
        D_losses.append(float(errD))  # expect: CUS004
        if (iters % 500 == 0) or (epoch == num_epochs - 1 and i == len(dataloader) - 1):
            with torch.no_grad():
                sample = netG(fixed_noise).detach().cpu()
            vutils.save_image(sample, f"{out_dir}/{iters:06d}.png", normalize=True)  # silent: CUS004 an integer
        iters += 1
