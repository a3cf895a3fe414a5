"""Hot, throttled and cold code, row by row: each comment says which."""

from __future__ import annotations

import pytest

from tests.facts.asking import facts_of, statements

STEP = """
import torch
from torch.utils.data import DataLoader

loader = DataLoader(dataset, batch_size=8)
"""

CASES = {
    "loops over loaders": STEP
    + """
for batch in loader:
    read()  # hot
for i, (x, y) in enumerate(loader):
    read()  # hot
bar = tqdm(enumerate(loader), total=len(loader))
for i, batch in bar:
    read()  # hot
with tqdm(loader) as progress:
    for batch in progress:
        read()  # hot
for a, b in zip(loader, other):
    read()  # hot
for name in names:
    read()  # cold
read()  # cold
""",
    "epochs are no steps": STEP
    + """
for epoch in range(10):
    before()  # cold
    for x, y in loader:
        optimizer.zero_grad()  # hot
        for name in names:
            nested()  # hot
    after()  # cold
    scheduler.step()  # cold
""",
    "a full batch is a step": """
import torch
for epoch in range(200):
    loss = model(x)  # hot
    loss.backward()
    optimizer.step()  # hot
""",
    "accumulation": """
import torch
while True:
    for micro in range(4):
        loss = model(x)  # hot
        loss.backward()
    optimizer.step()
    log()  # hot
""",
    "optimizers are parts of a step": """
import torch
for _ in range(steps):
    losses = model(x)  # hot
    for loss in losses:
        loss.backward()
    for optimizer in optimizers:
        optimizer.step()
""",
    "evaluation": """
import torch
model.eval()
with torch.no_grad():
    for x in inputs:
        out = model(x)  # hot
for x in inputs:
    prepare(x)  # cold

@torch.inference_mode()
def answer(model, questions):
    for q in questions:
        out = model(q)  # hot
    return out
""",
    "decoding": """
import torch
def sample(model, idx, n):
    for _ in range(n):
        logits = model(idx)  # hot
        token = logits[:, -1].argmax(-1)
        idx = torch.cat([idx, token], 1)
    return idx

for prompt in prompts:
    text = model.generate(prompt)  # cold
""",
    "hooks": """
import torch
import torch.nn as nn
class Net(nn.Module):
    def __init__(self):
        build()  # cold
    def forward(self, x):
        return x  # hot
class Lit(LightningModule):
    def training_step(self, batch, batch_idx):
        log()  # hot
    def on_train_epoch_end(self):
        log()  # cold
    def on_train_batch_end(self, *args):
        log()  # hot
class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x  # cold
def forward(x):
    return x  # cold
""",
    "called from a loop": STEP
    + """
def helper(x):
    return x  # hot
def rare(x):
    return x  # cold
def step(batch):
    return helper(batch)  # hot
def twice(x):
    return x  # hot
for i, batch in enumerate(loader):
    step(batch)
    list(map(lambda v: twice(v), batch))
    if i % 100 == 0:
        rare(batch)
""",
    "methods": """
import torch
class Trainer:
    def fit(self, loader):
        for batch in loader:
            self.step(batch)  # hot
        self.report()
    def step(self, batch):
        self.loss = self.model(batch)  # hot
    def report(self):
        print()  # cold
""",
    "a step that another file calls": """
import torch
class Agent:
    def learn(self, batch):
        loss = self.net(batch)  # hot
        loss.backward()
        self.optimizer.step()
        return loss
def test_learning():
    loss = model(x)  # cold
    loss.backward()
    optimizer.step()
""",
    "closures": """
import torch
for _ in range(20):
    def closure():
        loss = model(x)  # hot
        loss.backward()
        return loss
    optimizer.step(closure)
""",
    "lambdas that run later": STEP
    + """
for batch in loader:
    check(ok, lambda: (
        message()
    ))
    hook(lambda v: v)  # hot
""",
    "graph training in two functions": """
import torch
def train():
    loss = model(data.x)  # hot
    loss.backward()
    optimizer.step()
    return loss
def train_epoch(loader):
    for batch in loader:
        loss = model(batch)
        loss.backward()
        optimizer.step()
for epoch in range(100):
    loss = train()  # hot
for epoch in range(3):
    train_epoch(data)  # cold
""",
}

