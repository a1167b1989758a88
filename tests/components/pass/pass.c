// Runs around guest-get-host-name and does nothing about it: what is left is what a wrap costs.

#include <stdlib.h>

#include "pass.h"

bool exports_waga_extension_handler_commands(pass_list_string_t *ret, pass_string_t *err) {
    ret->ptr = malloc(sizeof *ret->ptr);
    if (ret->ptr == NULL) {
        pass_string_dup(err, "no memory");
        return false;
    }
    pass_string_dup(ret->ptr, "guest-get-host-name");
    ret->len = 1;
    return true;
}

bool exports_waga_extension_handler_handle(pass_string_t *command, pass_string_t *arguments, pass_string_t *ret,
                                           exports_waga_extension_handler_error_t *err) {
    (void)command;
    return waga_extension_next_next(arguments, ret, err);
}
