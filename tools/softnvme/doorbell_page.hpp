// The page that BAR0 shows from 1000h on, in a file of its own, so that a process behind a socket can map it as the
// host in this process does.
#pragma once

#include <cstdint>
#include <memory>

#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"

namespace pollux::softnvme {

class DoorbellPage {
 public:
  // Error: no memory or descriptor left.
  static Result<std::unique_ptr<DoorbellPage>> create();
  DoorbellPage(const DoorbellPage&) = delete;
  DoorbellPage& operator=(const DoorbellPage&) = delete;
  ~DoorbellPage();

  std::uint32_t* words() const { return words_; }  // kDoorbellWords, zero at first; the address never changes

  // A file in which the page lies where it does in BAR0. Its size cannot be changed, by nobody.
  int fd() const { return file_.get(); }

  // Puts a page of zeros in a new file under the same address: who has mapped the old file reaches nothing any more.
  // Nobody may be using the words meanwhile. After an error the old page is still there.
  Result<void> renew();

 private:
  DoorbellPage() = default;

  vfio::FileDescriptor file_;
  std::uint32_t* words_ = nullptr;
};

}  // namespace pollux::softnvme
