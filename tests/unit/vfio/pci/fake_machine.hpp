// A machine of the test's own: a folder with /sys, /proc and /dev in it, and a writer that answers attributes as the
// kernel does (linux/drivers/pci/pci-driver.c: new_id_store, pci_match_device; pci/iov.c: sriov_numvfs_store;
// base/bus.c: bind, unbind, drivers_probe). Every write is noted in order, so that a test sees the steps and not only
// where they lead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::vfio {

class FakeMachine {
 public:
  FakeMachine();
  ~FakeMachine();
  FakeMachine(const FakeMachine&) = delete;
  FakeMachine& operator=(const FakeMachine&) = delete;

  Sysfs sysfs();

  // A function; `driver` empty: none; `group` -1: no IOMMU.
  void add_function(const std::string& bdf, std::string_view id, std::string_view class_code, const std::string& driver,
                    int group);
  void add_driver(const std::string& driver);

  // Gives a function SR-IOV: up to `total` virtual functions, of its own device number, in groups of their own.
  void add_sriov(const std::string& bdf, unsigned total);

  // The block device of a function's controller ("nvme0"): `entry` is the device itself ("nvme0n1"), or a path to it
  // ("nvme1c0n1" to "nvme1n1"). How its namespace is known; `wwid` empty: an old kernel. A partition of it.
  void add_disk(const std::string& bdf, const std::string& controller, const std::string& entry,
                const std::string& number);
  void identify(const std::string& disk, const std::string& subsystem, unsigned nsid, const std::string& wwid);
  void add_partition(const std::string& disk, const std::string& partition, const std::string& number);

  // Has a function's folder be a link to below `above` ("pci0000:00/0000:00:1d.0") in /sys/devices, as the kernel has
  // it.
  void put_behind(const std::string& bdf, const std::string& above);

  // As a container has it.
  void make_sysfs_read_only() { put_file("/proc/self/mountinfo", "22 1 0:20 / /sys ro,nosuid - sysfs sysfs ro\n"); }

  // A process that has `file` open.
  void add_process(int pid, const std::string& name, const std::string& file);

  void put_file(const std::string& absolute, std::string_view text);
  void put_link(const std::string& absolute, const std::string& target);
  std::string place(const std::string& absolute) const { return root_ + absolute; }

  // "ATTRIBUTE < TEXT", the attribute below /sys/bus/pci.
  const std::vector<std::string>& writes() const { return writes_; }

  // From now on a write of `text` to this attribute fails.
  void fail_write(const std::string& attribute, const std::string& text, int os_error) {
    failing_[attribute + " < " + text] = os_error;
  }

  // `driver` takes this function no more: its probe fails.
  void refuse(const std::string& driver, const std::string& bdf) { refused_.insert(driver + " " + bdf); }

  // `driver` is being loaded just now: it takes this function once that is free, unless an override is there.
  void take_when_free(const std::string& driver, const std::string& bdf) { takers_[bdf] = driver; }

  // The ids that vfio-pci has by new_id.
  std::set<std::string>& dynamic_ids() { return dynamic_ids_; }

  std::string override_of(const std::string& bdf) const;

 private:
  Result<void> write(const std::string& path, std::string_view text);
  Result<void> probe(const std::string& bdf, const std::string& driver);
  Result<void> set_numvfs(const std::string& bdf, unsigned count);
  std::string id_of(const std::string& bdf);

  std::string root_;
  std::vector<std::string> writes_;
  std::map<std::string, int> failing_;
  std::set<std::string> refused_;
  std::set<std::string> dynamic_ids_;
  std::map<std::string, std::string> takers_;
  std::map<std::string, std::string> overrides_;
};

}  // namespace pollux::vfio
