#include "pollux/driver/controller/virtualization.hpp"

#include <algorithm>
#include <array>
#include <span>

namespace pollux::nvme {
namespace {

constexpr std::array kTypes = {ResourceType::vq, ResourceType::vi};

const char* name_of(ResourceType type) { return type == ResourceType::vq ? "queue (VQ)" : "interrupt (VI)"; }

std::unexpected<Error> error(Controller& controller, std::string what, std::string advice = {}) {
  return fail(controller.device().address().text + ": " + what, std::move(advice));
}

// OACS is not looked at: QEMU 7.2 has the command and does not say so there.
Result<void> ask(Controller& controller, Cns cns, std::uint16_t from, std::span<std::byte> into) {
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::identify);
  command.cdw10 = identify::kCntid.put(identify::kCns.put(0u, static_cast<std::uint64_t>(cns)), from);
  const auto result = controller.admin(command, into, DataDirection::from_controller);
  if (!result) return std::unexpected(result.error());
  if (!result->status.ok())
    return error(controller,
                 fmt::format("Identify with CNS {:02x}h failed: {}", static_cast<unsigned>(cns), result->status.text()),
                 "only a primary controller, such as that of a physical function, has secondary ones");
  return {};
}

// Returns the number of resources modified. `what`: for messages.
Result<std::uint16_t> manage(Controller& primary, VirtualizationAction action, std::uint16_t id, ResourceType type,
                             std::uint16_t count, const std::string& what, std::string advice = {}) {
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::virtualization_management);
  command.cdw10 = virtualization::kAct.put(0u, static_cast<std::uint64_t>(action));
  command.cdw10 = virtualization::kRt.put(command.cdw10, static_cast<std::uint64_t>(type));
  command.cdw10 = virtualization::kCntlid.put(command.cdw10, id);
  command.cdw11 = virtualization::kNr.put(0u, count);
  const auto result = primary.admin(command);
  if (!result) return std::unexpected(result.error());
  if (!result->status.ok())
    return error(primary, fmt::format("cannot {}: {}", what, result->status.text()), std::move(advice));
  return static_cast<std::uint16_t>(virtualization::kNrm.of(result->dw0));
}

Result<void> set_online(Controller& primary, const SecondaryController& secondary, bool online) {
  const auto done =
      manage(primary, online ? VirtualizationAction::secondary_online : VirtualizationAction::secondary_offline,
             secondary.id, ResourceType::vq, 0,
             fmt::format("put virtual function {} {}", secondary.virtual_function, online ? "online" : "offline"),
             online ? "it exists only while the number of virtual functions is as high (\"pollux vfs\")" : "");
  if (!done) return std::unexpected(done.error());
  return {};
}

Result<SecondaryController> secondary_of(Controller& primary, std::uint16_t number) {
  const auto all = secondary_controllers(primary);
  if (!all) return std::unexpected(all.error());
  const auto is_it = [&](const SecondaryController& one) { return one.virtual_function == number; };
  const auto found = std::ranges::find_if(*all, is_it);
  if (number != 0 && std::ranges::count_if(*all, is_it) == 1) return *found;
  return error(primary, fmt::format("none, or more than one, of its {} secondary controllers is virtual function {}",
                                    all->size(), number));
}

// `have`: what the secondary has of them now. It is offline.
Result<void> assign(Controller& primary, const Resources& resources, ResourceType type,
                    const SecondaryController& secondary, std::uint32_t have, std::uint32_t count) {
  if (!resources.flexible || have == count) return {};
  if (count > resources.secondary_max)
    return error(primary, fmt::format("{} {} resources are too many: a virtual function may have {}", count,
                                      name_of(type), resources.secondary_max));
  if (count > resources.unassigned() + have)
    return error(primary,
                 fmt::format("{} {} resources are too many: {} of {} are unassigned, {} are the primary controller's",
                             count, name_of(type), resources.unassigned(), resources.total, resources.of_primary),
                 "allocate fewer to the primary controller and reset its function, or take a virtual function offline");
  const auto wanted = static_cast<std::uint16_t>(count);
  const auto given = manage(
      primary, VirtualizationAction::secondary_assign, secondary.id, type, wanted,
      fmt::format("assign {} {} resources to virtual function {}", count, name_of(type), secondary.virtual_function));
  if (!given) return std::unexpected(given.error());
  if (*given < count)
    return error(primary, fmt::format("virtual function {} was assigned {} {} resources instead of {}",
                                      secondary.virtual_function, *given, name_of(type), count));
  return {};
}

}  // namespace

