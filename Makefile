# Autobook: everything runs from here. `make` alone lists what there is.
#
# Needs python3 (3.11 or newer) and make. Every target that runs our code brings the environment up to date first.

PYTHON ?= python3
PY     := .venv/bin/python
# Two workers: payments tests wait more than they compute, and two cores are what CI gives us.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help setup stack demo test faults faults-process lint format types migrate migrate-status function-tokens reconcile doctor status audit audit-verify user-export user-erase bench-cold reset-local clean
.PHONY: package deploy deploy-secrets deploy-smoke deploy-local test-deploy

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

setup: ## Create .venv from uv.lock (quick when it is up to date)
	@$(PYTHON) -m local.setup

stack: setup ## Run everything on loopback until Ctrl-C; addresses and keys go to .local/stack.json
	@exec $(PY) -m local.stack

demo: setup ## Play one auto-booking from saved card to confirmed booking, and end
	@exec $(PY) -m local.demo

test: setup ## Lint, types and every test; ARGS="tests/local -k gateway" narrows the tests
	@exec $(PY) -m local.check --workers $(WORKERS) -- $(ARGS)

faults-process: setup ## Kill Postgres, gateway and queue under load for MINUTES=1, then show that nothing was lost
	@exec $(PY) -m local.faults.process --minutes $(or $(MINUTES),1) $(if $(SEED),--seed $(SEED))

faults: setup ## Simulate worlds under faults, 10,000 unless SCHEDULES= or MINUTES= say so; SEED= replays one
	@exec $(PY) -m local.faults $(if $(SEED),--seed $(SEED)) $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(MINUTES),--minutes $(MINUTES))

lint: setup ## ruff and sqlfluff, changing nothing
	@exec $(PY) -m local.check --only lint

format: setup ## Let ruff and sqlfluff format what they can
	@exec $(PY) -m local.check --only format

types: setup ## mypy --strict
	@exec $(PY) -m local.check --only types

migrate: setup ## Apply sql/ and policies/ to DATABASE_URL (direct or session connection, no transaction pooler)
	@exec $(PY) -m local.cli migrate up $(if $(LIVE),--live)

migrate-status: setup ## Say which migrations DATABASE_URL has, lacks, or has in another wording
	@exec $(PY) -m local.cli migrate status

function-tokens: setup ## Mint a token for each Lambda's database role, for a real project's secret store
	@exec $(PY) -m local.cli function-tokens

reconcile: setup ## Look for what was left open, in the local stack or the environment's project; APPLY=1 does it, live with LIVE=1
	@exec $(PY) -m local.cli reconcile $(if $(APPLY),--apply) $(if $(LIVE),--live)

doctor: setup ## Look an environment over and say what to do about what is wrong; ARGS="--env-file staging.env"
	@exec ./autobook doctor $(ARGS)

status: setup ## Show the numbers that matter against their limits; ARGS="--window 86400 --env-file prod.env"
	@exec ./autobook status $(ARGS)

audit: setup ## bandit, known vulnerabilities, licences and hashes of what is deployed; status 3 if unknown
	@exec $(PY) -m local.audit

audit-verify: setup ## Check the audit log against itself and the rows; EXPECT=<id:hash> also against an earlier head
	@exec $(PY) -m local.cli audit-verify $(if $(EXPECT),--expect $(EXPECT))

user-export: setup ## Print all that is held of a person: PERSON=<uuid>
	@exec $(PY) -m local.cli export $(PERSON)

user-erase: setup ## Clear what identifies a person, keeping the accounts: PERSON=<uuid> YES=1
	@exec $(PY) -m local.cli erase $(PERSON) $(if $(YES),--yes) $(if $(LIVE),--live)

package: setup ## Make build/lambda/<function>.zip: each function's own code and dependencies, the same bytes each time
	@exec $(PY) -m local.deploy.package

deploy: setup ## Package and deploy to AWS, and see what answers: STAGE=dev|staging|prod ENV_FILE=… (docs/deploy.md)
	@exec $(PY) -m local.deploy aws --stage $(STAGE) $(if $(ENV_FILE),--env-file $(ENV_FILE))

deploy-secrets: setup ## Write each function's secret at AWS from the environment: STAGE=dev|staging|prod
	@exec $(PY) -m local.deploy secrets --stage $(STAGE) $(if $(ENV_FILE),--env-file $(ENV_FILE))

deploy-smoke: setup ## Ask each deployed function how it is: STAGE=dev|staging|prod
	@exec $(PY) -m local.deploy smoke --stage $(STAGE) $(if $(ENV_FILE),--env-file $(ENV_FILE))

deploy-local: setup ## The same deployment on an emulator of AWS, until Ctrl-C; ONCE=1 ends after the first answers
	@exec $(PY) -m local.deploy local $(if $(ONCE),--once)

test-deploy: setup ## Boot the packages, check template and roles, deploy to the emulator and play the story there
	@AUTOBOOK_NO_SKIPS=1 AUTOBOOK_SLOW=1 exec $(PY) -m pytest tests/deploy

bench-cold: setup ## Cold start of the handlers, imported and packaged, beside a bare fastapi + supabase + stripe function
	@exec $(PY) -m local.bench_cold

reset-local: setup ## End what a crashed stack left behind and forget its state
	@exec $(PY) -m local.reset

clean: ## Remove the environment, caches and local state
	@if [ -x $(PY) ]; then $(PY) -m local.reset; fi
	@rm -rf .venv .local .mypy_cache .ruff_cache .pytest_cache .hypothesis build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
