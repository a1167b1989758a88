// Two commands that differ by one call of the agent's guest-get-host-name, by its types: what that call costs is their difference.

#include "ask.h"

bool exports_test_ask_answers_guest_test_ask(exports_test_ask_answers_host_name_t *ret,
                                             exports_test_ask_answers_error_t *err) {
    return waga_guest_guest_get_host_name_guest_get_host_name(ret, err);
}

bool exports_test_ask_answers_guest_test_own(exports_test_ask_answers_host_name_t *ret,
                                             exports_test_ask_answers_error_t *err) {
    (void)err;
    ask_string_dup(&ret->host_name, "bench");
    return true;
}
