"""A fix would have broken the syntax of the file and was withdrawn.

## What it does
`cudalint fix` parses the file again after its edits. Where the result does not parse as well as the
file did before, the fixes are tried one by one; those that break it are left out and reported here
with the rule that they belong to.

## Why is this bad
It is a bug of cudalint: please report it with the lines in question. The file keeps its code.
"""
