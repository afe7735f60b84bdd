// An admin command as a message names it. NVMe base 2.0c, figures 138, 273 and 317.
#pragma once

#include <string>

#include "pollux/driver/spec/command.hpp"

namespace pollux::nvme {

// "Identify (06h, CNS 03h)", "Set Features (09h, FID 07h)", "Abort (08h)", "admin command C1h".
std::string admin_command_text(const Command& command);

}  // namespace pollux::nvme
