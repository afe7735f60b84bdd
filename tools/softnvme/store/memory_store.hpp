// A namespace in memory that the system gives page by page as it is written: a large one costs what was used of it.
// Nothing survives the process.
#pragma once

#include <memory>

#include "pollux/tools/softnvme/core/store.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::softnvme {

class MemoryStore final : public Store {
 public:
  // Error: no address space left for `size_bytes`.
  static Result<std::unique_ptr<MemoryStore>> create(std::uint64_t size_bytes);
  ~MemoryStore() override;
  MemoryStore(const MemoryStore&) = delete;
  MemoryStore& operator=(const MemoryStore&) = delete;

  bool read(std::uint64_t offset, std::span<std::byte> into) override;
  bool write(std::uint64_t offset, std::span<const std::byte> from) override;
  bool zero(std::uint64_t offset, std::uint64_t size_bytes) override;
  bool flush() override { return true; }

 private:
  MemoryStore(std::byte* data, std::uint64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}

  std::byte* data_;
  std::uint64_t size_bytes_;
};

}  // namespace pollux::softnvme
