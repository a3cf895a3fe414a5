"""Deep Q-learning on Atari with a replay memory; PyTorch under a short name."""

import math
import random
from collections import deque, namedtuple
from itertools import count

import gymnasium as gym
import numpy as np
import torch as th
import torch.nn as nn
import torch.optim as O
from torch.nn import functional as F

device = th.device("cuda" if th.cuda.is_available() else "cpu")
Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))
BATCH_SIZE, GAMMA, EPS_START, EPS_END, EPS_DECAY, TAU = 128, 0.99, 0.9, 0.05, 1000, 0.005


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque([], maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 128)
        self.layer2 = nn.Linear(128, 128)
        self.layer3 = nn.Linear(128, n_actions)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


env = gym.make("CartPole-v1")
state, info = env.reset()
policy_net = DQN(len(state), env.action_space.n).to(device)
target_net = DQN(len(state), env.action_space.n).to(device)
target_net.load_state_dict(policy_net.state_dict())
optimizer = O.AdamW(policy_net.parameters(), lr=1e-4, amsgrad=True)  # expect: CUF012
memory = ReplayMemory(10000)
steps_done = 0


def select_action(state):
    global steps_done
    eps = EPS_END + (EPS_START - EPS_END) * math.exp(-1.0 * steps_done / EPS_DECAY)
    steps_done += 1
    if random.random() > eps:
        with th.no_grad():
            return policy_net(state).max(1).indices.view(1, 1)
    return th.tensor([[env.action_space.sample()]], device=device, dtype=th.long)


def optimize_model():
    if len(memory) < BATCH_SIZE:
        return None
    batch = Transition(*zip(*memory.sample(BATCH_SIZE)))
    mask = th.tensor([s is not None for s in batch.next_state], device=device, dtype=th.bool)
    non_final = th.cat([s for s in batch.next_state if s is not None])
    states, actions, rewards = th.cat(batch.state), th.cat(batch.action), th.cat(batch.reward)
    q = policy_net(states).gather(1, actions)  # expect: CUP001
    next_values = th.zeros(BATCH_SIZE, device=device)
    with th.no_grad():
        next_values[mask] = target_net(non_final).max(1).values
    loss = nn.SmoothL1Loss()(q, (next_values * GAMMA + rewards).unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss.item()  # expect: CUS001


def soft_update():
    target, policy = target_net.state_dict(), policy_net.state_dict()
    for key, value in policy.items():  # silent: CUS001 a dict's items
        target[key] = value * TAU + target[key] * (1 - TAU)
    target_net.load_state_dict(target)


durations, losses = [], []
for i_episode in range(600):
    state, info = env.reset()
    state = th.tensor(state, dtype=th.float32, device=device).unsqueeze(0)
    total_reward = 0.0
    for t in count():
        action = select_action(state)
        observation, reward, terminated, truncated, _ = env.step(action.item())  # expect: CUS001
        total_reward += float(reward)  # silent: CUS004 a number from the environment
        height = np.abs(observation).max().item()  # silent: CUS001 NumPy
        reward = th.tensor([reward - 0.01 * height], device=device)
        done = terminated or truncated
        next_state = None if terminated else th.tensor(observation, dtype=th.float32, device=device).unsqueeze(0)
        memory.push(state, action, next_state, reward)
        state = next_state
        loss = optimize_model()
        if loss is not None:
            losses.append(loss)
        soft_update()
        if done:
            durations.append(t + 1)
            break
    if i_episode % 20 == 0:
        recent = th.tensor(durations[-100:], dtype=th.float)
        print(f"{i_episode}: {recent.mean().item():.1f} steps, return {total_reward:.1f}")  # silent: CUS001 throttled, and on the CPU
