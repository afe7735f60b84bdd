#include "pollux/tools/softnvme/store/file_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::softnvme {
namespace {

constexpr mode_t kFileMode = 0644;
constexpr std::size_t kZeroBytes = 64 * 1024;

std::string advice_for(int os_error) {
  switch (os_error) {
    case ENOSPC:
    case EDQUOT:
      return "free space there, or give file= a place with more";
    case EFBIG:
      return "raise the limit on file sizes (ulimit -f), or give a smaller size=";
    case EACCES:
    case EPERM:
      return "make it readable and writable for this user, or give file= another place";
    case ENOENT:
      return "create its folder first, or give file= another place";
    default:
      return "give file= another place";
  }
}

// The file's size, set where it has none yet.
Result<std::uint64_t> settle_size(int fd, const std::string& path, std::optional<std::uint64_t> wanted_bytes,
                                  std::uint64_t default_bytes, std::uint32_t block_size_bytes) {
  struct stat info{};
  if (fstat(fd, &info) != 0) return fail_errno(errno, fmt::format("soft: file={} cannot be examined", path));
  if (!S_ISREG(info.st_mode)) {
    return fail(fmt::format("soft: file={} is not a regular file", path),
                "give file= the path of a file, or of none yet");
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return fail_errno(errno, fmt::format("soft: file={} is in use", path),
                      "end the other program, or give another file=");
  }
  const auto found_bytes = static_cast<std::uint64_t>(info.st_size);
  if (found_bytes == 0) {
    const std::uint64_t size_bytes = wanted_bytes.value_or(default_bytes);
    if (vfio::uninterrupted([&] { return ftruncate(fd, static_cast<off_t>(size_bytes)); }) != 0) {
      const int os_error = errno;
      return fail_errno(os_error, fmt::format("soft: file={} cannot be made {} bytes long", path, size_bytes),
                        advice_for(os_error));
    }
    return size_bytes;
  }
  if (wanted_bytes && *wanted_bytes != found_bytes) {
    return fail(fmt::format("soft: file={} holds {} bytes and size= asks for {}", path, found_bytes, *wanted_bytes),
                fmt::format("leave size= out, give size={}, or give another file=", found_bytes));
  }
  if (found_bytes % block_size_bytes != 0) {
    return fail(fmt::format("soft: file={} holds {} bytes, which is not a multiple of block={}", path, found_bytes,
                            block_size_bytes),
                "give another block= or another file=");
  }
  return found_bytes;
}

}  // namespace

Result<std::unique_ptr<FileStore>> FileStore::open(const std::string& path, std::optional<std::uint64_t> wanted_bytes,
                                                   std::uint64_t default_bytes, std::uint32_t block_size_bytes) {
  const bool existed = access(path.c_str(), F_OK) == 0;
  // O_NONBLOCK: a FIFO is refused below and must not hold us here.
  const int fd =
      vfio::uninterrupted([&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, kFileMode); });
  if (fd < 0) {
    const int os_error = errno;
    return fail_errno(os_error, fmt::format("soft: file={} cannot be opened", path), advice_for(os_error));
  }
  const Result<std::uint64_t> size_bytes = settle_size(fd, path, wanted_bytes, default_bytes, block_size_bytes);
  if (!size_bytes) {
    if (!existed) unlink(path.c_str());
    close(fd);
    return std::unexpected(size_bytes.error());
  }
  return std::make_unique<FileStore>(fd, path, *size_bytes);
}

FileStore::FileStore(int fd, std::string path, std::uint64_t size_bytes)
    : fd_(fd), path_(std::move(path)), size_bytes_(size_bytes) {}

FileStore::~FileStore() { close(fd_); }

bool FileStore::read(std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = pread(fd_, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno, fmt::format("reading {} bytes at offset {}", into.size(), offset));
    if (got == 0) return failed(EIO, fmt::format("reading at offset {}, where the file now ends,", offset));
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

bool FileStore::write(std::uint64_t offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t put = pwrite(fd_, from.data(), from.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failed(errno, fmt::format("writing {} bytes at offset {}", from.size(), offset));
    from = from.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return true;
}

bool FileStore::zero(std::uint64_t offset, std::uint64_t size_bytes) {
  const auto punch = [&] {
    return fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(size_bytes));
  };
  if (vfio::uninterrupted(punch) == 0) return true;
  // A file system without holes: the zeros are written.
  static constexpr std::array<std::byte, kZeroBytes> kZeros{};
  while (size_bytes != 0) {
    const std::uint64_t length = std::min<std::uint64_t>(size_bytes, kZeros.size());
    if (!write(offset, std::span(kZeros).first(length))) return false;
    offset += length;
    size_bytes -= length;
  }
  return true;
}

bool FileStore::flush() {
  return vfio::uninterrupted([&] { return fdatasync(fd_); }) == 0 || failed(errno, "making what was written durable");
}

bool FileStore::failed(int os_error, std::string what) {
  if (!error_.empty()) return false;
  error_ = fail_errno(os_error, fmt::format("soft: {} in file={} failed", what, path_), advice_for(os_error))
               .error()
               .message();
  fmt::print(stderr, "{}\n", error_);
  return false;
}

}  // namespace pollux::softnvme
