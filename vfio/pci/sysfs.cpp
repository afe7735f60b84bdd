#include "pollux/vfio/pci/sysfs.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/uninterrupted.hpp"

namespace pollux::vfio {
namespace {

namespace fs = std::filesystem;

// "0x010802" or "17"; nothing where it is neither.
template <typename Number>
std::optional<Number> parsed(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) {
    text.remove_prefix(2);
    base = 16;
  }
  Number value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || stop == text.data()) return std::nullopt;
  return value;
}

// An attribute takes its text in one write, and answers with it.
Result<void> write_attribute(const std::string& path, std::string_view text) {
  const FileDescriptor file = open_file(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (!file) return fail_errno(errno, fmt::format("cannot open {} for writing", path));
  const ssize_t written = uninterrupted([&] { return ::write(file.get(), text.data(), text.size()); });
  if (written < 0) return fail_errno(errno, fmt::format("cannot write \"{}\" to {}", text, path));
  if (static_cast<std::size_t>(written) != text.size())
    return fail(fmt::format("{} took {} of {} bytes", path, written, text.size()));
  return {};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The digits at `at`, without zeros before them; `at` moves behind.
std::string_view number_at(std::string_view text, std::size_t& at) {
  while (at + 1 < text.size() && text[at] == '0' && is_digit(text[at + 1])) at++;
  const std::size_t begin = at;
  while (at < text.size() && is_digit(text[at])) at++;
  return text.substr(begin, at - begin);
}

std::vector<std::string> block_devices(const Sysfs& sysfs, const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& controller : sysfs.names(folder + "/nvme"))
    for (const auto& entry : sysfs.names(folder + "/nvme/" + controller))
      if (auto name = block_device_name(entry); !name.empty()) found.push_back(std::move(name));
  std::ranges::sort(found, counts_before);
  found.erase(std::ranges::unique(found).begin(), found.end());
  return found;
}

std::string link_of(const Sysfs& sysfs, const std::string& folder) {
  const std::string speed = sysfs.line(folder + "/current_link_speed");
  const std::string width = sysfs.line(folder + "/current_link_width");
  return speed.empty() || width.empty() ? std::string() : fmt::format("{} x{}", speed, width);
}

}  // namespace

std::string block_device_name(std::string_view entry) {
  if (!entry.starts_with("nvme")) return {};
  std::size_t at = 4;
  const auto skip_digits = [&] {
    const std::size_t begin = at;
    while (at < entry.size() && entry[at] >= '0' && entry[at] <= '9') at++;
    return at != begin;
  };
  if (!skip_digits()) return {};
  const std::string controller(entry.substr(0, at));
  if (at < entry.size() && entry[at] == 'c') {
    at++;
    if (!skip_digits()) return {};
  }
  const std::size_t ns = at;
  if (at == entry.size() || entry[at++] != 'n' || !skip_digits() || at != entry.size()) return {};
  return controller + std::string(entry.substr(ns));
}

bool counts_before(std::string_view a, std::string_view b) {
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto first = number_at(a, i), second = number_at(b, j);
      if (first.size() != second.size()) return first.size() < second.size();
      if (first != second) return first < second;
    } else if (a[i] == b[j]) {
      i++, j++;
    } else {
      return a[i] < b[j];
    }
  }
  return a.size() - i < b.size() - j;
}

std::string function_folder(std::string_view bdf) { return fmt::format("/sys/bus/pci/devices/{}", bdf); }
std::string driver_folder(std::string_view driver) { return fmt::format("/sys/bus/pci/drivers/{}", driver); }

Sysfs::Sysfs(std::string root, Writer writer)
    : root_(std::move(root)), writer_(writer ? std::move(writer) : write_attribute) {}

std::string Sysfs::line(std::string_view absolute) const {
  std::ifstream file(path(absolute));
  std::string text;
  std::getline(file, text);
  return text;
}

std::optional<std::uint64_t> Sysfs::number(std::string_view absolute) const {
  return parsed<std::uint64_t>(line(absolute));
}

std::vector<std::string> Sysfs::names(std::string_view absolute) const {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator at(path(absolute), error), end; !error && at != end && found.size() < kMaxEntries;
       at.increment(error))
    found.push_back(at->path().filename());
  std::ranges::sort(found);
  return found;
}

std::string Sysfs::link_target(std::string_view absolute) const {
  std::error_code error;
  const fs::path target = fs::read_symlink(path(absolute), error);
  return error ? std::string() : target.string();
}

std::string Sysfs::link_name(std::string_view absolute) const {
  return fs::path(link_target(absolute)).filename().string();
}

std::optional<DeviceNode> Sysfs::node_at(std::string_view absolute) const {
  struct statx found{};
  if (statx(AT_FDCWD, path(absolute).c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &found) != 0) return std::nullopt;
  if (!S_ISBLK(found.stx_mode) && !S_ISCHR(found.stx_mode)) return std::nullopt;
  return DeviceNode{S_ISBLK(found.stx_mode), fmt::format("{}:{}", found.stx_rdev_major, found.stx_rdev_minor)};
}

std::string Sysfs::driver_of(const std::string& bdf) const { return link_name(function_folder(bdf) + "/driver"); }

bool Sysfs::has_driver(std::string_view driver) const {
  std::error_code error;
  return fs::exists(path(driver_folder(driver)), error);
}

Result<void> Sysfs::write(std::string_view absolute, std::string_view text) const {
  auto written = writer_(path(absolute), text);
  if (written) return written;
  const int os_error = written.error().os_error;
  if (os_error == EACCES || os_error == EPERM)
    written.error().advice = "this changes sysfs and needs root: run it with sudo";
  if (os_error == EROFS) written.error().advice = "sysfs is read-only here, as in a container: do it on the host";
  return written;
}

Result<PciFunction> Sysfs::function(const std::string& bdf) const {
  const std::string folder = function_folder(bdf);
  std::error_code error;
  if (!fs::exists(path(folder), error))
    return fail(fmt::format("there is no PCI function {} on this machine", bdf),
                "\"pollux list\" shows the NVMe functions that there are");
  PciFunction function;
  function.bdf = bdf;
  function.vendor = parsed<std::uint16_t>(line(folder + "/vendor")).value_or(0);
  function.device = parsed<std::uint16_t>(line(folder + "/device")).value_or(0);
  function.class_code = parsed<std::uint32_t>(line(folder + "/class")).value_or(0);
  function.driver = driver_of(bdf);
  function.group = parsed<unsigned>(link_name(folder + "/iommu_group"));
  function.numa_node = parsed<int>(line(folder + "/numa_node")).value_or(-1);
  function.block_devices = block_devices(*this, folder);
  function.link = link_of(*this, folder);
  function.physical_function = link_name(folder + "/physfn");
  return function;
}

std::vector<PciFunction> Sysfs::functions(const std::function<bool(const PciFunction&)>& keep) const {
  std::vector<PciFunction> found;
  for (const auto& bdf : names("/sys/bus/pci/devices"))
    if (auto one = function(bdf); one && keep(*one)) found.push_back(std::move(*one));
  return found;
}

std::vector<PciFunction> Sysfs::nvm_functions() const {
  return functions([](const PciFunction& one) { return one.is_nvm(); });
}

std::vector<PciFunction> Sysfs::group_members(unsigned group) const {
  std::vector<PciFunction> found;
  for (const auto& bdf : names(fmt::format("/sys/kernel/iommu_groups/{}/devices", group)))
    if (auto one = function(bdf)) found.push_back(std::move(*one));
  return found;
}

}  // namespace pollux::vfio
