// Namespaces that change under open channels: a channel whose commands would mean other blocks, or blocks of another
// size, is stopped for good. By an admin command that is about to change them, or because the controller has told of a
// change (NVMe base 2.0c, 5.2: Namespace Attribute Changed).
#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/controller/patience.hpp"

namespace pollux::nvme {
namespace {

// Identify Controller, FNA, figure 275: what Format NVM of one namespace reaches.
constexpr std::uint8_t kFormatsAll = 1u << 0, kErasesAll = 1u << 1;

std::unexpected<Error> not_identified(std::uint32_t nsid, Status status) {
  return fail(fmt::format("namespace {} cannot be identified: {}", nsid, status.text()), "open the drive anew");
}

}  // namespace

// The namespace whose blocks or content the command changes; kNsidAll: those of all; 0: of none.
std::uint32_t Controller::namespace_changed_by(const Command& command) const {
  switch (static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0))) {
    case AdminOpcode::format_nvm: {
      const bool erases = format_command::kSes.of(command.cdw10) != 0;
      const bool all = (identity_.fna & kFormatsAll) != 0 || (erases && (identity_.fna & kErasesAll) != 0);
      return all ? kNsidAll : command.nsid;
    }
    case AdminOpcode::sanitize:
      return sanitize_command::kSanact.of(command.cdw10) == sanitize_command::kExitFailureMode ? 0 : kNsidAll;
    case AdminOpcode::namespace_management:
      return namespace_management::kSel.of(command.cdw10) == namespace_management::kDelete ? command.nsid : 0;
    case AdminOpcode::namespace_attachment:
      return namespace_management::kSel.of(command.cdw10) == namespace_management::kDetach ? command.nsid : 0;
    default:
      return 0;
  }
}

// Firmware that is activated without a reset: whether it changes anything is seen afterwards.
bool Controller::activates_firmware(const Command& command) {
  return static_cast<AdminOpcode>(cdw0::kOpcode.of(command.cdw0)) == AdminOpcode::firmware_commit &&
         firmware_commit::kCa.of(command.cdw10) == firmware_commit::kActivateNow;
}

// Afterwards nothing of their channels reaches the namespace: the owners keep away from their doorbells, and the queues
// are deleted, whatever becomes of the change. An owner that does not poll is not waited for long.
void Controller::revoke(const std::function<bool(const QueueId&)>& concerned) {
  constexpr std::uint64_t kParkWaitNs = 50 * kNsPerMs, kPauseNs = 20'000;
  std::vector<QueueId*> revoked;
  for (QueueId& id : queue_ids_) {
    if (id.revocation != nullptr && concerned(id)) revoked.push_back(&id);
  }
  if (revoked.empty()) return;
  for (QueueId* const id : revoked) {
    id->ns = {};  // no reset looks for it any more
    id->revocation->store(Revocation::wanted, std::memory_order_release);
  }
  announce();
  const std::uint64_t deadline_ns = clock_.now_ns() + kParkWaitNs;
  const auto works = [](const QueueId* id) {
    return id->revocation->load(std::memory_order_acquire) == Revocation::wanted;
  };
  while (std::ranges::any_of(revoked, works) && clock_.now_ns() < deadline_ns) clock_.pause_ns(kPauseNs);

  bool deleted = true;
  for (const QueueId* const id : revoked) {
    const auto qid = static_cast<std::uint16_t>(id - queue_ids_.data() + 1);
    if (id->epoch == epoch()) deleted = delete_queue(qid) && deleted;
  }
  if (!deleted && state_ == State::up) (void)reset_locked();
  // Who may still write to their memory is not waited for any more.
  if (state_ == State::away)
    (void)give_back({"the device went away while channels were stopped", "open the drive anew"});
  for (QueueId* const id : revoked) {
    id->epoch = 0;
    std::exchange(id->revocation, nullptr)->store(Revocation::done, std::memory_order_release);
  }
  announce();
}

// Those of this namespace; kNsidAll: all; 0: none.
void Controller::revoke_channels(std::uint32_t nsid) {
  if (nsid != 0) revoke([=](const QueueId& id) { return nsid == kNsidAll || id.ns.nsid == nsid; });
}

