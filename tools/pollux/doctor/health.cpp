// Temperature and health: the SMART log, NVMe base 2.0c, 5.16.1.3.
#include <fcntl.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <pollux/block.hpp>

#include "pollux/driver/controller/identify.hpp"
#include "pollux/tools/pollux/doctor/checks.hpp"
#include "pollux/vfio/file_descriptor.hpp"
#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/readiness.hpp"

namespace pollux::cli {
namespace {

constexpr int kZeroCelsius = 273;  // in whole kelvin, as the specification counts

// A page of data from the controller by an admin command, through the kernel's nvme driver.
template <typename Data>
Result<Data> ask_kernel(const vfio::FileDescriptor& controller, nvme::AdminOpcode opcode, std::uint32_t nsid,
                        std::uint32_t cdw10) {
  Data data{};
  nvme_admin_cmd command{};
  command.opcode = static_cast<std::uint8_t>(opcode);
  command.nsid = nsid;
  command.addr = reinterpret_cast<std::uintptr_t>(&data);
  command.data_len = sizeof(data);
  command.cdw10 = cdw10;
  constexpr std::uint32_t kTimeoutMs = 5000;
  command.timeout_ms = kTimeoutMs;
  const int status = ioctl(controller.get(), NVME_IOCTL_ADMIN_CMD, &command);
  if (status < 0) return fail_errno(errno, "the kernel's nvme driver does not pass the question on");
  if (status > 0) return fail(fmt::format("the drive answers with status {:#x}", status));
  return data;
}

Result<Health> by_kernel(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  const auto names = sysfs.names(vfio::function_folder(function.bdf) + "/nvme");
  if (names.empty()) return fail("the kernel's nvme driver has no controller for it");
  const std::string node = "/dev/" + names.front();
  const vfio::FileDescriptor controller(open(node.c_str(), O_RDONLY | O_CLOEXEC));
  if (!controller) return fail_errno(errno, fmt::format("cannot open {}", node));
  // Retain Asynchronous Event: what the drive has told the kernel stays the kernel's to acknowledge.
  using namespace nvme::get_log;
  std::uint32_t which = kLid.put(0u, static_cast<std::uint64_t>(nvme::LogId::smart));
  which = kRae.put(which, 1);
  which = kNumdl.put(which, sizeof(nvme::SmartLog) / 4 - 1);
  const auto log = ask_kernel<nvme::SmartLog>(controller, nvme::AdminOpcode::get_log_page, nvme::kNsidAll, which);
  if (!log) return std::unexpected(log.error());
  const auto identity = ask_kernel<nvme::IdentifyController>(controller, nvme::AdminOpcode::identify, 0,
                                                             static_cast<std::uint32_t>(nvme::Cns::controller));
  if (!identity) return std::unexpected(identity.error());
  return Health{*log, identity->wctemp};
}

template <std::size_t kBytes>
std::string text_of(const char (&field)[kBytes]) {
  return std::string(field, kBytes);
}

Result<Health> by_opening(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  auto drive = Drive::open(vfio::address_of(sysfs, function));
  if (!drive) return std::unexpected(std::move(drive.error()));
  nvme::Controller& controller = (*drive)->controller();
  const auto log = nvme::smart_log(controller);
  if (!log) return std::unexpected(log.error());
  const nvme::IdentifyController& identity = controller.identity();
  Health health{*log, identity.wctemp};
  const auto active = nvme::active_namespaces(controller);
  if (!active) return std::unexpected(active.error());
  for (const std::uint32_t nsid : *active)
    health.namespaces.push_back({text_of(identity.subnqn), text_of(identity.sn), text_of(identity.mn), nsid});
  const auto first = (*drive)->open_namespace();
  health.first_nsid = first ? Result<std::uint32_t>(first->nsid) : std::unexpected(first.error());
  if (auto down = (*drive)->shutdown(); !down) return std::unexpected(down.error());
  return health;
}

// Whether there is something to read and write.
Finding first_namespace(const Result<std::uint32_t>& nsid) {
  if (nsid) return {"namespace", Severity::fine, fmt::format("{} is the first that pollux drives", *nsid)};
  const Error& why = nsid.error();
  return {"namespace", Severity::blocked, why.what, why.advice.empty() ? "take another drive" : why.advice};
}

}  // namespace

Result<Health> read_health(const vfio::Sysfs& sysfs, const vfio::PciFunction& function) {
  if (function.driver == vfio::kVfioDriver) return by_opening(sysfs, function);
  if (function.driver == vfio::kNvmeDriver) return by_kernel(sysfs, function);
  return fail("no driver that could ask has it");
}

Findings examine_health(const Machine& machine, const vfio::PciFunction& function) {
  const auto health = machine.health(function);
  // Opening it is the proof of all that was looked at before.
  if (!health && function.driver == vfio::kVfioDriver)
    return {{"opens", Severity::blocked, health.error().what, health.error().advice}};
  if (!health) return {{"health", Severity::note, "not read: " + health.error().message()}};
  const nvme::SmartLog& log = health->log;
  const std::uint16_t kelvin = log.composite_temperature;
  Finding temperature{"temperature", Severity::fine,
                      kelvin == 0 ? "the drive does not tell" : fmt::format("{} °C", kelvin - kZeroCelsius)};
  if (health->warning_kelvin != 0 && kelvin >= health->warning_kelvin) {
    temperature.severity = Severity::warning;
    temperature.found += fmt::format("; the drive warns from {} °C on", health->warning_kelvin - kZeroCelsius);
    temperature.remedy = "cool it: it will slow down, or lose its life early";
  }

  // Critical Warning, figure 207.
  constexpr const char* kWarnings[] = {
      "its spare is used up", "its temperature is out of range",          "its reliability is degraded",
      "it is read-only",      "its backup of volatile memory has failed", "its persistent memory is read-only"};
  std::vector<std::string> complaints;
  for (unsigned bit = 0; bit < std::size(kWarnings); bit++)
    if ((log.critical_warning >> bit & 1) != 0) complaints.emplace_back(kWarnings[bit]);
  constexpr int kWorn = 100;  // percent
  if (log.percentage_used >= kWorn) complaints.emplace_back("it has lived as long as its vendor expects");
  Finding state{"health", Severity::fine,
                fmt::format("{} % used, {} % of its spare left, {} media errors", log.percentage_used,
                            log.available_spare, log.media_errors.low)};
  if (log.media_errors.high != 0) state.found = "more media errors than 64 bits count";
  if (!complaints.empty()) {
    state.severity = Severity::warning;
    state.found += fmt::format("; the drive says that {}", fmt::join(complaints, ", and that "));
    state.remedy = "save what is on it, and replace it";
  }
  Findings findings;
  if (function.driver == vfio::kVfioDriver)
    findings.push_back(use_finding(vfio::uses_of(machine.sysfs, health->namespaces)));
  if (!health->first_nsid || *health->first_nsid != 0) findings.push_back(first_namespace(health->first_nsid));
  findings.push_back(std::move(temperature));
  findings.push_back(std::move(state));
  return findings;
}

}  // namespace pollux::cli
