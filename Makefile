# Each verb sets up all that it needs. PYTHON chooses the interpreter that .venv is made with.
PYTHON ?= python3
export PYTHON
VENV := .venv/bin
LIFETIME ?= 60
PYTEST_ARGS ?=
# A worker gets whole files, since tests of one file share their hosts; two workers per processor, since most
# of the longest tests wait; in the order of the names, so that these do not come last.
WORKERS ?= -n $(shell expr 2 \* $$(nproc)) --dist loadfile --no-loadscope-reorder
# A plain path in a .pth file, not an import hook: the venv's Python starts in half the time.
EDITABLE := --config-settings editable_mode=compat --editable
# What compiles the helper for arm64, and runs it here. LLVM's linker omits padding that GNU ld adds.
ARM64 := aarch64-linux-gnu-gcc=gcc-aarch64-linux-gnu ld.lld=lld \
	/usr/aarch64-linux-gnu/include/stdio.h=libc6-dev-arm64-cross
QEMU := qemu-aarch64-static=qemu-user-static
# What the tests run, as COMMAND=PACKAGE; a test whose command is missing reports it.
TOOLS := sshd=openssh-server lib:libgcrypt.so.20=libgcrypt20 ssh=openssh-client ssh-agent=openssh-client rsync=rsync curl=curl git=git node=nodejs npm=npm gcc=gcc \
	setpriv=util-linux ip=iproute2 useradd=passwd systemd-socket-activate=systemd groff=groff-base zsh=zsh \
	/usr/include/stdio.h=libc6-dev clang=clang readelf=binutils strace=strace valgrind=valgrind \
	/etc/ssl/certs/ca-certificates.crt=ca-certificates $(ARM64) $(QEMU)

.DEFAULT_GOAL := test
.PHONY: bench-fleet storm demo demo-fleet tools test once test-floors test-newest bench helper lint style types structure screenshots packages e2e fuzz clean .venv
.DELETE_ON_ERROR:

demo: .venv/ready-demo
	.ci/need sshd=openssh-server ssh=openssh-client
	$(VENV)/python -m tests.e2e.demo --lifetime $(LIFETIME)

# A fleet: three servers of the bus, two gateways, four hosts. As root, each host has a network of its own.
demo-fleet: .venv/ready-demo-fleet
	.ci/need sshd=openssh-server ssh=openssh-client unshare=util-linux ip=iproute2
	$(VENV)/python -m tests.e2e.fleet_demo

tools:
	.ci/need --soft $(TOOLS)
	PYTHON=/usr/bin/python3 .ci/need --soft python3:ensurepip=python3-venv

# Byte code, although an environment may forbid to write it: the tests start our programs thousands of times.
test: export PYTHONDONTWRITEBYTECODE :=
test: .venv/ready-test tools
ifeq ($(strip $(PYTEST_ARGS)),)
	# Every line and branch of agent/sources/api/ is covered by its own tests; all other tests run at the same time.
	mkdir -p build
	$(VENV)/python -m pytest $(WORKERS) -n $$(nproc) --cov=agent.sources.api --cov-branch --cov-fail-under=100 \
	    tests/sources/api >build/test-api.log 2>&1 & api=$$!; outcome=0; \
	$(VENV)/python -m pytest $(WORKERS) --ignore=tests/sources/api || outcome=$$?; \
	if wait $$api; then tail -n 2 build/test-api.log; else outcome=$$?; cat build/test-api.log; fi; exit $$outcome
else
	$(VENV)/python -m pytest $(WORKERS) $(PYTEST_ARGS)
endif

# A hundred rounds of eight racing logins with a one-time key, the daemon killed in half of them; as root.
once: .venv/ready-test
	SIXTYKEY_ROUNDS=100 $(VENV)/python -m pytest -rP tests/e2e/test_one_time.py -k crashes

