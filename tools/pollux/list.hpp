// What `list` and `status` print, as a tree, of a machine that a test may choose.
#pragma once

#include "pollux/tools/pollux/report.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {

Tree list_of(const vfio::Sysfs& sysfs);
Tree status_of(const vfio::Sysfs& sysfs);

}  // namespace pollux::cli
