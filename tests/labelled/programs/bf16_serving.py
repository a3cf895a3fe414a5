"""A small text service: the weights are bfloat16, one request at a time."""

import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "Qwen/Qwen2.5-1.5B-Instruct"


def load(device):
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, torch_dtype=torch.bfloat16).to(device)
    return tokenizer, model.eval()


@torch.inference_mode()
def stream(model, tokenizer, prompt, device, limit=256, temperature=0.8):
    ids = tokenizer(prompt, return_tensors="pt").input_ids.to(device)  # silent: CUD004 one prompt, not pinned
    cache = None
    generated = []
    for _ in range(limit):
        out = model(ids, past_key_values=cache, use_cache=True)  # silent: CUP001 bfloat16 weights
        cache = out.past_key_values
        probs = torch.softmax(out.logits[:, -1].float() / temperature, dim=-1)
        ids = torch.multinomial(probs, 1)
        token = ids.item()  # expect: CUS001
        if token == tokenizer.eos_token_id:
            break
        generated.append(token)
    return tokenizer.decode(generated)


@torch.inference_mode()
def beam(model, tokenizer, prompt, device, width=4, limit=64):
    ids = tokenizer(prompt, return_tensors="pt").input_ids.to(device).repeat(width, 1)
    scores = torch.full((width,), -1e9, device=device)  # silent: CUN001 an initial minimum
    scores[0] = 0.0
    for _ in range(limit):
        logp = model(ids).logits[:, -1].float().log_softmax(-1)
        total = (scores[:, None] + logp).flatten()
        scores, flat = total.topk(width)
        parent, token = flat // logp.size(-1), flat % logp.size(-1)
        ids = torch.cat([ids[parent], token[:, None]], dim=-1)
        if bool((token == tokenizer.eos_token_id).all()):  # expect: CUS004
            break
    return tokenizer.decode(ids[int(scores.argmax())])  # silent: CUS004 after the loop


def main():
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer, model = load(device)
    for line in sys.stdin:
        begin = time.perf_counter()
        text = stream(model, tokenizer, line.strip(), device)
        seconds = float(time.perf_counter() - begin)  # silent: CUS004 a Python number
        print(f"{seconds:.2f} s: {text}")  # silent: CUS004 Python values
    for prompt in ("Write a haiku.", "Count to ten."):
        tokens = model.generate(tokenizer(prompt, return_tensors="pt").input_ids.to(device), max_new_tokens=64)
        print(int(tokens.shape[-1]), tokens.sum().item())  # silent: CUS001, CUS004 once per whole generation


if __name__ == "__main__":
    main()