# The oldest Python and the oldest version of every dependency (tests/floors.txt), and the newest of
# all: the main job's first test, and all other tests except those of load and of the walk through the modules,
# which do not depend on versions.
FLOOR ?= $(shell .ci/python 3.9)
NEWEST ?= $(shell .ci/python 3.14 3.13)
OLD_AND_NEW := $(filter-out %/test_hostile.py %/test_walk.py,$(wildcard tests/test_*.py \
	$(foreach part,config host leases audit lookup sources sources/api sources/feed sources/metadata helper client,tests/$(part)/test_*.py))) \
	tests/faults/test_time.py tests/faults/test_journal_disk.py \
	tests/e2e/test_main_job.py::test_a_pushed_key_logs_in

test-floors: PINS := --constraint tests/floors.txt
test-floors: build/venv-floors/ready tools
	build/venv-floors/bin/python -m pytest $(WORKERS) $(PYTEST_ARGS) $(OLD_AND_NEW)

test-newest: build/venv-newest/ready tools
	build/venv-newest/bin/python -m pytest $(WORKERS) $(PYTEST_ARGS) $(OLD_AND_NEW)

build/venv-floors/ready: INTERPRETER = $(FLOOR)
build/venv-newest/ready: INTERPRETER = $(NEWEST)
build/venv-%/ready: pyproject.toml tests/floors.txt
	@test -n "$(INTERPRETER)" || { echo "no interpreter for $*: see .ci/python" >&2; exit 1; }
	$(INTERPRETER) -m venv build/venv-$*
	build/venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	    $(PINS) $(EDITABLE) '.[test]'
	touch $@

# The programs that sshd and PAM run, compiled for this host in the same way as in the packages.
helper: build/authorized-keys build/pam-account

build/authorized-keys: agent/helper/authorized_keys.c
build/pam-account: agent/helper/pam_account.c
build/authorized-keys build/pam-account: agent/helper/build
	.ci/need cc=gcc /usr/include/stdio.h=libc6-dev
	mkdir -p build
	SOURCE=$(filter %.c,$^) agent/helper/build $@ -s

# Some ten minutes on an idle machine; writes build/bench.json and a plot.
bench: .venv/ready-test .venv/ready-bench
	.ci/need sshd=openssh-server ssh=openssh-client gcc=gcc objcopy=binutils /usr/include/stdio.h=libc6-dev \
	    userdbctl=systemd-userdbd unshare=util-linux useradd=passwd curl=curl openssl=openssl
	PYTHON=/usr/bin/python3 .ci/need python3:paramiko=python3-paramiko \
	    python3:cachetools=python3-cachetools python3:yaml=python3-yaml python3:h11=python3-h11
	$(VENV)/python -m tests.benchmarks $(FIGURES)

# A fleet with FLEET_HOSTS simulated hosts and real ones among them, some eight minutes on a machine
# that is idle: two processors and 10 GiB for 100,000. Writes build/bench-fleet.json and a plot.
FLEET_HOSTS ?= 100000

bench-fleet: .venv/ready-test
	$(VENV)/python -m tests.benchmarks.fleet --hosts $(FLEET_HOSTS)

# STORM_PUSHES pushes through a fleet whose servers, gateways, connectors and daemons are killed at
# random: each 200 is compared with the host's lookup socket. Some ten minutes.
STORM_PUSHES ?= 10000

storm: .venv/ready-test
	$(VENV)/python -m tests.fleet.storm --pushes $(STORM_PUSHES)

# Each target in tests/fuzz/ for FUZZ_SECONDS. atheris has wheels for Python 3.11 to 3.13 on x86-64:
# if PYTHON is another one, set FUZZ_PYTHON to one of these.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?=
FUZZ_PYTHON ?= $(shell .ci/python 3.13 3.12 3.11)

fuzz: build/venv-fuzz/ready
	.ci/need clang=clang
	ls "$$(clang -print-runtime-dir)"/libclang_rt.fuzzer* >/dev/null 2>&1 || .ci/need libfuzzer=libclang-rt-dev
	build/venv-fuzz/bin/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

