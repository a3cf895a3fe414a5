#!/usr/bin/env python
"""Fine-tunes a sequence classifier on GLUE with Accelerate, no Trainer."""

import argparse
import logging
import math

import evaluate
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, get_scheduler

logger = logging.getLogger(__name__)


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("--task_name", default="mrpc")
    parser.add_argument("--model_name_or_path", default="bert-base-cased")
    parser.add_argument("--per_device_batch_size", type=int, default=16)
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--logging_steps", type=int, default=50)
    parser.add_argument("--with_tracking", action="store_true")
    return parser.parse_args()


def main():
    args = parse_args()
    accelerator = Accelerator(mixed_precision="bf16", gradient_accumulation_steps=args.gradient_accumulation_steps)
    set_seed(42)
    raw = load_dataset("glue", args.task_name)
    tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
    model = AutoModelForSequenceClassification.from_pretrained(args.model_name_or_path, num_labels=2)

    def preprocess(examples):
        result = tokenizer(examples["sentence1"], examples["sentence2"], truncation=True)
        result["labels"] = examples["label"]
        return result

    processed = raw.map(preprocess, batched=True, remove_columns=raw["train"].column_names)
    collator = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)
    train_dataloader = DataLoader(  # expect: CUD001
        processed["train"], shuffle=True, collate_fn=collator, batch_size=args.per_device_batch_size
    )
    eval_dataloader = DataLoader(processed["validation"], collate_fn=collator, batch_size=args.per_device_batch_size, pin_memory=False)  # expect: CUD001

    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)  # expect: CUF012
    steps_per_epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
    max_train_steps = args.num_train_epochs * steps_per_epoch
    lr_scheduler = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=max_train_steps)
    model, optimizer, train_dataloader, eval_dataloader, lr_scheduler = accelerator.prepare(
        model, optimizer, train_dataloader, eval_dataloader, lr_scheduler
    )
    metric = evaluate.load("glue", args.task_name)
    logger.info(f"  Total optimization steps = {max_train_steps}")  # silent: CUS004 an integer

    progress_bar = tqdm(range(max_train_steps), disable=not accelerator.is_local_main_process)
    completed_steps = 0
    for epoch in range(args.num_train_epochs):
        model.train()
        total_loss = 0
        for step, batch in enumerate(train_dataloader):
            with accelerator.accumulate(model):
                outputs = model(**batch)  # silent: CUP001 mixed_precision is given
                loss = outputs.loss
                total_loss += loss.detach().float()  # silent: CUS004 a tensor's dtype
                accelerator.backward(loss)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            progress_bar.update(1)
            progress_bar.set_postfix(loss=loss.item(), lr=lr_scheduler.get_last_lr()[0])  # expect: CUS001
            completed_steps += 1
            if args.with_tracking and completed_steps % args.logging_steps == 0:
                accelerator.log({"train_loss": loss.item()}, step=completed_steps)  # silent: CUS001 throttled
            if completed_steps >= max_train_steps:
                break

        model.eval()
        for step, batch in enumerate(eval_dataloader):
            with torch.no_grad():
                outputs = model(**batch)
            predictions = outputs.logits.argmax(dim=-1)
            predictions, references = accelerator.gather((predictions, batch["labels"]))
            metric.add_batch(predictions=predictions, references=references)
        eval_metric = metric.compute()
        logger.info(f"epoch {epoch}: {eval_metric}")
        mean_loss = total_loss.item() / len(train_dataloader)  # silent: CUS001 once per epoch, after the loop
        logger.info("epoch %d: train loss %.4f" % (epoch, mean_loss))  # silent: CUS004 Python numbers
    accelerator.end_training()


if __name__ == "__main__":
    main()
