#include "pollux/driver/identify.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <span>

namespace pollux::nvme {
namespace {

struct Name {
  CommandSet set;
  const char* name;
};

constexpr Name kNames[] = {
    {CommandSet::nvm, "NVM"},
    {CommandSet::key_value, "key value"},
    {CommandSet::zoned, "zoned"},
    {CommandSet::local_memory, "subsystem local memory"},
    {CommandSet::computational_programs, "computational programs"},
};

std::unexpected<Error> error(Controller& controller, std::string what) {
  return fail(controller.device().address().text + ": " + what);
}

Result<Status> ask(Controller& controller, Cns cns, std::uint32_t nsid, std::span<std::byte> into,
                   CommandSet set = CommandSet::nvm) {
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::identify);
  command.nsid = nsid;
  command.cdw10 = identify::kCns.put(0u, static_cast<std::uint64_t>(cns));
  command.cdw11 = identify::kCsi.put(0u, static_cast<std::uint64_t>(set));
  const auto result = controller.admin(command, into, DataDirection::from_controller);
  if (!result) return std::unexpected(result.error());
  return result->status;
}

}  // namespace

Result<std::vector<std::uint32_t>> active_namespaces(Controller& controller) {
  const std::uint32_t nn = controller.identity().nn;
  const std::uint64_t deadline_ns = controller.clock().now_ns() + kNamespacesTimeoutMs * kNsPerMs;
  const auto late = [&] {
    return error(controller, fmt::format("its namespaces could not be listed within {} ms", kNamespacesTimeoutMs));
  };
  std::vector<std::uint32_t> list(kNsListEntries);
  std::vector<std::uint32_t> active;
  std::uint32_t after = 0;
  for (;;) {
    if (controller.clock().now_ns() > deadline_ns) return late();
    const auto status = ask(controller, Cns::active_ns_list, after, std::as_writable_bytes(std::span(list)));
    if (!status) return std::unexpected(status.error());
    if (after == 0 && status->code() == StatusCode::invalid_field) break;
    if (!status->ok()) return error(controller, "the list of active namespaces cannot be read: " + status->text());
    for (const std::uint32_t nsid : list) {
      if (nsid == 0) return active;
      if (nsid <= after || nsid > nn)
        return error(controller, fmt::format("the active list has namespace {} after {}, of {}", nsid, after, nn));
      if (active.size() == kMaxNamespaces)
        return error(controller, fmt::format("it has more than {} active namespaces", kMaxNamespaces));
      active.push_back(after = nsid);
    }
  }
  constexpr std::uint32_t kMaxNamespacesTried = 1024;
  for (std::uint32_t nsid = 1; nsid <= std::min(nn, kMaxNamespacesTried); ++nsid) {
    if (controller.clock().now_ns() > deadline_ns) return late();
    const auto ns = identify_namespace(controller, nsid);
    if (!ns) return std::unexpected(ns.error());
    if (ns->nsze != 0) active.push_back(nsid);
  }
  return active;
}

Result<IdentifyNamespace> identify_namespace(Controller& controller, std::uint32_t nsid) {
  IdentifyNamespace ns{};
  const auto status = ask(controller, Cns::ns, nsid, std::as_writable_bytes(std::span(&ns, 1)));
  if (!status) return std::unexpected(status.error());
  if (!status->ok()) return error(controller, fmt::format("Identify Namespace {} failed: {}", nsid, status->text()));
  return ns;
}

Result<IdentifyControllerNvm> identify_nvm(Controller& controller) {
  constexpr std::uint32_t kVersion2 = 0x0002'0000;
  IdentifyControllerNvm limits{};
  if (controller.version() < kVersion2) return limits;
  const auto status = ask(controller, Cns::command_set_controller, 0, std::as_writable_bytes(std::span(&limits, 1)));
  if (!status) return std::unexpected(status.error());
  if (!status->ok()) return IdentifyControllerNvm{};
  return limits;
}

Result<std::vector<NsId>> namespace_descriptors(Controller& controller, std::uint32_t nsid) {
  if (!controller.describes_namespaces()) return std::vector<NsId>{};
  std::vector<std::byte> page(kIdentifyBytes);
  const auto status = ask(controller, Cns::ns_descriptors, nsid, page);
  if (!status) return std::unexpected(status.error());
  return status->ok() ? parse_ns_descriptors(page) : std::vector<NsId>{};
}

Result<CommandSet> command_set(Controller& controller, std::uint32_t nsid, std::span<const NsId> descriptors) {
  for (const NsId& descriptor : descriptors) {
    if (descriptor.type == NsIdType::csi && descriptor.value.size() == 1)
      return static_cast<CommandSet>(descriptor.value.front());
  }
  if (!controller.knows_command_sets()) return CommandSet::nvm;
  for (const Name& one : kNames) {
    std::vector<std::uint32_t> list(kNsListEntries);
    const auto status =
        ask(controller, Cns::command_set_active_ns_list, nsid - 1, std::as_writable_bytes(std::span(list)), one.set);
    if (!status) return std::unexpected(status.error());
    if (status->ok() && list.front() == nsid) return one.set;
  }
  return error(controller, fmt::format("the controller knows several command sets, and does not tell which one "
                                       "namespace {} has (Identify, CNS 03h and 07h)",
                                       nsid));
}

const char* name_of(CommandSet set) {
  const auto* const found = std::ranges::find(kNames, set, &Name::set);
  return found != std::end(kNames) ? found->name : "unknown";
}

Result<SmartLog> smart_log(Controller& controller) {
  SmartLog log{};
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::get_log_page);
  command.nsid = kNsidAll;
  command.cdw10 = get_log::kLid.put(0u, static_cast<std::uint64_t>(LogId::smart));
  command.cdw10 = get_log::kNumdl.put(command.cdw10, sizeof log / 4 - 1);
  const auto result =
      controller.admin(command, std::as_writable_bytes(std::span(&log, 1)), DataDirection::from_controller);
  if (!result) return std::unexpected(result.error());
  if (!result->status.ok()) return error(controller, "the SMART log cannot be read: " + result->status.text());
  return log;
}

}  // namespace pollux::nvme
