"""A training program of any length, as people write them, for timing one file."""

from __future__ import annotations

HEAD = '''"""A generated training program."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader

'''

BLOCK = """
class Block{n}(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        batch, length, width = x.shape
        shape = (batch, length, self.heads, width // self.heads)
        q = self.query(self.norm(x)).view(shape).transpose(1, 2)
        k = self.key(self.norm(x)).view(shape).transpose(1, 2)
        v = self.value(self.norm(x)).view(shape).transpose(1, 2)
{attention}
        return x + y.transpose(1, 2).reshape(batch, length, width)

"""
BY_HAND = """        scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))
        weights = F.softmax(scores, dim=-1)
        y = weights @ v"""
FUSED = "        y = F.scaled_dot_product_attention(q, k, v)"

TAIL = """
def train(model, dataset, epochs):
    loader = DataLoader(dataset, batch_size=32, num_workers=4)
    optimizer = torch.optim.AdamW(model.parameters())
    for epoch in range(epochs):
        total = 0.0
        for inputs, target in loader:
            inputs, target = inputs.cuda(), target.cuda()
            loss = F.cross_entropy(model(inputs), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(epoch, total / len(loader))
"""


def program(rows: int, *, fixable: bool) -> str:
    """A program of about `rows` rows; `fixable` ones hold attention that a fix rewrites."""
    text = HEAD + TAIL
    number = 0
    while text.count("\n") < rows:
        by_hand = fixable and number == 0
        text += BLOCK.format(n=number, attention=BY_HAND if by_hand else FUSED)
        number += 1
    return text
