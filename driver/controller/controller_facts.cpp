// What the controller is, as its registers and Identify tell at each bring-up; and whether what a reset has brought is
// still what open channels were made for. A reset may have activated other firmware, or found another drive.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "pollux/driver/controller/controller.hpp"
#include "pollux/driver/queue/prp.hpp"
#include "pollux/driver/spec/registers.hpp"

namespace pollux::nvme {
namespace {

// An ASCII field, padded with spaces; what a hostile controller puts there instead becomes '?'.
std::string text_of(std::span<const char> field) {
  std::string text(field.begin(), field.end());
  text.resize(text.find_last_not_of(std::string_view(" \0", 2)) + 1);
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

std::string name_of(const IdentifyController& identity) {
  return fmt::format("{} with serial number {} and firmware {}", text_of(identity.mn), text_of(identity.sn),
                     text_of(identity.fr));
}

// MDTS; 0: no limit.
std::uint64_t transfer_limit(const IdentifyController& identity) {
  constexpr unsigned kMaxMdts = 20;  // 4 GiB: more than any request; a wild value must not overflow the shift
  return identity.mdts == 0 ? 0 : kPageBytes << std::min<unsigned>(identity.mdts, kMaxMdts);
}

std::uint32_t entries_limit(std::uint64_t cap) { return static_cast<std::uint32_t>(cap::kMqes.of(cap)) + 1; }

bool has_volatile_cache(const IdentifyController& identity) { return (identity.vwc & 1) != 0; }

}  // namespace

Result<void> Controller::take_facts(const BringUp::Facts& facts) {
  if (!facts.kept_admin_queue && !is_emptied_) cache_may_be_lost_ = true;
  is_emptied_ = false;
  if ((facts.identity.sqes & 0xf) > 6 || (facts.identity.cqes & 0xf) > 4) {
    return fail(fmt::format("the controller needs queue entries of 2^{} and 2^{} bytes, pollux writes 64 and reads 16",
                            facts.identity.sqes & 0xf, facts.identity.cqes & 0xf),
                "pollux cannot drive this controller");
  }
  if (version_ != 0) {
    if (auto fits = still_fits(facts); !fits) return fits;
  }
  cap_ = facts.cap;
  version_ = facts.version;
  identity_ = facts.identity;
  io_queue_limit_ = facts.io_queue_pairs;
  queues_refused_ = facts.queues_refused;
  uses_shadows_ = facts.shadow_doorbells;
  if (queue_ids_.size() < io_queue_limit_) queue_ids_.resize(io_queue_limit_);
  return {};
}

// Error: another drive answers, or an open channel uses more than the controller offers now.
Result<void> Controller::still_fits(const BringUp::Facts& facts) const {
  constexpr const char* kAdvice = "open the drive anew";
  if (std::memcmp(facts.identity.sn, identity_.sn, sizeof identity_.sn) != 0) {
    return fail(fmt::format("another drive answers after the reset: {} instead of {}", name_of(facts.identity),
                            name_of(identity_)),
                kAdvice);
  }
  std::uint32_t qid = 0, entries = 0, transfer_bytes = 0;
  for (std::size_t index = 0; index < queue_ids_.size(); ++index) {
    if (!queue_ids_[index].taken) continue;
    qid = static_cast<std::uint32_t>(index + 1);
    entries = std::max(entries, queue_ids_[index].entries);
    transfer_bytes = std::max(transfer_bytes, queue_ids_[index].max_transfer_bytes);
  }
  if (qid == 0) return {};
  const auto smaller = [&](const char* what, std::uint64_t now, std::uint64_t used) {
    return fail(
        fmt::format("after the reset the controller offers {} of {}, and an open channel uses {}", what, now, used),
        kAdvice);
  };
  if (facts.io_queue_pairs == 0 && !facts.queues_refused.ok()) {
    return fail(fmt::format("after the reset the controller grants no I/O queue, and channels are open: {}",
                            facts.queues_refused.text()),
                kAdvice);
  }
  if (facts.io_queue_pairs < qid) return smaller("a highest I/O queue", facts.io_queue_pairs, qid);
  if (entries_limit(facts.cap) < entries) return smaller("queues (CAP.MQES)", entries_limit(facts.cap), entries);
  const std::uint64_t limit = transfer_limit(facts.identity);
  if (limit != 0 && limit < transfer_bytes) return smaller("a largest transfer (MDTS)", limit, transfer_bytes);
  if (cap::kDstrd.of(facts.cap) != cap::kDstrd.of(cap_)) {
    return fail(
        fmt::format("after the reset the doorbells' stride (CAP.DSTRD) is {} instead of {}, and channels are open",
                    cap::kDstrd.of(facts.cap), cap::kDstrd.of(cap_)),
        kAdvice);
  }
  if (has_volatile_cache(facts.identity) && !has_volatile_cache(identity_)) {
    return fail("after the reset the controller has a volatile write cache, of which open channels were told otherwise",
                kAdvice);
  }
  if (facts.shadow_doorbells != uses_shadows_) {
    return fail("after the reset the controller treats its shadow doorbells otherwise than before", kAdvice);
  }
  return {};
}

// In a process that was forked meanwhile whoever held the lock is not there to give it back.
std::unique_lock<std::mutex> Controller::lock_facts() const {
  return opened_here() ? std::unique_lock(mutex_) : std::unique_lock(mutex_, std::defer_lock);
}

IdentifyController Controller::identity() const {
  const auto lock = lock_facts();
  return identity_;
}

std::uint64_t Controller::cap() const {
  const auto lock = lock_facts();
  return cap_;
}

std::uint32_t Controller::version() const {
  const auto lock = lock_facts();
  return version_;
}

std::uint16_t Controller::io_queue_limit() const {
  const auto lock = lock_facts();
  return io_queue_limit_;
}

std::string Controller::model() const { return text_of(identity().mn); }
std::string Controller::serial() const { return text_of(identity().sn); }
std::string Controller::firmware() const { return text_of(identity().fr); }
std::uint64_t Controller::transfer_limit_locked() const { return transfer_limit(identity_); }
std::uint64_t Controller::max_transfer_bytes() const { return transfer_limit(identity()); }
std::uint32_t Controller::max_queue_entries() const { return entries_limit(cap()); }

bool Controller::supports(std::uint16_t oncs_bit) const {
  if (oncs_bit == oncs::kWriteZeroes && quirks_.has(Quirk::disable_write_zeroes)) return false;
  return (identity().oncs & oncs_bit) != 0;
}

bool Controller::knows_command_sets() const { return (cap::kCss.of(cap()) & cap::kCssIoSets) != 0; }

bool Controller::describes_namespaces() const {
  const auto lock = lock_facts();
  return describes_namespaces_locked();
}

bool Controller::describes_namespaces_locked() const {
  constexpr std::uint32_t kVersion13 = 0x0001'0300;
  const bool knows_command_sets = (cap::kCss.of(cap_) & cap::kCssIoSets) != 0;
  return (version_ >= kVersion13 || knows_command_sets) && !quirks_.has(Quirk::no_ns_desc_list);
}

}  // namespace pollux::nvme