build/venv-fuzz/ready: pyproject.toml
	@test -n "$(FUZZ_PYTHON)" || { echo "no Python 3.11 to 3.13 for atheris: see .ci/python" >&2; exit 1; }
	$(FUZZ_PYTHON) -m venv build/venv-fuzz
	build/venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check \
	    --only-binary atheris $(EDITABLE) '.[fuzz]'
	touch $@

# The picture of a terminal in README.md, from a real run of the demo.
screenshots: .venv/ready-screenshots
	.ci/need sshd=openssh-server ssh=openssh-client
	$(VENV)/python -m tests.e2e.screenshots docs/demo.svg

# Every Python file that git tracks, including launchers; what users run also with the types of Python on macOS,
# which lacks some of Linux's calls; and the structure of the source. The hooks in .pre-commit-config.yaml run the same.
lint: style types structure

style types: SOURCES = $(shell $(VENV)/python -m tests.parts.project)
types: CLIENT = agent/client agent/cli.py $(patsubst %,agent/commands/%.py, \
	ssh proxy login logout ssh_config hosts known_hosts why why_host explanations terminal options)

style: .venv/ready-test .venv/ready-lint
	@echo "ruff: $(words $(SOURCES)) files"
	@$(VENV)/ruff check $(SOURCES)
	@$(VENV)/ruff format --check $(SOURCES)

types: .venv/ready-test .venv/ready-lint
	@echo "mypy --strict: $(words $(SOURCES)) files"
	@$(VENV)/mypy --scripts-are-modules $(SOURCES)
	@$(VENV)/mypy --platform darwin --cache-dir .mypy_cache/darwin $(CLIENT)

structure: .venv/ready-test
	$(VENV)/python -m pytest $(WORKERS) --quiet tests/test_structure.py tests/test_sizes.py tests/test_published.py \
	    tests/test_threats.py tests/test_docs.py

# dist/: a deb and an rpm for this machine's processor and for arm64, each by its distribution's own tools,
# as lintian and rpmlint want them. The rpm's libraries come from PyPI, as packaging/rpm/vendor.lock pins them.
packages: | $(VENV)/python
	.ci/need dpkg-buildpackage=dpkg-dev lintian=lintian rpmbuild=rpm rpmlint=rpmlint \
	    checkmodule=checkpolicy semodule_package=semodule-utils bzip2=bzip2 \
	    gcc=gcc /usr/include/stdio.h=libc6-dev $(ARM64)
	PYTHON=$(VENV)/python packaging/build-deb
	PYTHON=$(VENV)/python packaging/build-rpm
	packaging/lint
	$(VENV)/python packaging/vendor newer packaging/rpm/vendor.lock packaging/nats.lock

# Booted Debian hosts with the packages on them; as root. HOSTS chooses some of them: names, `loaded`, `others`.
HOSTS ?=
e2e: packages .venv/ready-test
	.ci/need sesearch=setools semodule=policycoreutils matchpathcon=selinux-utils strace=strace \
	    mmdebstrap=mmdebstrap systemd-nspawn=systemd-container ip=iproute2 nsenter=util-linux \
	    ssh=openssh-client ssh-keygen=openssh-client openssl=openssl cpio=cpio $(QEMU)
	$(VENV)/python -m tests.e2e.hosts $(HOSTS)

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage *.egg-info

.venv: .venv/ready-test .venv/ready-lint

$(VENV)/python:
	.ci/need python3=python3 python3:ensurepip=python3-venv
	$(PYTHON) -m venv .venv

# One stamp for each set of dependencies (an extra of pyproject.toml), so that a second run is quick.
.venv/ready-%: pyproject.toml | $(VENV)/python
	$(VENV)/python -m pip install --quiet --disable-pip-version-check $(EDITABLE) '.[$*]'
	touch $@
