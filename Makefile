# make run    build the agent, start it on a unix socket with agent.toml, show a real exchange; it ends with a script to edit
# make test   install what the tests need (Debian packages; root or sudo) and pass them all, skipping none
# make bench  waga and Debian's qemu-ga side by side, and what extensions cost, with the targets
# make lint   clippy and rustfmt, as CI has them
# make install, make uninstall   the agent as a service of this guest; PREFIX, DESTDIR (packaging/install says more)

CARGO ?= cargo
RUN := target/run
# What builds components in JavaScript.
export PATH := $(CURDIR)/target/tools/javascript/node_modules/.bin:$(PATH)
# The agent trusts nothing below a folder that others may write to, and a checkout may be there: what it is to trust is copied.
TRUSTED := /tmp/waga-run-$(shell id -u)
# A workspace of its own, built into the same folder.
EXT := --manifest-path extensions/Cargo.toml --target-dir target

.PHONY: run toolkit test bench lint packages install uninstall

run:
	sh tests/install-packages c
	sh tests/install-packages script
	$(CARGO) build --release -p waga
	$(CARGO) build --release $(EXT)
	target/release/waga-ext build extensions/script -o target/release/script.wasm --cache $(RUN)/build
	@mkdir -p $(RUN) && mkdir -pm 0700 $(TRUSTED) && rm -f $(TRUSTED)/agent.toml && \
	install -m 0755 target/release/waga target/release/waga-ext $(TRUSTED) && \
	sed 's|"$(RUN)/|"$(TRUSTED)/|' examples/extensions.toml | cat agent.toml - >$(TRUSTED)/agent.toml && chmod 0600 $(TRUSTED)/agent.toml
	for name in greeting host-name runaway; do \
	    target/release/waga-ext build examples/$$name -o $(TRUSTED)/$$name.wasm --cache $(RUN)/build || exit 1; \
	    chmod go-w $(TRUSTED)/$$name.wasm; done
	@install -m 0644 target/release/script.wasm $(TRUSTED) && mkdir -pm 0755 $(TRUSTED)/scripts && \
	{ test -e $(TRUSTED)/scripts/hello.js || \
	  install -m 0644 examples/hello-script/hello-script/hello.js $(TRUSTED)/scripts; }
	@$(TRUSTED)/waga -c $(TRUSTED)/agent.toml & agent=$$!; trap 'kill $$agent; wait $$agent' EXIT; \
	call() { echo; echo "$$ waga call --socket $(RUN)/agent.sock $$*"; \
	    target/release/waga call --socket $(RUN)/agent.sock "$$@"; }; \
	fails() { call "$$@"; test $$? -eq 1; }; \
	until target/release/waga call --socket $(RUN)/agent.sock guest-ping >$(RUN)/ping 2>&1; do \
	    kill -0 $$agent || exit 1; sleep 0.1; done; \
	call guest-get-osinfo && \
	call guest-get-load && \
	call guest-exec path=uname 'arg=["-a"]' capture-output=true && \
	call guest-file-open path=/etc/hostname && \
	fails guest-get-loda && \
	echo && echo "Four extensions: one adds a command, one takes the place of one, one never ends, one is a script." && \
	call guest-acme-greet name=$${USER:-you} && \
	fails guest-acme-greet nam=you && \
	call guest-get-host-name && \
	fails guest-acme-runaway && \
	call guest-ping && \
	call waga-get-extensions && \
	{ for second in $$(seq 60); do \
	    target/release/waga call --socket $(RUN)/agent.sock guest-acme-hello >$(RUN)/ping 2>&1 && break; \
	    test $$second -gt 1 || echo "The engine of scripts is compiled, once ..."; sleep 1; done; } && \
	call guest-acme-hello name=$${USER:-you}
	@echo; echo "Start it yourself: $(TRUSTED)/waga -c $(TRUSTED)/agent.toml &"
	@echo "What it has:       target/release/waga call --socket $(RUN)/agent.sock"
	@echo "Your own command:  change $(TRUSTED)/scripts/hello.js, let the agent see it by kill -HUP %1, and"
	@echo "                   target/release/waga call --socket $(RUN)/agent.sock guest-acme-hello name=you"

# The compiler of extensions and the engine of scripts, beside the agent that looks for them.
toolkit:
	$(CARGO) build $(EXT)
	target/debug/waga-ext build extensions/script -o target/debug/script.wasm --cache target/examples

# The third command is the packs' own tests, the fourth the daemon without extensions. The last puts the same cases to qemu-ga alone: what
# they ask of waga is what the original does.
test: packages toolkit
	WAGA_TESTS=all $(CARGO) test --workspace
	WAGA_TESTS=all $(CARGO) test $(EXT)
	for pack in net-filter fs-usage exec-guard nvidia-smi pg-quiesce; do \
	    $(CARGO) test --manifest-path extensions/$$pack/Cargo.toml --target-dir target/examples/test || exit 1; done
	$(CARGO) test -p waga --no-default-features --lib
	AGENT_BIN=/usr/sbin/qemu-ga $(CARGO) test -p waga-tests --test it

bench: packages
	$(CARGO) build --release $(EXT)
	$(CARGO) build --release -p waga -p waga-tests --bin waga --bin bench
	target/release/bench

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p waga --no-default-features --all-targets -- -D warnings
	$(CARGO) clippy $(EXT) --all-targets -- -D warnings
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path extensions/Cargo.toml

packages:
	sh tests/install-packages

# After `cargo build --release`, which need not be done as root.
install:
	packaging/install

uninstall:
	packaging/install --remove
