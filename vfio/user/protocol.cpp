#include "pollux/vfio/user/protocol.hpp"

namespace pollux::vfio::user {

std::string name_of(Command command) {
  static constexpr const char* kNames[] = {"",
                                           "VERSION",
                                           "DMA_MAP",
                                           "DMA_UNMAP",
                                           "DEVICE_GET_INFO",
                                           "DEVICE_GET_REGION_INFO",
                                           "DEVICE_GET_REGION_IO_FDS",
                                           "DEVICE_GET_IRQ_INFO",
                                           "DEVICE_SET_IRQS",
                                           "REGION_READ",
                                           "REGION_WRITE",
                                           "DMA_READ",
                                           "DMA_WRITE",
                                           "DEVICE_RESET",
                                           "",
                                           "REGION_WRITE_MULTI",
                                           "DEVICE_FEATURE",
                                           "MIG_DATA_READ",
                                           "MIG_DATA_WRITE"};
  const auto number = static_cast<std::size_t>(command);
  if (number >= std::size(kNames) || *kNames[number] == '\0') return fmt::format("command {}", number);
  return fmt::format("VFIO_USER_{}", kNames[number]);
}

}  // namespace pollux::vfio::user
