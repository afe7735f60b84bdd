#include "pollux/tools/softnvme/doorbell_page.hpp"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

#include "pollux/driver/spec/registers.hpp"
#include "pollux/tools/softnvme/core/config.hpp"

namespace pollux::softnvme {
namespace {

constexpr std::size_t kPageBytes = 4096;
static_assert(kDoorbellWords * sizeof(std::uint32_t) == kPageBytes);

std::unexpected<Error> cannot_make() { return fail_errno(errno, "soft: cannot make a page of doorbells"); }

}  // namespace

Result<std::unique_ptr<DoorbellPage>> DoorbellPage::create() {
  std::unique_ptr<DoorbellPage> page(new DoorbellPage);
  if (const Result<void> made = page->renew(); !made) return std::unexpected(made.error());
  return page;
}

DoorbellPage::~DoorbellPage() {
  if (words_ != nullptr) munmap(words_, kPageBytes);
}

Result<void> DoorbellPage::renew() {
  vfio::FileDescriptor file(memfd_create("softnvme-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return cannot_make();
  // Sealed: a client that could shrink the file would take the page away under us.
  if (ftruncate(file.get(), nvme::reg::kDoorbells + kPageBytes) != 0 ||
      fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return cannot_make();
  }
  void* const mapped = mmap(words_, kPageBytes, PROT_READ | PROT_WRITE,
                            MAP_SHARED | (words_ != nullptr ? MAP_FIXED : 0), file.get(), nvme::reg::kDoorbells);
  if (mapped == MAP_FAILED) return cannot_make();
  words_ = static_cast<std::uint32_t*>(mapped);
  std::swap(file_, file);
  return {};
}

}  // namespace pollux::softnvme
