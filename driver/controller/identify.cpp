#include "pollux/driver/controller/identify.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <span>

#include "pollux/driver/controller/patience.hpp"

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
  return ask_patiently(controller.clock(), [&]() -> Result<Status> {
    const auto result = controller.admin(command, into, DataDirection::from_controller);
    if (!result) return std::unexpected(result.error());
    return result->status;
  });
}

std::unexpected<Error> late(Controller& controller) {
  return error(controller, fmt::format("its namespaces could not be listed within {} ms", kNamespacesTimeoutMs));
}

// By the list, CNS 02h, a page after the other. Nothing: the controller does not give it. An entry that cannot be one,
// as it lies beyond NN or is there twice, is left out.
Result<std::optional<std::vector<std::uint32_t>>> listed_namespaces(Controller& controller, std::uint64_t deadline_ns) {
  std::vector<std::uint32_t> page(kNsListEntries);
  std::vector<std::uint32_t> active;
  std::uint32_t after = 0;
  for (bool is_last = false; !is_last;) {
    if (controller.clock().now_ns() > deadline_ns) return late(controller);
    const auto status = ask(controller, Cns::active_ns_list, after, std::as_writable_bytes(std::span(page)));
    if (!status) return std::unexpected(status.error());
    if (!status->ok() && after == 0) return std::nullopt;
    if (!status->ok()) return error(controller, "the list of active namespaces cannot be read: " + status->text());
    std::uint32_t highest = after;
    for (const std::uint32_t nsid : page) {
      is_last = is_last || nsid == 0;
      if (is_last || nsid > controller.identity().nn) continue;
      highest = std::max(highest, nsid);
      active.push_back(nsid);
    }
    is_last = is_last || highest == after;  // a page that leads no further
    after = highest;
    std::ranges::sort(active);
    active.erase(std::unique(active.begin(), active.end()), active.end());
    if (active.size() > kMaxNamespaces)
      return error(controller, fmt::format("it has more than {} active namespaces", kMaxNamespaces));
  }
  return active;
}

// One that Identify refuses is not there. If it refuses all of them then that is what there is to tell.
Result<std::vector<std::uint32_t>> namespaces_up_to_nn(Controller& controller, std::uint64_t deadline_ns) {
  constexpr std::uint32_t kMaxNamespacesTried = 1024;
  std::vector<std::uint32_t> active;
  Status refused;
  bool was_answered = false;
  for (std::uint32_t nsid = 1; nsid <= std::min(controller.identity().nn, kMaxNamespacesTried); ++nsid) {
    if (controller.clock().now_ns() > deadline_ns) return late(controller);
    IdentifyNamespace ns{};
    const auto status = ask(controller, Cns::ns, nsid, std::as_writable_bytes(std::span(&ns, 1)));
    if (!status) return std::unexpected(status.error());
    if (!status->ok()) {
      refused = *status;
      continue;
    }
    was_answered = true;
    if (ns.nsze != 0) active.push_back(nsid);
  }
  if (!was_answered && !refused.ok()) return error(controller, "it identifies no namespace: " + refused.text());
  return active;
}

}  // namespace

Result<std::vector<std::uint32_t>> active_namespaces(Controller& controller) {
  constexpr std::uint32_t kVersion11 = 0x0001'0100, kVersion12 = 0x0001'0200;
  const std::uint64_t deadline_ns = controller.clock().now_ns() + kNamespacesTimeoutMs * kNsPerMs;
  const std::uint32_t lists_since = controller.quirks().has(Quirk::identify_cns) ? kVersion12 : kVersion11;
  if (controller.version() < lists_since) return namespaces_up_to_nn(controller, deadline_ns);
  auto active = listed_namespaces(controller, deadline_ns);
  if (!active) return std::unexpected(active.error());
  return *active ? std::move(**active) : namespaces_up_to_nn(controller, deadline_ns);
}

std::vector<std::uint32_t> allocated_namespaces(Controller& controller) {
  if ((controller.identity().oacs & oacs::kNamespaceManagement) == 0) return {};
  std::vector<std::uint32_t> page(kNsListEntries);
  const auto status = ask(controller, Cns::allocated_ns_list, 0, std::as_writable_bytes(std::span(page)));
  if (!status || !status->ok()) return {};
  page.erase(std::ranges::find(page, 0u), page.end());
  return page;
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
  // Without them it might be taken for another namespace later.
  if (may_pass(*status))
    return error(controller, fmt::format("the descriptors of namespace {} cannot be read: {}", nsid, status->text()));
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
