#include "pollux/vfio/kept.hpp"

#include <mutex>
#include <utility>
#include <vector>

namespace pollux::vfio {

void keep_until_the_end(std::shared_ptr<void> what) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(what));
}

}  // namespace pollux::vfio