THROTTLED = {
    "remainders": """
    if step % 10 == 0:
        read()  # rare
    if (step + 1) % args.every == 0 and rank == 0:
        read()  # rare
    if not step % 10:
        read()  # rare
    if step % 10:
        read()  # hot
    else:
        read()  # rare
    if step % 10 != 0:
        read()  # hot
    if last or step % 10 == 0:
        read()  # hot
    if last_batch or step % 10 == 0:
        read()  # rare
    if step & 15 == 0:
        read()  # rare
""",
    "steps by name": """
    if step in {1, 10, 100}:
        read()  # rare
    if step == 0:
        read()  # rare
    if step == len(loader) - 1:
        read()  # rare
    if step >= total - 1:
        read()  # rare
    if step < 3:
        read()  # rare
    if step > warmup:
        read()  # hot
    if phase == "train":
        read()  # hot
    if rank == 0:
        read()  # hot
    if local_rank in (-1, 0):
        read()  # hot
""",
    "flags": """
    if verbose:
        read()  # rare
    if args.debug:
        read()  # rare
    if should_log(step):
        read()  # rare
    do_log = step % 50 == 0
    if do_log:
        read()  # rare
    if use_wandb:
        read()  # hot
    if time.time() - last_time > 60:
        read()  # rare
    if accelerator.sync_gradients:
        read()  # hot
""",
    "early continue": """
    read()  # hot
    if step % 10 != 0:
        continue
    read()  # rare
""",
    "early continue of few": """
    if batch is None:
        continue
    read()  # hot
""",
    "ends": """
    try:
        read()  # hot
    except RuntimeError:
        read()  # rare
    if loss > best:
        read()  # rare
        break
    if bad:
        read()  # rare
        return
    if broken:
        read()  # rare
        raise ValueError
    if not math.isfinite(loss):
        read()  # rare
    if found:
        read()  # hot
        continue
    assert ok
    for item in batch:
        if item:
            read()  # hot
            break
""",
    "expressions": """
    a = read() if step % 10 == 0 else None  # hot
""",
}


def _answer(facts: object, node: object) -> str:
    loops = facts.loops  # type: ignore[attr-defined]
    if loops.hot(node) is not None:
        return "hot"
    return "rare" if loops.throttled(node) else "cold"


@pytest.mark.parametrize("name", CASES)
def test_hot_code(name: str) -> None:
    facts = facts_of(CASES[name])
    rows = list(statements(facts))
    assert rows
    for node, expected in rows:
        assert _answer(facts, node) == expected, facts.source.row(node.start_byte)


@pytest.mark.parametrize("name", THROTTLED)
def test_throttled_code(name: str) -> None:
    head = "import torch\nfor step, batch in enumerate(loader):\n"
    facts = facts_of(head + THROTTLED[name].lstrip("\n"))
    for node, expected in statements(facts):
        row = facts.source.row(node.start_byte) + 1
        assert _answer(facts, node) == expected, (row, facts.code(node))


def test_only_the_rare_arm_of_an_expression_is_throttled() -> None:
    facts = facts_of(
        """
        import torch
        for step, batch in enumerate(loader):
            a = x.item() if step % 10 == 0 else y.item()
            step % 10 == 0 and z.item()
        """
    )
    hot = [facts.loops.hot(call) is not None for call in facts.calls("item")]
    assert hot == [False, True, False]


def test_reasons_in_words() -> None:
    facts = facts_of(
        """
        import torch
        class Net(torch.nn.Module):
            def forward(self, x):
                return x.item()
        for batch in loader:
            batch.item()
        """
    )
    said = [facts.loops.describe(facts.loops.hot(call)) for call in facts.calls("item")]  # type: ignore[arg-type]
    assert said == ["in `forward`, which runs every step", "in the loop at line 6"]


def test_hot_functions_of_the_settings_are_hooks() -> None:
    from cudalint.facts.python import PythonFacts
    from cudalint.model import PackageFacts, Source
    from cudalint.settings import Settings

    text = b"import torch\ndef act(x):\n    return x.item()\n"
    facts = PythonFacts(Source("a.py", text), Settings(hot_functions=("act",)), PackageFacts())
    assert facts.loops.hot(next(facts.calls("item"))) is not None


def test_deep_brackets_do_not_break_it() -> None:
    text = (
        "import torch\nfor b in loader:\n    x = "
        + "(" * 3000
        + "1"
        + ")" * 3000
        + "\n    y.item()\n"
    )
    facts = facts_of(text)
    assert facts.loops.hot(next(facts.calls("item"))) is not None