// Those that were opened for what a namespace was, and is not any more.
void Controller::revoke_changed() {
  std::vector<NamespaceIdentity> open;
  for (const QueueId& id : queue_ids_) {
    if (id.revocation != nullptr && std::ranges::find(open, id.ns) == open.end()) open.push_back(id.ns);
  }
  for (const NamespaceIdentity& ns : open) {
    const auto same = is_same_namespace(ns);
    if (!same) return ask_for_reset(epoch());  // which looks again
    if (!*same) revoke([&](const QueueId& id) { return id.ns == ns; });
  }
}

Result<Status> Controller::identify_locked(Cns cns, std::uint32_t nsid, std::span<std::byte> into) {
  Command command;
  command.cdw0 = static_cast<std::uint32_t>(AdminOpcode::identify);
  command.nsid = nsid;
  command.cdw10 = identify::kCns.put(0u, static_cast<std::uint64_t>(cns));
  return ask_patiently(clock_, [&]() -> Result<Status> {
    const auto result = admin_locked(command, into, DataDirection::from_controller);
    if (!result) return std::unexpected(result.error());
    return result->status;
  });
}

Result<std::vector<NsId>> Controller::descriptors_locked(std::uint32_t nsid) {
  if (!describes_namespaces_locked()) return std::vector<NsId>{};
  std::vector<std::byte> page(kIdentifyBytes);
  const auto status = identify_locked(Cns::ns_descriptors, nsid, page);
  if (!status) return std::unexpected(status.error());
  if (may_pass(*status)) return not_identified(nsid, *status);
  return status->ok() ? parse_ns_descriptors(page) : std::vector<NsId>{};
}

// Before any owner hears that the controller is up again: what is sent again must mean the blocks that it meant before.
Result<void> Controller::check_namespaces() {
  for (auto id = queue_ids_.begin(); id != queue_ids_.end(); ++id) {
    const NamespaceIdentity& ns = id->ns;
    if (ns.nsid == 0) continue;
    if (std::any_of(queue_ids_.begin(), id, [&](const QueueId& earlier) { return earlier.ns == ns; })) continue;
    const auto same = is_same_namespace(ns);
    if (!same) return std::unexpected(same.error());
    if (*same) continue;
    return fail(fmt::format("namespace {} is another one after the reset, or is gone: its block size, command set, "
                            "NGUID, EUI64 or UUID differs",
                            ns.nsid),
                "open the drive anew");
  }
  return {};
}

Result<bool> Controller::is_same_namespace(const NamespaceIdentity& ns) {
  IdentifyNamespace found{};
  const auto status = identify_locked(Cns::ns, ns.nsid, std::as_writable_bytes(std::span(&found, 1)));
  if (!status) return std::unexpected(status.error());
  if (may_pass(*status)) return not_identified(ns.nsid, *status);
  if (!status->ok()) return false;
  // No channel is opened on such a one.
  if (format_of(found).ms != 0 || dps::kPit.of(found.dps) != 0) return false;
  const auto descriptors = descriptors_locked(ns.nsid);
  if (!descriptors) return std::unexpected(descriptors.error());
  return identity_of(ns.nsid, found, *descriptors, quirks_) == ns;
}

// A first queue for a namespace that was looked at earlier: meanwhile somebody may have formatted it, or a reset have
// brought other firmware, and no channel was there to be stopped. Later check_namespaces() and revoke_channels() watch.
Result<void> Controller::still_as_told(const IoQueue& queue) {
  if (queue.ns.nsid == 0) return {};
  const auto same = is_same_namespace(queue.ns);
  if (!same) return std::unexpected(same.error());
  if (const std::uint64_t limit = transfer_limit_locked(); limit != 0 && queue.max_transfer_bytes > limit)
    return fail(fmt::format("the largest transfer (MDTS) is {} bytes since a reset", limit), "open the channel anew");
  const bool has_unknown_cache = (identity_.vwc & 1) != 0 && !queue.knows_volatile_cache;
  if (*same && !has_unknown_cache) return {};
  return fail(fmt::format("namespace {} is not what it was when it was opened", queue.ns.nsid),
              "open it anew, and the channel");
}

}  // namespace pollux::nvme
