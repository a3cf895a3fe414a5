"""The training half of a small library: models and loaders come from the caller."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)


@dataclass
class TrainerConfig:
    device: str = "cuda"
    max_steps: int = 1000
    log_every: int = 50
    clip: float = 1.0
    verbose: bool = False


class Trainer:
    def __init__(self, config: TrainerConfig, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.config = config
        self.device = torch.device(config.device)
        self.model = model.to(self.device)
        self.optimizer = optimizer
        self.history: list[float] = []

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self.model(batch["x"])
        return nn.functional.cross_entropy(logits, batch["y"])

    def step(self, batch: dict[str, Tensor]) -> tuple[Tensor, float]:
        batch = {name: value.to(self.device) for name, value in batch.items()}  # silent: CUD004 sources not known to be pinned
        loss = self.loss(batch)  # silent: CUP001 only an entry point may choose
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss, float(norm)  # expect: CUS004

    def fit(self, batches: Iterable[dict[str, Tensor]]) -> list[float]:
        self.model.train()
        smooth = None
        for index, batch in enumerate(batches):
            loss, norm = self.step(batch)
            value = loss.item()  # expect: CUS001
            smooth = value if smooth is None else 0.9 * smooth + 0.1 * value
            self.history.append(round(smooth, 6))  # silent: CUS004 a Python number
            if not math.isfinite(value):
                raise FloatingPointError(f"step {index}: {value}")  # silent: CUS004 a Python number
            if self.config.verbose:
                logger.info("loss %s, weights %.3f", loss.item(), sum(p.norm().item() for p in self.model.parameters()))  # silent: CUS001 verbose only
            if index % self.config.log_every == 0:
                logger.info("step %d: %.4f, norm %.2f" % (index, smooth, norm))  # silent: CUS004 throttled
            if index + 1 == self.config.max_steps:
                break
        return self.history

    @torch.no_grad()
    def score(self, batches: Iterable[dict[str, Tensor]]) -> float:
        self.model.eval()
        wrong: list[Tensor] = []
        sizes = np.zeros(0)
        for batch in batches:
            guess = self.model(batch["x"].to(self.device)).argmax(dim=-1)
            wrong.append((guess != batch["y"].to(self.device)).float().mean())
            sizes = np.append(sizes, len(batch["y"]))
            biggest = int(sizes.max())  # silent: CUS004 NumPy
            logger.debug("largest batch so far: %d", biggest)
        try:
            return 1.0 - torch.stack(wrong).mean().item()  # silent: CUS001 after the loop
        except RuntimeError:
            return float("nan")  # silent: CUS004 a constant


class Ema:
    def __init__(self, model: nn.Module, decay: float = 0.999):
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        for name, value in model.named_parameters():
            self.shadow[name].lerp_(value, 1.0 - self.decay)

    def drift(self, model: nn.Module) -> dict[str, float]:
        return {name: (self.shadow[name] - p).norm().item() for name, p in model.named_parameters()}  # silent: CUS001 a report, not a step loop
