// The controller's registers: BAR0 of its device, by mapping where an area may be mapped and by call where it may not
// (a vfio-user server traps the register page and maps only the doorbells). Doorbells must be mapped: the data path
// makes no calls.
#pragma once

#include <cstdint>
#include <vector>

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

  // The doorbell at `offset`, valid as long as this. Error: it lies outside the BAR or cannot be mapped.
  Result<volatile std::uint32_t*> doorbell(std::uint64_t offset);

 private:
  explicit Registers(vfio::Device& device) : device_(&device) {}
  volatile std::uint32_t* mapped(std::uint64_t offset);

  vfio::Device* device_;
  std::vector<vfio::MappedArea> areas_;
};

}  // namespace pollux::nvme
