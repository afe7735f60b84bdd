// What a KernelDevice needs of the address space that opened it.
#pragma once

#include "pollux/vfio/device.hpp"

namespace pollux::vfio {

class KernelSpace : public IoAddressSpace {
 public:
  // The file of a VFIO group that is in this space, for as long as this lives; −1: it is not. iommufd knows no groups.
  virtual int group_file(unsigned) const { return -1; }

  // A device of this space has closed its file; `released`: before its time, because the machine wants it back.
  virtual void device_closed(unsigned /*group*/, bool /*released*/) noexcept {}
};

}  // namespace pollux::vfio
