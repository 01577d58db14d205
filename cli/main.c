/* SPDX-License-Identifier: MIT
 * gosset: the program. Finds the command, parses its options, runs it. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "terminal.h"

static const struct command *const commands[] = {
    &command_inspect, &command_convert,  &command_quantize, &command_run,
    &command_chat,    &command_eval,     &command_tokenize, &command_bench,
    &command_train,   &command_imatrix,  &command_delta,    &command_recipes,
    &command_pack,    &command_unpack,   &command_compare,
};

static void print_help(void)
{
    printf("gosset %s: quantizes, measures and runs transformer models\n\n"
           "Usage: gosset COMMAND [OPTIONS] ARGUMENTS\n\nCommands\n",
           gs_version());
    for (size_t i = 0; i < COUNT(commands); i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("\ngosset COMMAND --help tells a command's options; gosset --version the version.\n"
           "A MODEL is a GGUF file (any shard of a split one), a safetensors file or a\n"
           "Hugging Face folder. Results go to standard output, all else to standard error.\n\n"
           "Environment\n"
           "  GOSSET_CPU  kernel level, as --cpu\n\n"
           "Exit codes\n"
           "  0 done   1 failed   2 wrong usage   130 interrupted\n");
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COUNT(commands); i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    const char *near = NULL;
    int nearest = 4;

    for (size_t i = 0; i < COUNT(commands); i++) {
        int d = edit_distance(name, commands[i]->name, nearest);
        if (d < nearest && (size_t)d * 2 <= strlen(name)) {
            nearest = d;
            near = commands[i]->name;
        }
    }
    if (name[0] == '-')
        return usage_error(NULL, "unknown option %s before a command", name);
    if (near)
        return usage_error(NULL, "unknown command '%s'; did you mean %s?", name, near);
    return usage_error(NULL, "unknown command '%s'", name);
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct settings settings;
    int code;

    settings_default(&settings);
    if ((code = options_parse(command, argc, argv, &settings)))
        return code;
    if (settings.help) {
        options_help(command);
        return EXIT_OK;
    }
    if ((code = terminal_start(&settings)))
        return code;
    return command->run(&settings);
}

int main(int argc, char **argv)
{
    int code = EXIT_OK;
    const char *name = argc > 1 ? argv[1] : "";

    if (argc < 2) {
        code = usage_error(NULL, "no command given");
    } else if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        const struct command *command = argc > 2 ? find_command(argv[2]) : NULL;
        if (argc > 2 && !command)
            return unknown_command(argv[2]);
        if (command)
            options_help(command);
        else
            print_help();
    } else if (!strcmp(name, "--version")) {
        printf("gosset %s\n", gs_version());
    } else {
        const struct command *command = find_command(name);
        code = command ? run_command(command, argc - 2, argv + 2) : unknown_command(name);
    }
    return terminal_finish(code);
}
