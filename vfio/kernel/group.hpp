// A VFIO group: the smallest set of functions that the IOMMU can keep apart from the others, opened by one process at a
// time. Closing it takes it out of its container. Only the spaces that have a container use it. Source: linux/vfio.h,
// VFIO_GROUP_GET_STATUS, VFIO_GROUP_SET_CONTAINER, VFIO_GROUP_GET_DEVICE_FD.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pollux/vfio/address.hpp"
#include "pollux/vfio/error.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

class Group {
 public:
  enum class Kind : std::uint8_t { iommu, noiommu };

  // Opens /dev/vfio/NUMBER, or /dev/vfio/noiommu-NUMBER, and finds it viable. `bdf` is the function that is wanted, for
  // messages. Errors: no permission (what to do), another process has it (which), not viable (which member, which
  // driver).
  static Result<std::unique_ptr<Group>> open(const Sysfs& sysfs, unsigned number, const std::string& bdf,
                                             Kind kind = Kind::iommu);

  unsigned number() const { return number_; }
  int file() const { return file_.get(); }

  // Puts the group into a container. Error: the container's IOMMU does not suit it, or a mapping lies where this group
  // cannot reach.
  Result<void> set_container(int container_fd, const std::string& bdf);

  // Opens a member. The kernel resets the function on the way. The address may have a token: a physical function's is
  // set by it while none of its virtual functions is open, each of these must give it.
  Result<FileDescriptor> open_device(const Sysfs& sysfs, const Address& address);

  void device_opened() { ++open_devices_; }

  // True: that was the last one that was open, and the machine wants one of them back.
  bool device_closed(bool released) {
    is_wanted_back_ |= released;
    return --open_devices_ == 0 && is_wanted_back_;
  }

 private:
  Group(FileDescriptor file, unsigned number) : file_(std::move(file)), number_(number) {}

  FileDescriptor file_;
  unsigned number_;
  unsigned open_devices_ = 0;
  bool is_wanted_back_ = false;
};

// The groups of one container, in the order in which they came. Its owner's lock guards it.
class Groups {
 public:
  Group* find(unsigned number) const;  // null: not here
  void add(std::unique_ptr<Group> group) { groups_.push_back(std::move(group)); }
  bool empty() const { return groups_.empty(); }
  std::vector<unsigned> numbers() const;

  // The group's file; −1: not here.
  int file(unsigned number) const;

  // A group that the machine waits for leaves with its last device. True: one has left.
  bool device_closed(unsigned number, bool released) noexcept;

 private:
  std::vector<std::unique_ptr<Group>> groups_;
};

}  // namespace pollux::vfio
