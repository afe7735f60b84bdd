#include "pollux/vfio/kernel/group.hpp"

#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "pollux/vfio/pci/readiness.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {

Result<std::unique_ptr<Group>> Group::open(const Sysfs& sysfs, unsigned number, const std::string& bdf, Kind kind) {
  const std::string node = fmt::format("/dev/vfio/{}{}", kind == Kind::noiommu ? "noiommu-" : "", number);
  FileDescriptor file = open_file(sysfs.path(node).c_str(), O_RDWR | O_CLOEXEC);
  if (!file)
    return std::unexpected(kind == Kind::noiommu ? explain_noiommu_group_open(sysfs, number, bdf, errno)
                                                 : explain_group_open(sysfs, number, bdf, errno));
  vfio_group_status status{.argsz = sizeof status, .flags = 0};
  if (control(file.get(), VFIO_GROUP_GET_STATUS, &status) != 0)
    return fail_errno(errno, fmt::format("VFIO_GROUP_GET_STATUS failed for group {} of {}", number, bdf));
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) return std::unexpected(explain_not_viable(sysfs, number, bdf));
  return std::unique_ptr<Group>(new Group(std::move(file), number));
}

Result<void> Group::set_container(int container_fd, const std::string& bdf) {
  if (control(file_.get(), VFIO_GROUP_SET_CONTAINER, &container_fd) == 0) return {};
  const int os_error = errno;
  return fail_errno(os_error, fmt::format("VFIO_GROUP_SET_CONTAINER failed for group {} of {}", number_, bdf),
                    os_error == EINVAL
                        ? "its IOMMU reaches less than what is mapped already: give it an address space of its own"
                        : "");
}

Result<FileDescriptor> Group::open_device(const Sysfs& sysfs, const Address& address) {
  std::string name = address.target;
  if (!address.vf_token.empty()) name += " vf_token=" + address.vf_token;
  FileDescriptor device(control(file_.get(), VFIO_GROUP_GET_DEVICE_FD, name.c_str()));
  if (!device) return std::unexpected(explain_device_open(sysfs, number_, address, errno));
  return device;
}

Group* Groups::find(unsigned number) const {
  for (const auto& group : groups_)
    if (group->number() == number) return group.get();
  return nullptr;
}

std::vector<unsigned> Groups::numbers() const {
  std::vector<unsigned> numbers;
  for (const auto& group : groups_) numbers.push_back(group->number());
  return numbers;
}

int Groups::file(unsigned number) const {
  const Group* const group = find(number);
  return group != nullptr ? group->file() : -1;
}

bool Groups::device_closed(unsigned number, bool released) noexcept {
  Group* const group = find(number);
  if (group == nullptr || !group->device_closed(released)) return false;
  std::erase_if(groups_, [&](const auto& one) { return one.get() == group; });
  return true;
}

}  // namespace pollux::vfio
