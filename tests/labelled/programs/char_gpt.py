"""A character model from a tutorial series; every lesson has its own attention."""

import torch
import torch.nn as nn
from torch.nn import functional as F

batch_size, block_size, n_embd, n_head, n_layer, dropout = 64, 256, 384, 6, 6, 0.2
max_iters, eval_interval, eval_iters = 5000, 500, 200
device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(1337)

with open("input.txt", encoding="utf-8") as f:
    text = f.read()
chars = sorted(set(text))
stoi = {ch: i for i, ch in enumerate(chars)}
itos = {i: ch for ch, i in stoi.items()}  # silent: CUS001 a dict's items
data = torch.tensor([stoi[c] for c in text], dtype=torch.long)
n = int(0.9 * len(data))  # silent: CUS004 a length
train_data, val_data = data[:n], data[n:]


def get_batch(split):
    source = train_data if split == "train" else val_data
    ix = torch.randint(len(source) - block_size, (batch_size,))
    x = torch.stack([source[i : i + block_size] for i in ix])
    y = torch.stack([source[i + 1 : i + block_size + 1] for i in ix])
    return x.to(device), y.to(device)  # silent: CUD004 nothing is pinned


@torch.no_grad()
def estimate_loss():
    out = {}
    model.eval()
    for split in ["train", "val"]:
        losses = torch.zeros(eval_iters)
        for k in range(eval_iters):
            X, Y = get_batch(split)
            logits, loss = model(X, Y)
            losses[k] = loss.item()  # expect: CUS001
        out[split] = losses.mean()
    model.train()
    return out


class Head(nn.Module):
    """Lesson one: a single head."""

    def __init__(self, head_size):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        k = self.key(x)  # expect: CUF013
        q = self.query(x)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5  # expect: CUF001
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))  # silent: CUN001 infinite
        wei = F.softmax(wei, dim=-1)
        wei = self.dropout(wei)
        v = self.value(x)
        return wei @ v


class BatchedHeads(nn.Module):
    """Lesson two: all heads at once, GPT-2's way of masking."""

    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)
        self.c_proj = nn.Linear(n_embd, n_embd)
        self.register_buffer("bias", torch.tril(torch.ones(block_size, block_size)).view(1, 1, block_size, block_size))

    def _attn(self, q, k, v):
        w = torch.matmul(q, k)  # expect: CUF001
        w = w / (v.size(-1) ** 0.5)
        nd, ns = w.size(-2), w.size(-1)
        b = self.bias[:, :, ns - nd : ns, :ns]
        w = w * b - 1e10 * (1 - b)  # expect: CUN001
        w = nn.Softmax(dim=-1)(w)
        return torch.matmul(w, v)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(n_embd, dim=2)
        q = q.view(B, T, n_head, -1).transpose(1, 2)
        k = k.view(B, T, n_head, -1).permute(0, 2, 3, 1)
        v = v.view(B, T, n_head, -1).transpose(1, 2)
        return self.c_proj(self._attn(q, k, v).transpose(1, 2).reshape(B, T, C))


class MaskedAverage(nn.Module):
    """Lesson zero: softmax of a mask is only an average of the past."""

    def __init__(self):
        super().__init__()
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))

    def forward(self, x):
        T = x.size(1)
        wei = torch.zeros((T, T), device=x.device)
        wei[self.tril[:T, :T] == 0] = -1e9  # expect: CUN001
        return torch.softmax(wei, dim=-1) @ x  # silent: CUF001 no product of queries and keys


class Block(nn.Module):
    def __init__(self, first):
        super().__init__()
        self.sa = nn.ModuleList([Head(n_embd // n_head) for _ in range(n_head)]) if first else BatchedHeads()
        self.ln1, self.ln2 = nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.ffwd = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x):
        h = self.ln1(x)
        x = x + (torch.cat([head(h) for head in self.sa], dim=-1) if isinstance(self.sa, nn.ModuleList) else self.sa(h))  # expect: CUF006
        return x + self.ffwd(self.ln2(x))


class GPTLanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok, self.pos = nn.Embedding(len(chars), n_embd), nn.Embedding(block_size, n_embd)
        self.past = MaskedAverage()
        self.blocks = nn.Sequential(*[Block(i == 0) for i in range(n_layer)])
        self.lm_head = nn.Linear(n_embd, len(chars))

    def forward(self, idx, targets=None):
        x = self.tok(idx) + self.pos(torch.arange(idx.shape[1], device=idx.device))
        logits = self.lm_head(self.blocks(x + self.past(x)))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def generate(self, idx, max_new_tokens):
        out = []
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -block_size:])
            idx_next = torch.multinomial(F.softmax(logits[:, -1, :], dim=-1), num_samples=1)
            idx = torch.cat((idx, idx_next), dim=1)
            out.append(itos[int(idx_next)])  # expect: CUS004
        return "".join(out)


model = GPTLanguageModel().to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)  # expect: CUF012
for step in range(max_iters):
    if step % eval_interval == 0 or step == max_iters - 1:
        losses = estimate_loss()
        print(f"step {step}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")  # silent: CUS004 throttled, on the CPU
    xb, yb = get_batch("train")
    logits, loss = model(xb, yb)  # expect: CUP001
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
for prompt in ("\n", "ROMEO:", "JULIET:"):
    context = torch.tensor([[stoi[c] for c in prompt]], device=device)
    sample = model.generate(context, max_new_tokens=500)
    print(len(sample), model.lm_head.weight.norm().item())  # silent: CUS001 once per whole generation
