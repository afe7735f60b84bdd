// The controller's registers: BAR0 of its device, by mapping where an area may be mapped and by call where it may not
// (a vfio-user server traps the register page and maps only the doorbells).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "pollux/driver/queue/doorbell.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::nvme {

class Registers {
 public:
  // Maps every mappable area of BAR0. The device outlives this. Errors: no BAR0, too small for the registers, a map
  // that fails.
  static Result<Registers> open(vfio::Device& device);

  // 32 bits at `offset`, a multiple of 4.
  Result<std::uint32_t> read32(std::uint32_t offset);
  Result<void> write32(std::uint32_t offset, std::uint32_t value);

  // As two dwords, low then high: not every controller takes a qword (NVMe base 2.0c, 3.1.3 allows both).
  Result<std::uint64_t> read64(std::uint32_t offset);
  Result<void> write64(std::uint32_t offset, std::uint64_t value);

  // The doorbell at `offset`, valid as long as this. Error: it lies outside the BAR.
  Result<Doorbell> doorbell(std::uint64_t offset);

 private:
  // A doorbell that cannot be mapped. A write that fails has no one to tell: the device is gone, and its owner's
  // deadlines find that out.
  struct Call {
    vfio::Device* device;
    std::uint64_t offset;
    static void write(void* context, std::uint32_t value) noexcept;
  };

  Registers(vfio::Device& device, std::uint64_t size_bytes) : device_(&device), size_bytes_(size_bytes) {}
  volatile std::uint32_t* mapped(std::uint64_t offset);

  vfio::Device* device_;
  std::uint64_t size_bytes_;
  std::vector<vfio::MappedArea> areas_;
  std::vector<std::unique_ptr<Call>> calls_;
};

}  // namespace pollux::nvme
