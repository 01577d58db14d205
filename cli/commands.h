/* SPDX-License-Identifier: MIT
 * The list of commands: one file and one line each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "options.h"

extern const struct command command_inspect, command_convert, command_run, command_chat,
    command_eval, command_tokenize, command_quantize, command_bench, command_train,
    command_imatrix, command_delta, command_recipes, command_pack, command_unpack,
    command_compare;

#endif
