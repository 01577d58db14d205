/* SPDX-License-Identifier: MIT
 * Checks that standard input is one JSON value a line and prints a member of each: strings
 * as they are, everything else as JSON. For the command line tests.
 *
 * usage: json_get PATH < JSON    PATH: members and indices joined by dots; "." = the value */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *find(json_t *value, const char *path)
{
    char name[128];

    if (!strcmp(path, "."))
        return value;
    while (value && *path) {
        size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        value = json_is_array(value) ? json_array_get(value, (size_t)strtoul(name, NULL, 10))
                                     : json_object_get(value, name);
        path += n + (path[n] == '.');
    }
    return value;
}

static int show(const char *line, size_t n, const char *path)
{
    json_error_t error;
    json_t *root = json_loadb(line, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL,
                              &error);

    if (!root) {
        fprintf(stderr, "json_get: %s at column %d\n", error.text, error.column);
        return 1;
    }
    json_t *value = find(root, path);
    if (json_is_string(value))
        puts(json_string_value(value));
    else if (value && !json_dumpf(value, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)))
        putchar('\n');
    json_decref(root);
    return value ? 0 : 1;
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    int rc = 0, lines = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: json_get PATH < JSON\n");
        return 2;
    }
    while (!rc && (n = getline(&line, &capacity, stdin)) > 0) {
        rc = show(line, (size_t)n, argv[1]);
        lines++;
    }
    free(line);
    return rc || !lines;
}
