#include "pollux/dma/claims.hpp"

#include <atomic>
#include <iterator>

#include "pollux/vfio/process.hpp"

namespace pollux::dma {

// Has a part begin at this address, where one holds it.
void Claims::split(std::uintptr_t at) {
  auto part = parts_.upper_bound(at);
  if (part == parts_.begin()) return;
  --part;
  if (part->first == at || part->second.last < at) return;
  Part upper = part->second;
  part->second.last = at - 1;
  parts_.emplace(at, upper);
}

void Claims::join(std::uintptr_t at) {
  const auto upper = parts_.find(at);
  if (upper == parts_.end() || upper == parts_.begin()) return;
  Part& lower = std::prev(upper)->second;
  const bool equal = lower.alone == upper->second.alone && lower.mappings == upper->second.mappings;
  if (lower.last + 1 != at || !equal) return;
  lower.last = upper->second.last;
  parts_.erase(upper);
}

bool Claims::add(std::uintptr_t first, std::uintptr_t last, SpaceId alone) {
  const std::lock_guard lock(mutex_);
  auto part = parts_.upper_bound(first);
  if (part != parts_.begin() && std::prev(part)->second.last >= first) --part;
  for (; part != parts_.end() && part->first <= last; ++part)
    if (part->second.alone != alone) return false;

  split(first);
  split(last + 1);
  std::uintptr_t next = first;
  for (part = parts_.lower_bound(first); part != parts_.end() && part->first <= last; ++part) {
    if (next < part->first) parts_.emplace_hint(part, next, Part{part->first - 1, alone, 1});
    ++part->second.mappings;
    next = part->second.last + 1;
  }
  if (next - 1 != last) parts_.emplace(next, Part{last, alone, 1});
  join(first);
  join(last + 1);
  return true;
}

void Claims::remove(std::uintptr_t first, std::uintptr_t last) {
  const std::lock_guard lock(mutex_);
  split(first);
  split(last + 1);
  for (auto part = parts_.lower_bound(first); part != parts_.end() && part->first <= last;)
    part = --part->second.mappings == 0 ? parts_.erase(part) : std::next(part);
  join(first);
  join(last + 1);
}

std::size_t Claims::parts() const {
  const std::lock_guard lock(mutex_);
  return parts_.size();
}

namespace {

// A child has the table of its parent as a thread may have left it in the midst of a change, and locked for good.
struct OfProcess {
  const vfio::Opener opener;
  OfProcess* const of_parent;  // so that it counts as reachable where leaks are looked for
  Claims claims;
};

constinit std::atomic<OfProcess*> current = nullptr;

}  // namespace

Claims& claims() {
  OfProcess* now = current.load(std::memory_order_acquire);
  while (now == nullptr || !now->opener.is_this_process()) {
    auto* const own = new OfProcess{.opener = {}, .of_parent = now, .claims = {}};
    if (current.compare_exchange_strong(now, own, std::memory_order_acq_rel)) return own->claims;
    delete own;
  }
  return now->claims;
}

}  // namespace pollux::dma
