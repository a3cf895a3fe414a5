"""The encoder/decoder of "Attention is all you need", trained on Multi30k."""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

from multi30k import BucketIterator, Vocab, load_pickle


class ScaledDotProductAttention(nn.Module):
    def __init__(self, temperature, attn_dropout=0.1):
        super().__init__()
        self.temperature = temperature
        self.dropout = nn.Dropout(attn_dropout)

    def forward(self, q, k, v, mask=None):
        attn = torch.matmul(q / self.temperature, k.transpose(2, 3))  # silent: CUF001 the weights are returned
        if mask is not None:
            attn = attn.masked_fill(mask == 0, -1e9)  # expect: CUN001
        attn = self.dropout(F.softmax(attn, dim=-1))
        output = torch.matmul(attn, v)
        return output, attn


def attention(query, key, value, mask=None, dropout=None):
    "Scaled dot product attention; only the decoder's self-attention uses this one."
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)  # expect: CUF001
    if mask is not None:
        scores = scores.masked_fill(mask == 0, value=-1e9)  # expect: CUN001
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value)


class MultiHeadAttention(nn.Module):
    def __init__(self, n_head, d_model, dropout=0.1, maps=True):
        super().__init__()
        self.n_head, self.d_k, self.maps = n_head, d_model // n_head, maps
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.attention = ScaledDotProductAttention(temperature=self.d_k**0.5)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(d_model, eps=1e-6)

    def forward(self, q, k, v, mask=None):
        residual = q
        q, k, v = (w(t).view(t.size(0), -1, self.n_head, self.d_k).transpose(1, 2) for w, t in ((self.w_qs, q), (self.w_ks, k), (self.w_vs, v)))
        mask = mask.unsqueeze(1) if mask is not None else None
        if self.maps:
            q, attn = self.attention(q, k, v, mask=mask)
        else:
            q, attn = attention(q, k, v, mask, self.dropout), None
        q = q.transpose(1, 2).flatten(2)
        return self.layer_norm(self.dropout(self.fc(q)) + residual), attn  # silent: CUF006 post-norm


class PositionalEncoding(nn.Module):
    def __init__(self, d, max_len=200):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d, 2) * -(math.log(10000.0) / d))  # silent: CUN001 a wavelength
        pe = torch.zeros(max_len, d)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x):
        return x + self.pe[: x.size(1)]


def cal_performance(pred, gold, trg_pad_idx, smoothing=0.1):
    loss = F.cross_entropy(pred, gold, ignore_index=trg_pad_idx, reduction="sum", label_smoothing=smoothing)
    non_pad_mask = gold.ne(trg_pad_idx)
    n_correct = pred.argmax(1).eq(gold).masked_select(non_pad_mask).sum().item()  # expect: CUS001
    n_word = non_pad_mask.sum().item()  # expect: CUS001
    return loss, n_correct, n_word


def train_epoch(model, training_data, optimizer, opt, device):
    model.train()
    total_loss, n_word_total, n_word_correct = 0, 0, 0
    for batch in tqdm(training_data, mininterval=2, desc="  - (Training)   ", leave=False):
        src_seq = batch.src.transpose(0, 1).to(device)  # silent: CUD004 another library's iterator
        trg_seq = batch.trg.transpose(0, 1).to(device)
        gold = trg_seq[:, 1:].contiguous().view(-1)
        optimizer.zero_grad()
        pred = model(src_seq, trg_seq[:, :-1])  # expect: CUP001
        loss, n_correct, n_word = cal_performance(pred, gold, opt.trg_pad_idx)
        loss.backward()
        optimizer.step()
        n_word_total += n_word
        n_word_correct += n_correct
        total_loss += loss.item()  # expect: CUS001
    return total_loss / n_word_total, n_word_correct / n_word_total


def print_performances(header, ppl, accu, start_time):
    print(f"  - {header:12} ppl: {ppl:8.5f}, accuracy: {100 * accu:3.3f} %, {(time.time() - start_time) / 60:3.3f} min")  # silent: CUS004 Python numbers


class Transformer(nn.Module):
    def __init__(self, n_src, n_trg, d_model=512, n_head=8, pad=1):
        super().__init__()
        self.pad = pad
        self.src, self.trg = nn.Embedding(n_src, d_model), nn.Embedding(n_trg, d_model)
        self.pe = PositionalEncoding(d_model)
        self.enc = MultiHeadAttention(n_head, d_model)
        self.slf = MultiHeadAttention(n_head, d_model, maps=False)
        self.cross = MultiHeadAttention(n_head, d_model)
        self.prj = nn.Linear(d_model, n_trg, bias=False)

    def forward(self, src_seq, trg_seq):
        keep = (src_seq != self.pad).unsqueeze(-2)
        length = trg_seq.size(1)
        future = torch.ones((1, length, length), device=trg_seq.device).tril().bool()
        enc = self.pe(self.src(src_seq))
        enc, _ = self.enc(enc, enc, enc, keep)
        dec = self.pe(self.trg(trg_seq))
        dec, _ = self.slf(dec, dec, dec, future)
        dec, _ = self.cross(dec, enc, enc, keep)
        return self.prj(dec).flatten(0, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-data_pkl", default="m30k_deen_shr.pkl")
    parser.add_argument("-epoch", type=int, default=10)
    parser.add_argument("-no_cuda", action="store_true")
    opt = parser.parse_args()
    np.random.seed(0)
    torch.manual_seed(0)
    device = torch.device("cpu" if opt.no_cuda else "cuda")
    data = load_pickle(opt.data_pkl)
    opt.trg_pad_idx = Vocab(data).pad
    training_data = BucketIterator(data["train"], batch_size=2048, device="cpu", train=True)
    model = Transformer(len(data["vocab"]["src"]), len(data["vocab"]["trg"])).to(device)
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98), eps=1e-09)  # expect: CUF012
    for epoch_i in range(opt.epoch):
        start = time.time()
        train_loss, train_accu = train_epoch(model, training_data, optimizer, opt, device)
        print_performances("Training", math.exp(min(train_loss, 100)), train_accu, start)


if __name__ == "__main__":
    main()
