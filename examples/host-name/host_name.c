// Answers guest-get-host-name in the agent's place, with the name that the operator has for this guest.
//
// host_name.h is made from wit/ by `waga-ext build`. Nothing here is of stdio.h: what that needs of WASI would be
// asked of the operator, too.

#include <string.h>

#include "host_name.h"

// Finds the string `host-name` in an object of JSON that has no other string with that name. False if there is none,
// or if it is written in a way that would take a whole parser to read.
static bool find_name(host_name_string_t json, host_name_string_t *found) {
    static const char key[] = "\"host-name\":\"";
    size_t length = sizeof key - 1;
    for (size_t at = 0; at + length <= json.len; at++) {
        if (memcmp(json.ptr + at, key, length) != 0) {
            continue;
        }
        uint8_t *start = json.ptr + at + length;
        uint8_t *quote = memchr(start, '"', json.len - at - length);
        if (quote == NULL || memchr(start, '\\', (size_t)(quote - start)) != NULL) {
            return false;
        }
        *found = (host_name_string_t){start, (size_t)(quote - start)};
        return found->len > 0;
    }
    return false;
}

// The command. It returns true with `ret`, or false with `err`: what the error reply says.
bool exports_waga_guest_guest_get_host_name_guest_get_host_name(
    exports_waga_guest_guest_get_host_name_host_name_t *ret,
    exports_waga_guest_guest_get_host_name_error_t *err) {
    host_name_string_t config, name;
    waga_extension_config_get(&config);
    bool found = find_name(config, &name);
    if (found) {
        host_name_string_dup_n(&ret->host_name, (const char *)name.ptr, name.len);
    } else {
        host_name_string_dup(&err->class_, "GenericError");
        host_name_string_dup(&err->desc, "config has no host-name, or one with characters that JSON escapes");
    }
    host_name_string_free(&config);
    return found;
}
