# What one may ask of this folder. `make` alone lists it.
# As root on a fresh Debian 12 with nodejs, npm and make, `make demo` and `make test` each set up all they need.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The steps of one target build on one another; the tests run side by side by themselves.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# npm writes this file when it has installed all of package-lock.json.
modules := node_modules/.package-lock.json
entrance := dist/cli/main.js

.PHONY: help demo test lint bench build packages

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: packages $(entrance) ## watch a registry cross the gap, here on this machine
	@npm run --silent demo

test: packages $(entrance) ## run all tests; `make test only=test/archive` runs those of a folder
	@npm run --silent test -- $(only)

lint: $(modules) ## check types, style and generated files
	@node_modules/.bin/node --version >/dev/null 2>&1 || sh test/lab/setup.sh
	@npm run --silent lint

bench: packages $(entrance) ## measure against cp, tar and skopeo, in some minutes
	@npm run --silent bench

build: $(entrance) ## compile src/ into dist/

packages: ## install the Debian packages that demo, test and bench need
	@sh test/lab/setup.sh

# No package's own script runs: ssh2 and cpu-features would compile native parts that nothing here needs.
# npm 9, which Debian 12 has, forgets to link the `node` of one platform's package where it leaves out the
# other's; rebuild links it.
$(modules): package-lock.json
	@echo 'installing with npm ci' >&2
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2
	@test -e node_modules/.bin/node || npm rebuild --ignore-scripts --loglevel=error >/dev/null
	@touch $(modules)

# Folders count too: they change when a file goes.
$(entrance): $(modules) tsconfig.json tsconfig.build.json $(shell find src -type d -o -name '*.ts')
	@node_modules/.bin/node --version >/dev/null 2>&1 || sh test/lab/setup.sh
	@echo 'building dist/' >&2
	@npm run --silent build
