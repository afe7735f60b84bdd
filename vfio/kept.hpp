// What stays until the process ends, whoever else lets go of it: the last resort for what a device may still reach.
#pragma once

#include <memory>

namespace pollux::vfio {

// Any thread. It is not destroyed when the process ends in good order, either.
void keep_until_the_end(std::shared_ptr<void> what);

}  // namespace pollux::vfio
