// Adds guest-@name@ to the agent: wit/@name@.wit says what it takes and gives.
//
// @name_@.h is made from wit/ by `waga-ext build`, which says where it is.

#include <string.h>

#include "@name_@.h"

static void log_info(const char *message) {
    @name_@_string_t text;
    @name_@_string_set(&text, message);
    waga_extension_log_log(WAGA_EXTENSION_LOG_LEVEL_INFO, &text);
}

// Returns true with `told`, or false with `error`: the description of an error reply. What it gives away is freed
// when it was sent.
bool exports_example_extension_commands_guest_@name_@(@name_@_string_t *name, @name_@_string_t *told,
                                                      @name_@_string_t *error) {
    static const char before[] = "Hello, ", after[] = "!";
    if (name->len == 0) {
        @name_@_string_dup(error, "there is nobody to greet");
        return false;
    }

    size_t length = strlen(before) + name->len + strlen(after);
    char text[length];
    memcpy(text, before, strlen(before));
    memcpy(text + strlen(before), name->ptr, name->len);
    memcpy(text + length - strlen(after), after, strlen(after));
    @name_@_string_dup_n(told, text, length);

    log_info("somebody was greeted");
    @name_@_string_free(name);
    return true;
}
