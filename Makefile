# Every target sets up what it needs from nothing, without root: a virtual environment and pinned dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/tools
export PYTHONDONTWRITEBYTECODE :=
# Set to nothing: else every process that the tests and the demo start compiles the kit anew.

.PHONY: help demo run new update test coverage check faults hostile fuzz bench format docs lock sbom audit clean

help:                 ## list these targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1 \2/p' $(MAKEFILE_LIST) | while read -r make target text; do \
	    printf '  make %-9s %s\n' "$$target" "$$text"; done

demo: $(INSTALLED)    ## start everything, send every event twice, check what happened, stop everything
	$(call needs,examples/sender examples/handlers)@$(BIN)/python -m examples.demo

run: $(INSTALLED)     ## run the kit on this machine until Ctrl-C, its data in .data/
	@$(BIN)/python -m worker.up

new: $(INSTALLED)     ## a package of your own, and .env set to use it: make new NAME=acme
	@$(BIN)/python -m worker.new "$(NAME)"

update:               ## merge a newer kit into this one: make update FROM=https://…, a remote's name or a folder
	git fetch $(or $(FROM),$(error FROM is not set: make update FROM=https://host/kit.git, a remote or a folder)) HEAD
	git merge --no-edit FETCH_HEAD

test: $(INSTALLED)    ## the tests, against a real Valkey and real processes
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE)

coverage: $(INSTALLED) ## the same, and which lines they ran
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --cov
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED)   ## format, lint, strict types, who imports whom, known weaknesses of the packages
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@said=$$($(BIN)/lint-imports --no-cache --no-logo $(CONTRACTS)) || { echo "$$said"; exit 1; }
	@.ci/audit $(TOOLS)
CONTRACTS = pyproject.toml $(wildcard examples/contracts.toml examples/sender/contracts.toml)

bench: $(INSTALLED)   ## how fast it is, beside what else there is: the table, tests/bench/README.md and its chart
	$(call needs,examples/sender)@$(BIN)/python -m tests.bench --write $(addprefix --python ,$(NEWEST))

format: $(INSTALLED)  ## put the code in its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

faults: $(INSTALLED)  ## kill, freeze, fill and disconnect everything while events arrive; the ledger at the end
	$(call needs,examples/handlers/audit_log examples/handlers/external_system)@$(BIN)/python -m tests.faults
	@$(BIN)/python -m pytest -m faults

hostile: $(INSTALLED) ## strangers at the public port beside a steady sender, who must not notice
	@$(BIN)/python -m tests.hostile

fuzz: $(INSTALLED)    ## ten thousand strange requests at the whole kit, other ones each time
	$(call needs,examples/handlers/audit_log examples/handlers/external_system examples/handlers/teams)@FUZZ_EXAMPLES=10000 $(BIN)/python -m pytest tests/end_to_end/test_fuzz.py

docs: $(INSTALLED)    ## write the parts of README.md, docs and .env.example that are made from the code
	@$(BIN)/python -m tests.test_readme

lock: $(INSTALLED)    ## pin the dependencies of pyproject.toml anew
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile $(LOCK) pyproject.toml --extra traces --group dev -o requirements-dev.lock
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --upgrade

sbom: $(TOOLS)/.installed ## write sbom.json: every package of the image, for CycloneDX
	@PYTHONWARNINGS=ignore $(TOOLS)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o sbom.json requirements.lock

audit: $(TOOLS)/.installed ## ask PyPI whether a weakness of a package of the image is known
	@$(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps -r requirements.lock

needs = $(foreach part,$(1),$(if $(wildcard $(part)),,$(error make $@: needs $(part), which was deleted)))

clean:                ## remove the virtual environment and caches; .data/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .coverage*

$(INSTALLED): requirements-dev.lock
	@echo "installing into $(VENV) …"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(TOOLS)/.installed: $(INSTALLED)
	@$(BIN)/python -m venv $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@touch $@
