#include "pollux/driver/controller/quirks.hpp"

#include <algorithm>
#include <string>

namespace pollux::nvme {
namespace {

using enum Quirk;

constexpr QuirkMeaning kMeanings[] = {
    {bogus_nid, "bogus_nid", "NGUID, EUI64 and UUID are not unique, or change: none is believed"},
    {no_ns_desc_list, "no_ns_desc_list", "the descriptors of namespaces (CNS 03h) are not asked for"},
    {identify_cns, "identify_cns",
     "before NVMe 1.2 the list of namespaces (CNS 02h) is not asked for: 1..NN are tried"},
    {disable_write_zeroes, "disable_write_zeroes", "Write Zeroes is not used"},
    {delay_before_chk_rdy, "delay_before_chk_rdy", "2.3 s pass after it is disabled before a register is read"},
    {delay_after_queue_alloc, "delay_after_queue_alloc", "100 us pass after a queue was made before it is used"},
    {ignore_dev_subnqn, "ignore_dev_subnqn", "the name of its subsystem is not unique, and not believed"},
    {no_deepest_ps, "no_deepest_ps", "its deepest power state is not used: pollux sets no power state"},
};

constexpr const char* kSameNid = "drives of this kind report the same namespace identifiers, or zeros of a kind";
constexpr const char* kSleeps = "it does not come back from its deepest power state";
constexpr const char* kSlow = "its registers may not be read right after it was disabled";

// From drivers/nvme/host/pci.c but for the last.
constexpr QuirkRow kRows[] = {
    {0x1cc1, 0x33f8, bogus_nid, "ADATA IM2P33F8ABR1", kSameNid},
    {0x1cc1, 0x5350, bogus_nid, "ADATA XPG GAMMIX S50", kSameNid},
    {0x1cc1, 0x8201, no_deepest_ps | ignore_dev_subnqn, "ADATA XPG SX8200 Pro", kSleeps},
    {0x10ec, 0x5762, ignore_dev_subnqn | bogus_nid, "ADATA XPG SX6000 Lite (Realtek)", kSameNid},
    {0x10ec, 0x5763, bogus_nid, "ADATA XPG SX6000 Pro (Realtek)", kSameNid},
    {0x1dbe, 0x5236, bogus_nid, "ADATA XPG GAMMIX S70", kSameNid},
    {0x126f, 0x1001, no_deepest_ps | ignore_dev_subnqn, "Silicon Motion", kSleeps},
    {0x126f, 0x2262, no_deepest_ps | bogus_nid, "Silicon Motion SM2262", kSleeps},
    {0x126f, 0x2263, no_ns_desc_list | bogus_nid, "Silicon Motion SM2263",
     "it says NVMe 1.3, and answers the descriptors with garbage"},
    {0x1d97, 0x2263, disable_write_zeroes, "SPCC (Silicon Motion SM2263)",
     "its Write Zeroes fails, or takes very long"},
    {0x2646, 0x2262, no_deepest_ps, "Kingston SKC2000", kSleeps},
    {0x2646, 0x2263, no_deepest_ps, "Kingston A2000", kSleeps},
    {0x1b36, 0x0010, bogus_nid, "QEMU", "its identifiers are those of its command line, and zeros without"},
    {0x8086, 0x5845, identify_cns | disable_write_zeroes | bogus_nid, "QEMU (its first id)",
     "old versions know two values of CNS, and write no zeroes"},
    {0x1bb1, 0x0100, delay_before_chk_rdy | no_ns_desc_list, "Seagate Nytro", kSlow},
    {0x1c58, 0x0003, delay_before_chk_rdy, "HGST SN100", kSlow},
    {0x1c58, 0x0023, delay_before_chk_rdy, "WDC SN200", kSlow},
    {0x1c5f, 0x0540, delay_before_chk_rdy, "Memblaze PBlaze4", kSlow},
    {0x144d, 0xa821, delay_before_chk_rdy, "Samsung PM1725", kSlow},
    {0x144d, 0xa822, delay_before_chk_rdy, "Samsung PM1725a", kSlow},
    {0x80ee, 0x4e56, delay_after_queue_alloc, "VirtualBox", "a new queue is not ready for commands at once"},
};

}  // namespace

std::span<const QuirkMeaning> quirk_meanings() { return kMeanings; }
std::span<const QuirkRow> quirk_rows() { return kRows; }

const QuirkRow* quirk_row_of(std::uint16_t vendor, std::uint16_t device) {
  const auto* const row =
      std::ranges::find_if(kRows, [&](const QuirkRow& each) { return each.vendor == vendor && each.device == device; });
  return row != std::end(kRows) ? row : nullptr;
}

Result<Quirks> parse_quirks(std::string_view names) {
  Quirks quirks;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find('+'));
    names.remove_prefix(std::min(name.size() + 1, names.size()));
    const auto* const found = std::ranges::find(kMeanings, name, &QuirkMeaning::name);
    if (found == std::end(kMeanings)) {
      std::string known;
      for (const QuirkMeaning& one : kMeanings) known += fmt::format("{}{}", known.empty() ? "" : ", ", one.name);
      return fail(fmt::format("there is no quirk \"{}\"", name), "known are " + known);
    }
    quirks = quirks | found->quirk;
  }
  return quirks;
}

}  // namespace pollux::nvme
