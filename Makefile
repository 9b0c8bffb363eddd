# Each verb sets up all that it needs. PYTHON chooses the interpreter that .venv is made with.
PYTHON ?= python3
export PYTHON
VENV := .venv/bin
LIFETIME ?= 60
PYTEST_ARGS ?=
# Whole files to as many workers as there are processors: tests of one file share their hosts.
WORKERS ?= -n auto --dist loadfile
# What the tests run, as COMMAND=PACKAGE; those of a command that is not there say so.
TOOLS := sshd=openssh-server ssh=openssh-client curl=curl git=git node=nodejs npm=npm gcc=gcc \
	setpriv=util-linux useradd=passwd systemd-socket-activate=systemd groff=groff-base zsh=zsh

.DEFAULT_GOAL := test
.PHONY: demo test lint packages e2e clean .venv
.DELETE_ON_ERROR:

demo: .venv/ready-demo
	.ci/need sshd=openssh-server ssh=openssh-client
	$(VENV)/python -m tests.e2e.demo --lifetime $(LIFETIME)

test: .venv/ready-test
	.ci/need --soft $(TOOLS)
	PYTHON=/usr/bin/python3 .ci/need --soft python3:ensurepip=python3-venv
ifeq ($(strip $(PYTEST_ARGS)),)
	# Every line and branch of agent/api/ by its own tests; then all the others.
	$(VENV)/python -m pytest $(WORKERS) --cov=agent.api --cov-branch --cov-fail-under=100 tests/api
	$(VENV)/python -m pytest $(WORKERS) --ignore=tests/api
else
	$(VENV)/python -m pytest $(WORKERS) $(PYTEST_ARGS)
endif

lint: .venv/ready-test .venv/ready-lint
	$(VENV)/ruff check agent tests
	$(VENV)/ruff format --check agent tests
	$(VENV)/mypy agent tests

# dist/: the deb and the rpm, each by its distribution's own tools, as lintian and rpmlint want them.
packages:
	.ci/need dpkg-buildpackage=dpkg-dev lintian=lintian rpmbuild=rpm rpmlint=rpmlint \
	    checkmodule=checkpolicy semodule_package=semodule-utils bzip2=bzip2
	packaging/build-deb
	packaging/build-rpm
	packaging/lint

# Booted Debian hosts with the packages on them; as root. HOSTS chooses some of them.
HOSTS ?=
e2e: packages .venv/ready-test
	.ci/need mmdebstrap=mmdebstrap systemd-nspawn=systemd-container ip=iproute2 nsenter=util-linux \
	    ssh=openssh-client ssh-keygen=openssh-client
	$(VENV)/python -m tests.e2e.hosts $(HOSTS)

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage *.egg-info

.venv: .venv/ready-test .venv/ready-lint

$(VENV)/python:
	.ci/need python3=python3 python3:ensurepip=python3-venv
	$(PYTHON) -m venv .venv

# One stamp for each set of dependencies (an extra of pyproject.toml), so that a second run is quick.
.venv/ready-%: pyproject.toml | $(VENV)/python
	$(VENV)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	touch $@
