// Does with files what a test asks for, by the functions of a libc.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

#define ROOM 65536

static char room[ROOM];

static const char *kind(mode_t mode) {
    return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "folder" : S_ISLNK(mode) ? "link" : S_ISCHR(mode) ? "device" : "other";
}

static int put(const char *path, int flags, const char *text) {
    int file = open(path, flags, 0666);
    if (file < 0) {
        return -1;
    }
    size_t length = strlen(text);
    if (write(file, text, length) != (ssize_t)length) {
        int error = errno;
        close(file);
        errno = error;
        return -1;
    }
    return close(file);
}

static int get(const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) {
        return -1;
    }
    ssize_t length = read(file, room, ROOM - 1);
    int error = errno;
    close(file);
    errno = error;
    return length < 0 ? -1 : (room[length] = 0);
}

static int list(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return -1;
    }
    size_t length = 0;
    room[0] = 0;
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(folder)) != NULL) {
        const char *of = entry->d_type == DT_REG ? "file" : entry->d_type == DT_DIR ? "folder" : entry->d_type == DT_LNK ? "link" : "other";
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && length + 300 < ROOM) {
            length += (size_t)snprintf(room + length, ROOM - length, "%s %s\n", of, entry->d_name);
        }
    }
    int error = errno;
    closedir(folder);
    errno = error;
    return error == 0 ? 0 : -1;
}

static int status(const char *path, int (*ask)(const char *, struct stat *)) {
    struct stat is;
    if (ask(path, &is) != 0) {
        return -1;
    }
    snprintf(room, ROOM, "%s %lld %lld", kind(is.st_mode), (long long)is.st_size, (long long)is.st_nlink);
    return 0;
}

static int hold(const char *path) {
    int count = 0;
    while (open(path, O_RDONLY) >= 0) {
        count++;
    }
    snprintf(room, ROOM, "%d, then %s", count, strerror(errno));
    return 0;
}

static int touch(const char *path) {
    struct timespec times[2] = {{0, 0}, {0, 0}};
    return utimensat(AT_FDCWD, path, times, 0);
}

static int follow(const char *path) {
    ssize_t length = readlink(path, room, ROOM - 1);
    return length < 0 ? -1 : (room[length] = 0);
}

static char *text(const files_string_t *string) {
    char *text = malloc(string->len + 1);
    memcpy(text, string->ptr, string->len);
    text[string->len] = 0;
    return text;
}

static int act(exports_test_files_operations_what_t what, const char *path, const char *other) {
    switch (what) {
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_READ:
        return get(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_WRITE:
        return put(path, O_WRONLY | O_CREAT | O_TRUNC, other);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_APPEND:
        return put(path, O_WRONLY | O_APPEND, other);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_CREATE:
        return put(path, O_WRONLY | O_CREAT | O_EXCL, other);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_TRUNCATE:
        return truncate(path, 1);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_LIST:
        return list(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_STAT:
        return status(path, stat);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_LSTAT:
        return status(path, lstat);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_READLINK:
        return follow(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_MKDIR:
        return mkdir(path, 0777);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_RMDIR:
        return rmdir(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_UNLINK:
        return unlink(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_RENAME:
        return rename(path, other);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_SYMLINK:
        return symlink(other, path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_LINK:
        return link(other, path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_TOUCH:
        return touch(path);
    case EXPORTS_TEST_FILES_OPERATIONS_WHAT_HOLD:
        return hold(path);
    }
    errno = EINVAL;
    return -1;
}

bool exports_test_files_operations_guest_test_file(exports_test_files_operations_what_t what, files_string_t *path,
                                                   files_string_t *maybe_other, files_string_t *ret,
                                                   files_string_t *err) {
    room[0] = 0;
    if (act(what, text(path), maybe_other == NULL ? "" : text(maybe_other)) != 0) {
        files_string_dup(err, strerror(errno));
        return false;
    }
    files_string_dup(ret, room);
    return true;
}

bool exports_test_files_operations_guest_test_sum(files_string_t *path, uint32_t piece, files_tuple2_u64_u64_t *ret,
                                                  files_string_t *err) {
    int file = open(text(path), O_RDONLY);
    unsigned char *bytes = malloc(piece);
    ssize_t length = -1;
    *ret = (files_tuple2_u64_u64_t){0, 0};
    while (file >= 0 && (length = read(file, bytes, piece)) > 0) {
        ret->f0 += (uint64_t)length;
        for (ssize_t at = 0; at < length; at++) {
            ret->f1 += bytes[at];
        }
    }
    if (length < 0) {
        files_string_dup(err, strerror(errno));
        return false;
    }
    return true;
}