Result<PrimaryController> decode(const PrimaryControllerCapabilities& page) {
  PrimaryController primary{.id = page.cntlid, .queues = {}, .interrupts = {}};
  if ((page.crt & crt::kVq) != 0) primary.queues = {true, page.vqfrt, page.vqrfa, page.vqrfap, page.vqfrsm};
  if ((page.crt & crt::kVi) != 0) primary.interrupts = {true, page.vifrt, page.virfa, page.virfap, page.vifrsm};
  for (const ResourceType type : kTypes) {
    const Resources& one = type == ResourceType::vq ? primary.queues : primary.interrupts;
    if (std::uint64_t{one.of_secondaries} + one.of_primary > one.total)
      return fail(fmt::format("of {} flexible {} resources {} are the secondary controllers' and {} the primary's",
                              one.total, name_of(type), one.of_secondaries, one.of_primary));
  }
  return primary;
}

Result<std::vector<SecondaryController>> decode(const SecondaryControllerList& page, std::uint16_t primary_id,
                                                std::uint32_t from) {
  if (page.num > kSecondaryEntries)
    return fail(fmt::format("the list of secondary controllers has {} entries of {}", page.num, kSecondaryEntries));
  std::vector<SecondaryController> found;
  for (const SecondaryControllerEntry& entry : std::span(page.entries, page.num)) {
    if (entry.scid < from || entry.scid == primary_id)
      return fail(
          fmt::format("the list of secondary controllers has {:#x}, where one from {:#x} on is due", entry.scid, from));
    if (entry.pcid != primary_id)
      return fail(
          fmt::format("secondary controller {:#x} is that of {:#x}, not of {:#x}", entry.scid, entry.pcid, primary_id));
    found.push_back({entry.scid, entry.vfn, scs::kOnline.of(entry.scs) != 0, entry.nvq, entry.nvi});
    from = entry.scid + 1u;
  }
  return found;
}

Result<PrimaryController> primary_controller(Controller& primary) {
  PrimaryControllerCapabilities page{};
  if (const auto read =
          ask(primary, Cns::primary_controller_capabilities, 0, std::as_writable_bytes(std::span(&page, 1)));
      !read)
    return std::unexpected(read.error());
  auto decoded = decode(page);
  if (!decoded) return error(primary, decoded.error().what);
  if (decoded->id != primary.identity().cntlid)
    return error(primary, fmt::format("controller {:#x} calls itself {:#x} among the primary controllers",
                                      primary.identity().cntlid, decoded->id));
  return decoded;
}

Result<std::vector<SecondaryController>> secondary_controllers(Controller& primary) {
  constexpr std::uint32_t kMaxControllerId = 0xffff;
  std::vector<SecondaryController> all;
  // Each round ends, or moves on by as many identifiers as the page has entries.
  for (std::uint32_t from = 0; from <= kMaxControllerId; from = all.back().id + 1u) {
    SecondaryControllerList page{};
    if (const auto read = ask(primary, Cns::secondary_controller_list, static_cast<std::uint16_t>(from),
                              std::as_writable_bytes(std::span(&page, 1)));
        !read)
      return std::unexpected(read.error());
    const auto some = decode(page, primary.identity().cntlid, from);
    if (!some) return error(primary, some.error().what);
    all.insert(all.end(), some->begin(), some->end());
    if (some->size() < kSecondaryEntries) break;
  }
  return all;
}

Result<std::uint16_t> allocate_to_primary(Controller& primary, ResourceType type, std::uint16_t count) {
  return manage(primary, VirtualizationAction::primary_flexible_allocation, primary.identity().cntlid, type, count,
                fmt::format("allocate {} {} resources to the primary controller", count, name_of(type)));
}

Result<void> bring_online(Controller& primary, std::uint16_t number, const SecondaryWants& wants) {
  const auto resources = primary_controller(primary);
  if (!resources) return std::unexpected(resources.error());
  const auto secondary = secondary_of(primary, number);
  if (!secondary) return std::unexpected(secondary.error());
  const std::uint32_t queues = std::max<std::uint32_t>(wants.io_queues, 1) + 1;  // the admin queue is one
  const std::uint32_t interrupts = std::max<std::uint32_t>(wants.interrupts, 1);
  if (secondary->online) {
    const bool queues_suffice = !resources->queues.flexible || secondary->queues >= queues;
    const bool interrupts_suffice = !resources->interrupts.flexible || secondary->interrupts >= interrupts;
    if (queues_suffice && interrupts_suffice) return {};
    return error(primary,
                 fmt::format("virtual function {} is online with {} VQ and {} VI resources, {} and {} are wanted",
                             number, secondary->queues, secondary->interrupts, queues, interrupts),
                 "take it offline first: whoever drives it loses it");
  }
  if (auto given = assign(primary, resources->queues, ResourceType::vq, *secondary, secondary->queues, queues); !given)
    return given;
  if (auto given =
          assign(primary, resources->interrupts, ResourceType::vi, *secondary, secondary->interrupts, interrupts);
      !given)
    return given;
  return set_online(primary, *secondary, true);
}

Result<void> take_offline(Controller& primary, std::uint16_t number) {
  const auto secondary = secondary_of(primary, number);
  if (!secondary) return std::unexpected(secondary.error());
  return set_online(primary, *secondary, false);
}

}  // namespace pollux::nvme
