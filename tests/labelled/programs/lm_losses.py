"""Losses of language models and classifiers, as training code of several years writes them."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn import CrossEntropyLoss


class Decoder(nn.Module):
    def __init__(self, width, vocab_size, classes):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, width)
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        self.generator = nn.Linear(width, 32_000)
        self.score = nn.Linear(width, classes)
        self.softmax = nn.LogSoftmax(dim=1)
        self.criterion = nn.NLLLoss()

    def training_loss(self, hidden, labels):
        logits = self.lm_head(hidden)  # expect: CUF011
        shift_logits = logits[..., :-1, :].contiguous()
        shift_labels = labels[..., 1:].contiguous()
        loss_fct = CrossEntropyLoss()
        return loss_fct(shift_logits.view(-1, shift_logits.size(-1)), shift_labels.view(-1))

    def tied_loss(self, hidden, labels):
        rows = hidden.flatten(0, 1)
        logits = F.linear(rows, self.wte.weight)  # expect: CUF011
        return F.cross_entropy(logits.view(-1, logits.size(-1)).float(), labels.flatten())

    def wide_loss(self, hidden, labels):
        scores = self.generator(hidden)  # expect: CUF011
        return F.cross_entropy(scores.transpose(1, 2), labels, label_smoothing=0.1)

    def chosen_loss(self, hidden, labels):
        hidden = hidden.reshape(-1, hidden.size(-1))
        if self.training:
            logits = F.linear(hidden, self.wte.weight)  # expect: CUF011
        else:
            logits = self.lm_head(hidden)
        return F.cross_entropy(logits.float(), labels)

    def forward(self, hidden, labels=None):
        logits = self.lm_head(hidden)  # silent: CUF011 returned
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), labels.view(-1))
        return loss, logits

    def perplexity(self, hidden, labels):
        logits = self.lm_head(hidden).flatten(0, 1)  # silent: CUF011 the hits are counted
        hits = (logits.argmax(-1) == labels.flatten()).sum()
        return F.cross_entropy(logits, labels.flatten()).exp(), hits

    def classify(self, hidden, labels):
        pooled = self.score(hidden).mean(1)  # silent: CUF011 few classes
        return F.cross_entropy(pooled, labels)

    def next_token(self, hidden):
        logits = self.lm_head(hidden[:, -1]).float()  # silent: CUF011 sampled from
        return torch.multinomial(logits.softmax(-1), 1)

    def old_loss(self, hidden, labels):
        scores = self.softmax(self.score(hidden))  # expect: CUF010
        return self.criterion(scores, labels)

    def old_scores(self, hidden, labels):
        scores = self.softmax(self.score(hidden))  # silent: CUF010 returned
        return self.criterion(scores, labels), scores


def copied(logits, labels, vocab_size):
    logits = logits.float()  # expect: CUF010
    logits = logits.view(-1, vocab_size)
    return F.cross_entropy(logits, labels.view(-1), ignore_index=-1)


def inside(model, tokens):
    logits = model(tokens[:, :-1])
    flat = tokens[:, 1:].reshape(-1)
    return F.cross_entropy(logits.float().reshape(-1, logits.size(-1)), flat)  # expect: CUF010


def measured(logits, labels, vocab_size):
    logits = logits.float().view(-1, vocab_size)  # silent: CUF010 the z-loss reads them
    return F.cross_entropy(logits, labels) + 1e-4 * logits.logsumexp(-1).pow(2).mean()


def tempered(logits, labels, t):
    logits = (logits.float() / t).view(-1, 100)  # silent: CUF010 divided in float32
    return F.cross_entropy(logits, labels)


def surprise(logits):
    return -torch.log(torch.softmax(logits, dim=-1))  # expect: CUF010


def contrast(similarity, positives):
    p = F.softmax(similarity / 0.07, dim=1)  # expect: CUF010
    return -(torch.log(p + 1e-8) * positives).sum(1).mean()


def one_hot_loss(logits, labels, classes):
    targets = F.one_hot(labels, classes).float()  # expect: CUF010
    logp = F.log_softmax(logits, dim=-1)
    return -(targets * logp).sum(dim=-1).mean()


def smoothed(logits, labels, classes, eps):
    targets = F.one_hot(labels, classes).float() * (1 - eps) + eps / classes
    logp = F.log_softmax(logits, dim=-1)  # silent: CUF010 smoothed targets
    return -(targets * logp).sum(dim=-1).mean()


def distilled(logits, teacher):
    logp = F.log_softmax(logits, dim=-1)  # silent: CUF010 soft targets
    return -(F.softmax(teacher, dim=-1) * logp).sum(-1).mean()


def preferred(logits, tokens):
    logp = logits.float().log_softmax(-1)  # silent: CUF010 gathered per token
    return logp.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).sum(-1)
