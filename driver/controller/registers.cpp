#include "pollux/driver/controller/registers.hpp"

#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {

Result<Registers> Registers::open(vfio::Device& device) {
  const auto info = device.region_info(vfio::RegionIndex::bar0);
  if (!info) return std::unexpected(info.error());
  if (info->size_bytes <= reg::kDoorbells) {
    return fail(fmt::format("{}: BAR0 has {} bytes, NVMe registers and doorbells need more than {}",
                            device.address().text, info->size_bytes, reg::kDoorbells),
                "this is not an NVMe controller, or it is gone");
  }
  Registers registers(device, info->size_bytes);
  for (const vfio::RegionArea& area : info->mappable) {
    // By call, then: a store to a mapping that cannot be written would end the program, and one in which dwords lie
    // askew would reach the device in pieces.
    if (!info->readable || !info->writable || area.offset % sizeof(std::uint32_t) != 0) continue;
    auto mapping = device.map(vfio::RegionIndex::bar0, area);
    if (!mapping) return std::unexpected(mapping.error());
    registers.areas_.push_back(std::move(*mapping));
  }
  return registers;
}

volatile std::uint32_t* Registers::mapped(std::uint64_t offset) {
  for (const vfio::MappedArea& mapping : areas_) {
    const vfio::RegionArea area = mapping.area();
    if (offset >= area.offset && offset - area.offset + sizeof(std::uint32_t) <= area.size_bytes) {
      return reinterpret_cast<volatile std::uint32_t*>(mapping.address() + (offset - area.offset));
    }
  }
  return nullptr;
}

Result<std::uint32_t> Registers::read32(std::uint32_t offset) {
  if (const volatile std::uint32_t* const word = mapped(offset)) return *word;
  std::uint32_t value = 0;
  const auto read = device_->read(vfio::RegionIndex::bar0, offset, std::as_writable_bytes(std::span(&value, 1)));
  if (!read) return std::unexpected(read.error());
  return value;
}

Result<void> Registers::write32(std::uint32_t offset, std::uint32_t value) {
  if (volatile std::uint32_t* const word = mapped(offset)) {
    *word = value;
    return {};
  }
  return device_->write(vfio::RegionIndex::bar0, offset, std::as_bytes(std::span(&value, 1)));
}

Result<std::uint64_t> Registers::read64(std::uint32_t offset) {
  const auto low = read32(offset);
  if (!low) return std::unexpected(low.error());
  const auto high = read32(offset + 4);
  if (!high) return std::unexpected(high.error());
  return std::uint64_t{*high} << 32 | *low;
}

Result<void> Registers::write64(std::uint32_t offset, std::uint64_t value) {
  if (auto low = write32(offset, static_cast<std::uint32_t>(value)); !low) return low;
  return write32(offset + 4, static_cast<std::uint32_t>(value >> 32));
}

Result<Doorbell> Registers::doorbell(std::uint64_t offset) {
  if (volatile std::uint32_t* const word = mapped(offset)) return Doorbell(word);
  if (offset + sizeof(std::uint32_t) > size_bytes_) {
    return fail(fmt::format("{}: the doorbell at {:#x} lies outside BAR0, which has {:#x} bytes",
                            device_->address().text, offset, size_bytes_),
                "use fewer queues");
  }
  for (const auto& call : calls_) {
    if (call->offset == offset) return Doorbell(&Call::write, call.get());
  }
  calls_.push_back(std::make_unique<Call>(Call{device_, offset}));
  return Doorbell(&Call::write, calls_.back().get());
}

void Registers::Call::write(void* context, std::uint32_t value) noexcept {
  const Call& call = *static_cast<const Call*>(context);
  (void)call.device->write(vfio::RegionIndex::bar0, call.offset, std::as_bytes(std::span(&value, 1)));
}

}  // namespace pollux::nvme
