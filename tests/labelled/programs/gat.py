"""Graph attention on Cora: dense first, then with an edge list."""

import argparse
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

from cora import accuracy, load_data


class GraphAttentionLayer(nn.Module):
    def __init__(self, in_features, out_features, dropout, alpha, concat=True):
        super().__init__()
        self.dropout, self.concat = dropout, concat
        self.W = nn.Parameter(torch.empty(in_features, out_features))
        self.a = nn.Parameter(torch.empty(2 * out_features, 1))
        nn.init.xavier_uniform_(self.W.data, gain=1.414)
        nn.init.xavier_uniform_(self.a.data, gain=1.414)
        self.leakyrelu = nn.LeakyReLU(alpha)

    def forward(self, h, adj):
        Wh = torch.mm(h, self.W)
        n = Wh.shape[1]
        e = self.leakyrelu(Wh @ self.a[:n] + (Wh @ self.a[n:]).T)  # silent: CUF001 additive scores, no product of q and k
        attention = e.masked_fill(adj <= 0, -9e15)  # expect: CUN001
        attention = F.softmax(attention, dim=1)
        attention = F.dropout(attention, self.dropout, training=self.training)
        h_prime = torch.matmul(attention, Wh)
        return F.elu(h_prime) if self.concat else h_prime


class DotProductGraphLayer(nn.Module):
    """Transformer-style scores over the adjacency matrix."""

    def __init__(self, dim):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.dim = dim

    def forward(self, x, adj):
        logits = torch.mm(self.q(x), self.k(x).t()) / self.dim**0.5
        logits = torch.where(adj > 0, logits, float("-inf"))  # silent: CUN001 infinite
        weights = torch.softmax(logits, dim=0)  # silent: CUF001 normalised over the queries
        return weights @ self.v(x)


class EdgeAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.lin = nn.Linear(dim, dim)
        self.att = nn.Linear(2 * dim, 1)

    def forward(self, x, edge_index):
        src, dst = edge_index
        x = self.lin(x)
        score = F.leaky_relu(self.att(torch.cat([x[src], x[dst]], dim=-1))).squeeze(-1)
        top = torch.full((x.size(0),), -1e9, device=x.device)  # silent: CUN001 an initial minimum
        top = top.scatter_reduce(0, dst, score, reduce="amax")
        w = torch.exp(score - top[dst])  # silent: CUF002 the maximum is subtracted
        total = torch.zeros_like(top).index_add(0, dst, w)
        out = torch.zeros_like(x).index_add(0, dst, x[src] * (w / total[dst]).unsqueeze(-1))
        return out


class GAT(nn.Module):
    def __init__(self, nfeat, nhid, nclass, dropout, alpha, nheads):
        super().__init__()
        self.dropout = dropout
        self.attentions = nn.ModuleList([GraphAttentionLayer(nfeat, nhid, dropout, alpha) for _ in range(nheads)])
        self.mix = DotProductGraphLayer(nhid * nheads)
        self.out_att = GraphAttentionLayer(nhid * nheads, nclass, dropout, alpha, concat=False)

    def forward(self, x, adj):
        x = F.dropout(x, self.dropout, training=self.training)
        x = torch.cat([att(x, adj) for att in self.attentions], dim=1)
        x = self.mix(F.dropout(x, self.dropout, training=self.training), adj)
        return F.log_softmax(F.elu(self.out_att(x, adj)), dim=1)


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10000)
parser.add_argument("--lr", type=float, default=0.005)
parser.add_argument("--patience", type=int, default=100)
args = parser.parse_args()

np.random.seed(72)
torch.manual_seed(72)
adj, features, labels, idx_train, idx_val, idx_test = load_data()
model = GAT(features.shape[1], 8, int(labels.max()) + 1, 0.6, 0.2, 8)  # silent: CUS004 once, before training
optimizer = optim.Adam(model.parameters(), lr=args.lr, weight_decay=5e-4)  # expect: CUF012
model.cuda()
features, adj, labels = features.cuda(), adj.cuda(), labels.cuda()  # silent: CUD004 once, not pinned


def train(epoch):
    t = time.time()
    model.train()
    optimizer.zero_grad()
    output = model(features, adj)  # expect: CUP001
    loss_train = F.nll_loss(output[idx_train], labels[idx_train])
    acc_train = accuracy(output[idx_train], labels[idx_train])
    loss_train.backward()
    optimizer.step()
    loss_val = F.nll_loss(output[idx_val], labels[idx_val])
    if epoch % 50 == 0:
        print(f"{epoch:04d} {loss_train.item():.4f} {acc_train.item():.4f} {time.time() - t:.2f}s")  # silent: CUS001 throttled
    return loss_val.item()  # expect: CUS001


best, bad_counter = args.epochs + 1, 0
for epoch in range(args.epochs):
    loss = train(epoch)
    if loss < best:
        best, bad_counter = loss, 0
    else:
        bad_counter += 1
    if bad_counter == args.patience:
        break

model.eval()
with torch.no_grad():
    output = model(features, adj)
    loss_test = F.nll_loss(output[idx_test], labels[idx_test])
    print("Test set results:", "loss= {:.4f}".format(loss_test.item()))  # silent: CUS001 after training
