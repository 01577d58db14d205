/* SPDX-License-Identifier: MIT
 * Runs the files named on the command line through a fuzz target, each in a process of its
 * own, so that `make test` replays the corpora without libFuzzer. The last line is
 * "N passed, M failed". */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In the child: 0, or it dies, or 3 if the file cannot be read. */
static int run(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END))
        return 3;
    long n = ftell(f);
    uint8_t *data = n < 0 ? NULL : malloc(n ? (size_t)n : 1);
    if (!data || fseek(f, 0, SEEK_SET) || fread(data, 1, (size_t)n, f) != (size_t)n)
        return 3;
    fclose(f);
    LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;

    for (int i = 1; i < argc; i++) {
        int status = 0;
        pid_t child = fork();
        if (child == 0)
            exit(run(argv[i]));
        if (child > 0 && waitpid(child, &status, 0) == child && status == 0) {
            passed++;
            continue;
        }
        printf("%s: %s %d\n", argv[i], WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
