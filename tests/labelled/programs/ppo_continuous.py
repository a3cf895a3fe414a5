"""Clean single-file PPO for continuous actions, vectorised environments."""

import argparse
import random
import time

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
from torch.distributions.normal import Normal
from torch.utils.tensorboard import SummaryWriter


def layer_init(layer, std=np.sqrt(2), bias_const=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias_const)
    return layer


class Agent(nn.Module):
    def __init__(self, envs):
        super().__init__()
        obs_dim = int(np.prod(envs.single_observation_space.shape))  # silent: CUS004 NumPy
        act_dim = int(np.prod(envs.single_action_space.shape))  # silent: CUS004 NumPy
        self.critic = nn.Sequential(layer_init(nn.Linear(obs_dim, 64)), nn.Tanh(), layer_init(nn.Linear(64, 1), std=1.0))
        self.actor_mean = nn.Sequential(layer_init(nn.Linear(obs_dim, 64)), nn.Tanh(), layer_init(nn.Linear(64, act_dim), std=0.01))
        self.actor_logstd = nn.Parameter(torch.zeros(1, act_dim))

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        mean = self.actor_mean(x)
        std = torch.exp(self.actor_logstd.expand_as(mean))
        probs = Normal(mean, std)
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action).sum(1), probs.entropy().sum(1), self.critic(x)


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuda", type=lambda x: bool(x == "1"), default=True)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--num-steps", type=int, default=256)
    parser.add_argument("--num-updates", type=int, default=1000)
    parser.add_argument("--target-kl", type=float, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    args = parse_args()
    writer = SummaryWriter("runs/ppo")
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    device = torch.device("cuda" if torch.cuda.is_available() and args.cuda else "cpu")
    envs = gym.vector.SyncVectorEnv([lambda: gym.make("HalfCheetah-v4") for _ in range(args.num_envs)])
    agent = Agent(envs).to(device)
    optimizer = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)  # expect: CUF012

    shape = (args.num_steps, args.num_envs)
    obs = torch.zeros(shape + envs.single_observation_space.shape, device=device)
    actions = torch.zeros(shape + envs.single_action_space.shape, device=device)
    logprobs, rewards, dones, values = (torch.zeros(shape, device=device) for _ in range(4))

    global_step = 0
    start = time.time()
    next_obs = torch.tensor(envs.reset(seed=1)[0], dtype=torch.float32, device=device)
    next_done = torch.zeros(args.num_envs, device=device)
    for update in range(1, args.num_updates + 1):
        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
                values[step] = value.flatten()
            actions[step], logprobs[step] = action, logprob
            next_obs_np, reward, terminated, truncated, infos = envs.step(action.cpu().numpy())
            mean_reward = np.mean(reward).item()  # silent: CUS001 NumPy
            best_reward = float(reward.max())  # silent: CUS004 NumPy from the environment
            rewards[step] = torch.as_tensor(reward, device=device).view(-1)
            next_obs = torch.as_tensor(next_obs_np, dtype=torch.float32, device=device)
            next_done = torch.as_tensor(np.logical_or(terminated, truncated), dtype=torch.float32, device=device)
            writer.add_scalar("charts/reward", mean_reward, global_step)
            writer.add_scalar("charts/best_reward", best_reward, global_step)

        with torch.no_grad():
            next_value = agent.get_value(next_obs).reshape(1, -1)
            advantages = torch.zeros_like(rewards)
            lastgaelam = 0
            for t in reversed(range(args.num_steps)):
                nonterminal = 1.0 - (next_done if t == args.num_steps - 1 else dones[t + 1])
                nextvalues = next_value if t == args.num_steps - 1 else values[t + 1]
                delta = rewards[t] + 0.99 * nextvalues * nonterminal - values[t]
                advantages[t] = lastgaelam = delta + 0.99 * 0.95 * nonterminal * lastgaelam
            returns = advantages + values

        b_obs, b_actions = obs.flatten(0, 1), actions.flatten(0, 1)
        b_logprobs, b_adv, b_returns = logprobs.flatten(), advantages.flatten(), returns.flatten()
        b_inds = np.arange(b_adv.numel())
        clipfracs = []
        for epoch in range(10):
            np.random.shuffle(b_inds)
            for lo in range(0, b_inds.size, 512):
                mb = b_inds[lo : lo + 512]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb], b_actions[mb])  # expect: CUP001
                logratio = newlogprob - b_logprobs[mb]
                ratio = logratio.exp()
                with torch.no_grad():
                    approx_kl = ((ratio - 1) - logratio).mean()
                    clipfracs += [((ratio - 1.0).abs() > 0.2).float().mean().item()]  # expect: CUS001
                adv = b_adv[mb]
                adv = (adv - adv.mean()) / (adv.std() + 1e-8)
                pg_loss = torch.max(-adv * ratio, -adv * torch.clamp(ratio, 0.8, 1.2)).mean()
                v_loss = 0.5 * ((newvalue.view(-1) - b_returns[mb]) ** 2).mean()
                loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
                kl = float(approx_kl)  # expect: CUS004
                if args.target_kl is not None and kl > args.target_kl:
                    break

        if update % 10 == 0:
            writer.add_scalar("losses/value_loss", v_loss.item(), global_step)  # silent: CUS001 throttled
            writer.add_scalar("losses/policy_loss", pg_loss.item(), global_step)  # silent: CUS001 throttled
        writer.add_scalar("losses/clipfrac", np.mean(clipfracs), global_step)
        sps = int(global_step / (time.time() - start))  # silent: CUS004 Python numbers
        print(f"SPS: {sps}")
