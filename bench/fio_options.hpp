// fio's options as far as they are not pollux-bench's own: its aliases are taken, and whoever types another option of
// fio's is told that it is fio's, not that it is a slip of the pen. Source: fio, options.c (.name, .alias), init.c
// (l_opts).
#pragma once

#include <string_view>

namespace pollux::bench {

// "bs" for "blocksize": the option of ours that fio has under this other name, too; any other name as it is.
std::string_view without_alias(std::string_view name);

// Whether fio has an option of this name that pollux-bench has not.
bool is_other_fio_option(std::string_view name);

}  // namespace pollux::bench
