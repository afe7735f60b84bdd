// A namespace in a sparse file, by pread and pwrite. Locked while it is open, so that two controllers never share one
// by accident. The first failure is kept as a line for a person, and written to stderr once.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "pollux/tools/softnvme/core/store.hpp"
#include "pollux/vfio/error.hpp"

namespace pollux::softnvme {

class FileStore final : public Store {
 public:
  // Creates the file, sparse, when it is absent or empty: with `wanted_bytes`, or `default_bytes` where none are
  // wanted. An existing file keeps its size. Errors: cannot be opened or created, no regular file, another size than
  // wanted, not whole blocks, in use by another.
  static Result<std::unique_ptr<FileStore>> open(const std::string& path, std::optional<std::uint64_t> wanted_bytes,
                                                 std::uint64_t default_bytes, std::uint32_t block_size_bytes);

  // Takes over an open file.
  FileStore(int fd, std::string path, std::uint64_t size_bytes);
  ~FileStore() override;
  FileStore(const FileStore&) = delete;
  FileStore& operator=(const FileStore&) = delete;

  bool read(std::uint64_t offset, std::span<std::byte> into) override;
  bool write(std::uint64_t offset, std::span<const std::byte> from) override;
  bool zero(std::uint64_t offset, std::uint64_t size_bytes) override;
  bool flush() override;

  std::uint64_t size_bytes() const { return size_bytes_; }

  // The first failure; empty while there was none.
  const std::string& error() const { return error_; }

 private:
  bool failed(int os_error, std::string what);

  int fd_;
  std::string path_;
  std::uint64_t size_bytes_;
  std::string error_;
};

}  // namespace pollux::softnvme
