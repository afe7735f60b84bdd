// Which functions the words of a command line mean: addresses (0000:02:00.0), and patterns of ids (1cc1:0021, 1cc1:*).
#pragma once

#include <string>
#include <vector>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {

// The functions, each once, in the order of the words. A pattern means the NVMe functions alone that have the id.
// Errors: a word that is neither, a pattern that no function has.
Result<std::vector<std::string>> targets(const vfio::Sysfs& sysfs, const std::vector<std::string>& words);

}  // namespace pollux::cli
