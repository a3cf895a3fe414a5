"""A suppression names a rule that does not exist.

## What it does
Reports a code that starts with `CU`, or a name in the brackets of `# cudalint: ignore[…]`, that no
rule has.

## Why is this bad
It hides nothing: the finding that it was written for is reported all the same, or was never there.

## Example
```python
loss.item()  # cudalint: ignore[CUS0O1]
```

## Use instead
```python
loss.item()  # cudalint: ignore[CUS001]
```

## Fix safety
Safe, and offered where exactly one rule's code or name is one edit away.
"""
