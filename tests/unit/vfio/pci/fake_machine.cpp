#include "pollux/tests/unit/vfio/pci/fake_machine.hpp"

#include <stdlib.h>

#include <cerrno>
#include <fstream>
#include <stdexcept>

namespace pollux::vfio {

namespace fs = std::filesystem;

namespace {
const std::string kBus = "/sys/bus/pci";
}

FakeMachine::FakeMachine() {
  std::string pattern = fs::temp_directory_path() / "pollux-machine-XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
  root_ = pattern;
  fs::create_directories(place(kBus + "/devices"));
  put_file("/proc/self/mountinfo", "");
  put_file("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
}

FakeMachine::~FakeMachine() { fs::remove_all(root_); }

Sysfs FakeMachine::sysfs() {
  return Sysfs(root_, [this](const std::string& path, std::string_view text) { return write(path, text); });
}

void FakeMachine::put_file(const std::string& absolute, std::string_view text) {
  fs::create_directories(fs::path(place(absolute)).parent_path());
  std::ofstream(place(absolute)) << text;
}

void FakeMachine::put_link(const std::string& absolute, const std::string& target) {
  fs::create_directories(fs::path(place(absolute)).parent_path());
  fs::remove(place(absolute));
  fs::create_symlink(target, place(absolute));
}

void FakeMachine::add_driver(const std::string& driver) { fs::create_directories(place(kBus + "/drivers/" + driver)); }

void FakeMachine::add_function(const std::string& bdf, std::string_view id, std::string_view class_code,
                               const std::string& driver, int group) {
  const std::string folder = function_folder(bdf);
  put_file(folder + "/vendor", fmt::format("0x{}\n", id.substr(0, 4)));
  put_file(folder + "/device", fmt::format("0x{}\n", id.substr(5, 4)));
  put_file(folder + "/class", fmt::format("0x{}\n", class_code));
  put_file(folder + "/numa_node", "-1\n");
  if (!driver.empty()) {
    add_driver(driver);
    put_link(folder + "/driver", "../../drivers/" + driver);
  }
  if (group < 0) return;
  put_link(folder + "/iommu_group", fmt::format("../../../../kernel/iommu_groups/{}", group));
  put_file(fmt::format("/sys/kernel/iommu_groups/{}/devices/{}", group, bdf), "");
}

void FakeMachine::add_sriov(const std::string& bdf, unsigned total) {
  put_file(function_folder(bdf) + "/sriov_totalvfs", fmt::format("{}\n", total));
  put_file(function_folder(bdf) + "/sriov_drivers_autoprobe", "1\n");
}

Result<void> FakeMachine::set_numvfs(const std::string& bdf, unsigned count) {
  const Sysfs plain(root_);
  const std::string folder = function_folder(bdf);
  const auto virtual_function = [&](unsigned index) { return fmt::format("{}.{}", bdf.substr(0, 10), index + 1); };
  unsigned present = 0;
  while (!plain.link_name(fmt::format("{}/virtfn{}", folder, present)).empty()) present++;
  const std::string driver = plain.driver_of(bdf);
  if (count > static_cast<unsigned>(std::stoi(plain.line(folder + "/sriov_totalvfs")))) return fail_errno(ERANGE, bdf);
  if (driver.empty() || plain.line("/sys/module/vfio_pci/parameters/enable_sriov") == "N")
    return fail_errno(ENOENT, bdf);
  if (count != 0 && present != 0) return fail_errno(EBUSY, bdf);
  for (unsigned i = 0; i < present; i++) {
    fs::remove(place(fmt::format("{}/virtfn{}", folder, i)));
    fs::remove_all(place(function_folder(virtual_function(i))));
  }
  for (unsigned i = 0; i < count; i++) {
    constexpr int kFirstGroup = 100;
    const std::string one = virtual_function(i);
    const std::string taken_by = driver == kVfioDriver ? driver : "";  // nvme's probe fails: they are offline
    add_function(one, "1cc1:0021", "010802", taken_by, kFirstGroup + static_cast<int>(i));
    put_link(function_folder(one) + "/physfn", "../" + bdf);
    put_link(fmt::format("{}/virtfn{}", folder, i), "../" + one);
  }
  return {};
}

void FakeMachine::add_disk(const std::string& bdf, const std::string& controller, const std::string& entry,
                           const std::string& number) {
  const std::string disk = block_device_name(entry);
  put_file(function_folder(bdf) + "/nvme/" + controller + "/" + entry + "/dev", number + "\n");
  put_file("/sys/class/nvme/" + controller + "/" + entry + "/dev", number + "\n");
  put_link("/sys/class/nvme/" + controller + "/device", "../../../bus/pci/devices/" + bdf);
  put_file("/sys/class/block/" + disk + "/dev", number + "\n");
  put_link("/sys/class/block/" + disk + "/device", "../../nvme/" + controller);
  put_file("/dev/" + disk, "");
}

void FakeMachine::identify(const std::string& disk, const std::string& subsystem, unsigned nsid,
                           const std::string& wwid) {
  const std::string folder = "/sys/class/block/" + disk;
  put_file(folder + "/nsid", fmt::format("{}\n", nsid));
  put_file(folder + "/device/subsysnqn", subsystem + "\n");
  if (!wwid.empty()) put_file(folder + "/wwid", wwid + "\n");
}

void FakeMachine::add_partition(const std::string& disk, const std::string& partition, const std::string& number) {
  put_file("/sys/class/block/" + disk + "/" + partition + "/partition", "1\n");
  put_file("/sys/class/block/" + partition + "/dev", number + "\n");
}

void FakeMachine::put_behind(const std::string& bdf, const std::string& above) {
  const std::string real = "/sys/devices/" + above + "/" + bdf;
  const std::string driver = Sysfs(root_).driver_of(bdf);
  fs::create_directories(place("/sys/devices/" + above));
  fs::rename(place(function_folder(bdf)), place(real));
  put_link(function_folder(bdf), "../../../devices/" + above + "/" + bdf);
  if (!driver.empty()) put_link(real + "/driver", "/absolute/drivers/" + driver);  // only its last part is read
}

void FakeMachine::add_process(int pid, const std::string& name, const std::string& file) {
  put_file(fmt::format("/proc/{}/comm", pid), name + "\n");
  put_link(fmt::format("/proc/{}/fd/3", pid), file);
}

std::string FakeMachine::override_of(const std::string& bdf) const {
  const auto found = overrides_.find(bdf);
  return found == overrides_.end() ? std::string() : found->second;
}

std::string FakeMachine::id_of(const std::string& bdf) {
  const auto function = Sysfs(root_).function(bdf);
  return function ? fmt::format("{:04x} {:04x}", function->vendor, function->device) : "";
}

Result<void> FakeMachine::probe(const std::string& bdf, const std::string& driver) {
  if (refused_.contains(driver + " " + bdf)) return fail_errno(EINVAL, fmt::format("probe of {}", bdf));
  put_link(function_folder(bdf) + "/driver", "../../drivers/" + driver);
  return {};
}

Result<void> FakeMachine::write(const std::string& path, std::string_view given) {
  const std::string attribute = path.substr(root_.size() + kBus.size() + 1);
  const std::string text(given == "\n" ? "" : given);
  const std::string noted = attribute + " < " + text;
  writes_.push_back(noted);
  if (const auto found = failing_.find(noted); found != failing_.end()) return fail_errno(found->second, noted);
  const Sysfs plain(root_);
  const fs::path parts(attribute);
  const std::string last = parts.filename();
  const std::string owner = parts.parent_path().filename();

  if (last == "unbind") {
    if (plain.driver_of(text) != owner) return fail_errno(ENODEV, noted);
    fs::remove(place(function_folder(text) + "/driver"));
    if (takers_.contains(text) && override_of(text).empty()) return probe(text, takers_[text]);
  } else if (last == "driver_override") {
    overrides_[owner] = text;
    put_file(function_folder(owner) + "/driver_override", (text.empty() ? "(null)" : text) + "\n");
  } else if (last == "bind") {
    return probe(text, owner);
  } else if (last == "drivers_probe") {
    if (!plain.driver_of(text).empty()) return {};
    if (!override_of(text).empty()) return probe(text, override_of(text));
    return probe(text, dynamic_ids_.contains(id_of(text)) ? "vfio-pci" : "nvme");
  } else if (last == "new_id") {
    if (!dynamic_ids_.insert(text).second) return fail_errno(EEXIST, noted);
    for (const auto& function : plain.functions([](const PciFunction& one) { return one.driver.empty(); }))
      if (id_of(function.bdf) == text && (override_of(function.bdf).empty() || override_of(function.bdf) == owner))
        (void)probe(function.bdf, owner);
  } else if (last == "remove_id") {
    if (dynamic_ids_.erase(text) == 0) return fail_errno(ENODEV, noted);
  } else if (last == "sriov_numvfs") {
    return set_numvfs(owner, static_cast<unsigned>(std::stoi(text)));
  } else if (last == "sriov_drivers_autoprobe") {
    put_file(function_folder(owner) + "/sriov_drivers_autoprobe", text + "\n");
  } else if (last == "nr_hugepages") {
    put_file(path.substr(root_.size()), text + "\n");
  } else {
    return fail_errno(ENOENT, noted);
  }
  return {};
}

}  // namespace pollux::vfio
