"""GRPO in a loop of one's own: four calls into fastrl, and no trainer.

The prompt is a digit, the answer eight digits, the reward the share of answers that copy the
prompt. Needs `pip install 'fastrl[torch]'`; takes seconds on a CPU.
"""

import torch
from fastrl import group_advantages, policy_loss, token_log_probs
from torch import nn

DIGITS, LENGTH = 10, 8
PROMPTS, GROUP_SIZE = 16, 8


class Policy(nn.Module):
    def __init__(self, hidden=64):
        super().__init__()
        self.embed = nn.Embedding(DIGITS, hidden)
        self.cell = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, DIGITS)

    def forward(self, tokens, state=None):
        hidden, state = self.cell(self.embed(tokens), state)
        return self.head(hidden), state


@torch.no_grad()
def sample(policy, prompts):
    """[B, 1 + LENGTH] tokens: each prompt and its sampled answer."""
    tokens, state = [prompts[:, None]], None
    for _ in range(LENGTH):
        logits, state = policy(tokens[-1], state)
        tokens.append(torch.multinomial(logits[:, -1].softmax(-1), 1))
    return torch.cat(tokens, dim=1)


def main(steps=120):
    torch.manual_seed(0)
    policy = Policy()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    group_ids = torch.arange(PROMPTS).repeat_interleave(GROUP_SIZE)
    for step in range(steps):
        prompts = torch.randint(DIGITS, [PROMPTS]).repeat_interleave(GROUP_SIZE)
        tokens = sample(policy, prompts)
        answers = tokens[:, 1:]
        rewards = (answers == prompts[:, None]).float().mean(1)
        advantages = group_advantages(rewards, group_ids)

        logits, _ = policy(tokens[:, :-1])
        stats = token_log_probs(logits, answers, entropy=True, inplace_backward=True)
        mask = torch.ones_like(answers, dtype=torch.bool)
        loss, metrics = policy_loss(
            stats.log_probs, advantages, mask, entropies=stats.entropies.detach(), spec="grpo"
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:3d}  reward {rewards.mean():.2f}  entropy {metrics['entropy']:.2f}")


if __name__ == "__main__":
    main()
