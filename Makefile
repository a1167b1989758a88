# make run    build the agent, start it on a unix socket with agent.toml, show a real exchange
# make test   install what the tests need (Debian packages; root or sudo) and pass them all, skipping none
# make bench  waga and Debian's qemu-ga side by side, with the targets
# make lint   clippy and rustfmt, as CI has them
# make install, make uninstall   the agent as a service of this guest; PREFIX, DESTDIR (packaging/install says more)

CARGO ?= cargo
RUN := target/run

.PHONY: run test bench lint packages install uninstall

# The configuration is copied: the agent trusts no file that others may write, and a checkout may be such.
run:
	$(CARGO) build --release -p waga
	@mkdir -p $(RUN) && install -m 0600 agent.toml $(RUN)/agent.toml
	@target/release/waga -c $(RUN)/agent.toml & agent=$$!; trap 'kill $$agent; wait $$agent' EXIT; \
	call() { echo; echo "$$ waga call --socket $(RUN)/agent.sock $$*"; \
	    target/release/waga call --socket $(RUN)/agent.sock "$$@"; }; \
	until target/release/waga call --socket $(RUN)/agent.sock guest-ping >$(RUN)/ping 2>&1; do \
	    kill -0 $$agent || exit 1; sleep 0.1; done; \
	call guest-get-osinfo && \
	call guest-get-load && \
	call guest-exec path=uname 'arg=["-a"]' capture-output=true && \
	call guest-file-open path=/etc/hostname && \
	{ call guest-get-loda; test $$? -eq 1; }
	@echo; echo "Start it yourself: target/release/waga -c $(RUN)/agent.toml"
	@echo "What it has:       target/release/waga call --socket $(RUN)/agent.sock"

# The last line puts the same cases to qemu-ga alone: what they ask of waga is what the original does.
test: packages
	$(CARGO) test --manifest-path extensions/Cargo.toml --target-dir target
	WAGA_TESTS=all $(CARGO) test --workspace
	AGENT_BIN=/usr/sbin/qemu-ga $(CARGO) test -p waga-tests --test it

bench: packages
	$(CARGO) build --release -p waga -p waga-tests --bin waga --bin bench
	target/release/bench

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --manifest-path extensions/Cargo.toml --target-dir target --all-targets -- -D warnings
	$(CARGO) fmt --manifest-path extensions/Cargo.toml --all --check

packages:
	sh tests/install-packages

# After `cargo build --release`, which need not be done as root.
install:
	packaging/install

uninstall:
	packaging/install --remove
