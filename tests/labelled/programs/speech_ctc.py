"""Speech recognition with CTC: one file, one GPU, three years old."""

import torch
import torchaudio
import torch.nn as nn
import torch.nn.functional as F
import torch.utils.data as tud
from torch.cuda.amp.autocast_mode import autocast  # either: CUP002 the import alone
from torch.cuda.amp.grad_scaler import GradScaler as Scaler  # either: CUP003 the import alone

USE_CUDA = True
HPARAMS = {"batch": 20, "epochs": 10, "lr": 5e-4, "classes": 29, "features": 128}
mel = torchaudio.transforms.MelSpectrogram(sample_rate=16000, n_mels=HPARAMS["features"])


def collate(data):
    specs = [mel(w).squeeze(0).transpose(0, 1) for w, *_ in data]
    labels = [torch.tensor([ord(c) % 29 for c in text.lower()]) for _, _, text, *_ in data]
    lengths = [s.shape[0] // 2 for s in specs]
    specs = nn.utils.rnn.pad_sequence(specs, batch_first=True).unsqueeze(1).transpose(2, 3)
    return specs, nn.utils.rnn.pad_sequence(labels, batch_first=True), lengths, [len(x) for x in labels]


class Model(nn.Module):
    def __init__(self, features, classes, dim=512):
        super().__init__()
        self.cnn = nn.Conv2d(1, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(features // 2 * 32, dim)
        self.rnn = nn.GRU(dim, dim, num_layers=3, bidirectional=True, batch_first=True)
        self.score = nn.Linear(2 * dim, 1)
        self.out = nn.Linear(2 * dim, classes)

    def pool(self, h, lengths: torch.Tensor):
        """A softmax-weighted mean over time, for the speaker's embedding."""
        limit = lengths.max().item()  # expect: CUS001
        e = self.score(h[:, :limit]).squeeze(-1)
        e = e.masked_fill(torch.arange(limit, device=h.device) >= lengths[:, None], -1e4)  # expect: CUN001
        w = torch.exp(e)  # expect: CUF002
        w = w / torch.sum(w, dim=1, keepdim=True)
        return (w.unsqueeze(-1) * h[:, :limit]).sum(1)

    def forward(self, x, lengths: torch.Tensor):
        x = F.gelu(self.cnn(x)).flatten(1, 2).transpose(1, 2)
        h, _ = self.rnn(self.fc(x))
        return self.out(h), self.pool(h, lengths)


def greedy(log_probs, lengths):
    out = []
    for row, n in zip(log_probs.argmax(dim=-1).tolist(), lengths):
        out.append([c for i, c in enumerate(row[:n]) if c != 28 and (i == 0 or c != row[i - 1])])
    return out


def run():
    device = torch.device("cuda" if USE_CUDA else "cpu")
    train_set = torchaudio.datasets.LIBRISPEECH("./data", url="train-clean-100", download=True)
    options = {"num_workers": 1, "pin_memory": True} if USE_CUDA else {}
    loader = tud.DataLoader(train_set, batch_size=HPARAMS["batch"], shuffle=True, collate_fn=collate, **options)  # silent: CUD001 pinned through the dict
    test_loader = tud.DataLoader(torchaudio.datasets.LIBRISPEECH("./data", url="test-clean"), HPARAMS["batch"], collate_fn=collate)  # expect: CUD001
    model = Model(HPARAMS["features"], HPARAMS["classes"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), HPARAMS["lr"])  # expect: CUF012
    criterion = nn.CTCLoss(blank=28).to(device)
    scaler = Scaler(init_scale=1024.0)  # expect: CUP003
    for epoch in range(1, HPARAMS["epochs"] + 1):
        model.train()
        for batch_idx, (specs, labels, in_len, lab_len) in enumerate(loader):
            specs, labels = specs.to(device), labels.to(device)  # expect: CUD004
            optimizer.zero_grad()
            with autocast(dtype=torch.float16):  # expect: CUP002
                logits, _ = model(specs, torch.tensor(in_len, device=device))  # silent: CUP001 autocast
            loss = criterion(F.log_softmax(logits.float(), dim=2).transpose(0, 1), labels, in_len, lab_len)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            line = "%d/%d loss %.4f" % (batch_idx, len(loader), loss)  # expect: CUS004
            frames = "%d frames" % max(in_len)  # silent: CUS004 integers
            ratio = float(sum(lab_len)) / sum(in_len)  # silent: CUS004 Python numbers
            if batch_idx % 100 == 0 or batch_idx == len(loader) - 1:
                print(line, frames, f"{ratio:.2f}", f"{loss.item():.4f}")  # silent: CUS001 throttled
        model.eval()
        test_loss = torch.zeros((), device=device)
        with torch.inference_mode():
            for specs, labels, in_len, lab_len in test_loader:
                specs, labels = specs.cuda(), labels.cuda()  # silent: CUD004 this loader does not pin
                logits, _ = model(specs, torch.tensor(in_len, device=device))
                log_probs = F.log_softmax(logits, dim=2)
                test_loss += criterion(log_probs.transpose(0, 1), labels, in_len, lab_len)
                greedy(log_probs, in_len)
        print("epoch %d: test loss %.4f" % (epoch, test_loss / len(test_loader)))  # silent: CUS004 once per epoch


run()
