"""A suppression of ours hides nothing.

## What it does
Reports each code, prefix or name of a cudalint rule in a suppression that hid no finding:
`# noqa: CUS001`, `# cudalint: ignore[item-in-step-loop]`, `// NOLINT(CUK001)` and their kin.
Never reported: a blanket `# noqa` or `// NOLINT` (other tools read them), codes of other tools, and
codes of rules that this run did not select.

## Why is this bad
It says that something is wrong where nothing is, and it will hide the next real finding.

## Example
```python
loss = loss.detach()  # noqa: CUS001
```

## Use instead
```python
loss = loss.detach()
```

## Fix safety
Safe: removes only our codes. The codes of other tools and the reason stay; a comment that is empty
then goes.
"""
