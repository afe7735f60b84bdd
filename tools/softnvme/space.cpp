#include "pollux/tools/softnvme/space.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "pollux/tools/softnvme/device.hpp"
#include "pollux/vfio/memory_kind.hpp"

namespace pollux::softnvme {
namespace {

// As intel-iommu reports them with 39 bits: all but the MSI window.
constexpr std::array<vfio::IovaRange, 2> kUsable{{{0, 0xfedf'ffff}, {0xfef0'0000, 0x7f'ffff'ffff}}};
constexpr std::uint64_t kPageSizes = 0x4020'1000;  // 4 KiB, 2 MiB, 1 GiB

}  // namespace

SoftSpace::SoftSpace() : SoftSpace({kUsable.begin(), kUsable.end()}) { as_the_kernel_ = true; }

class SoftSpace::Standstill {
 public:
  explicit Standstill(SoftSpace& space) : space_(space), lock_(space.mutex_) {
    for (Gate* gate : space_.gates_) gate->lock();
  }
  ~Standstill() {
    for (Gate* gate : space_.gates_) gate->unlock();
  }

 private:
  SoftSpace& space_;
  std::lock_guard<std::mutex> lock_;
};

Result<std::unique_ptr<vfio::Device>> SoftSpace::attach(const vfio::Address& address) {
  Result<std::unique_ptr<SoftDeviceThread>> device = SoftDeviceThread::create(*this, address);
  if (!device) return std::unexpected(device.error());
  {
    const std::lock_guard lock(mutex_);
    gates_.push_back(&(*device)->gate());
    attached_ = true;
  }
  if (auto started = (*device)->start(); !started) return std::unexpected(std::move(started.error()));
  return std::move(*device);
}

void SoftSpace::leave(Gate& gate) {
  const std::lock_guard lock(mutex_);
  std::erase(gates_, &gate);
}

Result<void> SoftSpace::map(const vfio::DmaMapping& mapping) {
  const auto why = as_the_kernel_ ? vfio::why_not_pinned(mapping) : std::nullopt;
  const Standstill standstill(*this);
  auto mapped = table_.map(mapping, usable_);
  if (!mapped || !why) return mapped;
  // The kernel, too, looks at the address first and pins last (vfio_dma_do_map).
  (void)table_.unmap(mapping.iova, mapping.size_bytes);
  return fail_errno(EFAULT, fmt::format("soft: mapping {} bytes failed: {}", mapping.size_bytes, why->what),
                    why->advice);
}

Result<void> SoftSpace::unmap(vfio::Iova iova, std::uint64_t size_bytes) {
  const Standstill standstill(*this);
  return table_.unmap(iova, size_bytes);
}

std::vector<vfio::IovaRange> SoftSpace::usable_ranges() const {
  const std::lock_guard lock(mutex_);
  if (!attached_) return {};
  return usable_;
}

std::uint64_t SoftSpace::page_sizes() const { return kPageSizes; }

std::optional<std::uint32_t> SoftSpace::mappings_left() const {
  const std::lock_guard lock(mutex_);
  return table_.mappings_left();
}

}  // namespace pollux::softnvme
