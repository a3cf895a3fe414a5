# try: the linter on the shipped examples, without torch · test: all tests, with what they need
PYTHON ?= python3
LINT := .venv-lint/bin
TEST := .venv/bin

.PHONY: try test lint new bench docs clean

try: $(LINT)/cudalint
	$(LINT)/cudalint check examples --isolated || test $$? -eq 1

test: $(TEST)/.ready
	$(TEST)/python -m pytest $(ARGS)

lint: $(TEST)/.ready
	$(TEST)/ruff check . && $(TEST)/ruff format --check . && $(TEST)/mypy
	$(TEST)/cudalint check cudalint tests tools benchmarks

new: $(TEST)/.ready
	$(TEST)/python -m tools.new_rule $(NAME)

docs: $(TEST)/.ready
	$(TEST)/python -m tools.rule_pages

bench: $(TEST)/.ready
	$(TEST)/python -m benchmarks.linter

$(LINT)/cudalint: pyproject.toml
	$(PYTHON) -m venv .venv-lint && $(LINT)/python -m pip install -q . && touch $@

# torch first and pinned: a range would take the newest build with gigabytes of CUDA packages.
$(TEST)/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(TEST)/python -m pip install -q torch==2.13.0
	$(TEST)/python -m pip install -q -e '.[test,dev]'
	touch $@

clean:
	rm -rf .venv .venv-lint build dist *.egg-info .cudalint_cache
