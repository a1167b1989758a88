// A command that never ends. The agent ends it: it may compute for as long as its table in agent.toml says.

#include "runaway.h"

void exports_acme_runaway_commands_guest_acme_runaway(void) {
    for (volatile unsigned turns = 0;; turns++) {
    }
}
