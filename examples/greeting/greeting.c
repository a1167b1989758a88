// A command that greets people. It reads its configuration and writes to the agent's log; wit/greeting.wit says so.
//
// greeting.h is made from wit/ by `waga-ext build`. Nothing here is of stdio.h: what that needs of WASI would be
// asked of the operator, too.

#include <string.h>

#include "greeting.h"

// A part of a text.
struct text {
    const char *start;
    size_t length;
};

static struct text text_of(const char *literal) {
    return (struct text){literal, strlen(literal)};
}

// Finds the string `greeting` in an object of JSON that has no other string with that name. False if it is written in
// a way that would take a whole parser to read.
static bool find_greeting(greeting_string_t json, struct text *found) {
    static const char key[] = "\"greeting\":\"";
    const char *end = (const char *)json.ptr + json.len;
    for (const char *at = (const char *)json.ptr; at + sizeof key - 1 <= end; at++) {
        if (memcmp(at, key, sizeof key - 1) != 0) {
            continue;
        }
        at += sizeof key - 1;
        const char *quote = memchr(at, '"', (size_t)(end - at));
        if (quote == NULL || memchr(at, '\\', (size_t)(quote - at)) != NULL) {
            return false;
        }
        *found = (struct text){at, (size_t)(quote - at)};
        return true;
    }
    return true;
}

static void append(char **at, struct text part) {
    memcpy(*at, part.start, part.length);
    *at += part.length;
}

static void log_debug(const char *message) {
    greeting_string_t text;
    greeting_string_set(&text, message);
    waga_extension_log_log(WAGA_EXTENSION_LOG_LEVEL_DEBUG, &text);
}

// The command. It returns true with `ret`, or false with `err`: the description of an error reply. `maybe_manner` is
// null if the caller named none.
bool exports_acme_greeting_greetings_guest_acme_greet(greeting_string_t *name,
                                                      exports_acme_greeting_greetings_manner_t *maybe_manner,
                                                      greeting_string_t *ret, greeting_string_t *err) {
    if (name->len == 0 || name->len > 100) {
        greeting_string_dup(err, "a name has 1 to 100 bytes");
        return false;
    }

    greeting_string_t config;
    waga_extension_config_get(&config);
    struct text greeting = text_of("Hello");
    if (!find_greeting(config, &greeting) || greeting.length > 100) {
        greeting_string_dup(err, "greeting in config is no plain text of at most 100 bytes");
        return false;
    }

    bool formal = maybe_manner != NULL && *maybe_manner == EXPORTS_ACME_GREETING_GREETINGS_MANNER_FORMAL;
    char line[300];
    char *end = line;
    append(&end, greeting);
    append(&end, text_of(", "));
    append(&end, (struct text){(const char *)name->ptr, name->len});
    append(&end, text_of(formal ? "." : "!"));
    greeting_string_dup_n(ret, line, (size_t)(end - line));

    log_debug("somebody was greeted");
    greeting_string_free(&config);
    greeting_string_free(name);
    return true;
}
