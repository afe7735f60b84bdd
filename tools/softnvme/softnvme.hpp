// The software controller as a device: what a program links and hands to open(), so that "soft:" addresses work.
//
//   soft:                                   1 GiB in memory, blocks of 512 bytes
//   soft:size=8GiB,block=4096,file=/tmp/d   a sparse file, created when absent
//   soft:size=1TiB,null=1                   moves no data, and does all the rest
//   soft:size=1GiB,faults=1%                one I/O command in a hundred meets a fault
//
// size=N[k|M|G|T|KiB|MiB|GiB|TiB] (powers of 1024), block=N (2^n, 512 to 65536), file=PATH (without a comma), null=0|1,
// mdts=N (2^N pages of 4 KiB, 0: no limit), queues=N (I/O queue pairs), vectors=N (MSI-X), entries=N (of the largest
// queue), vwc=0|1 (a volatile write cache), shadow=0|1|poll (offers shadow doorbells; and never asks to be woken),
// trap=0|1 (BAR0 cannot be mapped: each doorbell is a call on the device, and counted), faults=N% (random_faults.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/tools/softnvme/core/fault.hpp"
#include "pollux/tools/softnvme/core/violation_log.hpp"
#include "pollux/vfio/device.hpp"

namespace pollux::softnvme {

// The scheme "soft". Its address spaces take only soft: devices, any number of them, each with a thread of its own.
// Errors of attach(): an option that is unknown or has a wrong value, a file that cannot be opened, has another size or
// is in use.
vfio::Scheme scheme();

// I/O commands.
struct ServedCommands {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t others = 0;
};

// A kind of fault of the option faults=N%.
struct MetFault {
  std::string_view name;
  std::uint64_t times;
};

// What a soft: device offers beside vfio::Device. These functions are safe from any thread.
class SoftDevice : public vfio::Device {
 public:
  // What the host has broken of the specification since the device was attached; the first ViolationLog::kMaxViolations
  // of them.
  virtual std::vector<Violation> violations() const = 0;
  virtual std::uint64_t violation_count() const = 0;
  virtual void clear_violations() = 0;

  // Doorbells that were written by call since the device was attached: all of them with trap=1.
  virtual std::uint64_t doorbell_writes() const = 0;

  // Since the device was attached. Reads and Writes that were refused for their range are not among them.
  virtual ServedCommands served() const = 0;

  // How often each kind was met since the device was attached; empty without faults=N%.
  virtual std::vector<MetFault> met_faults() const = 0;

  // In place of that of faults=N%. nullptr: none. The hook outlives its use; when this returns the one before is no
  // longer called.
  virtual void set_fault_hook(FaultHook* hook) = 0;

  // The first failure of the file behind the device, one line with its path and what to do; empty while there was none.
  virtual std::string store_error() const = 0;
};

// The device as a soft: one; nullptr if it is of another kind.
SoftDevice* soft_device(vfio::Device& device);

}  // namespace pollux::softnvme
