// A device address, as a user types it, and the options behind "soft:". What is accepted is within the bounds that the
// headers promise, and parses to the same again.
#include "pollux/vfio/address.hpp"

#include <bit>

#include "input.hpp"
#include "pollux/tools/softnvme/core/config.hpp"
#include "pollux/tools/softnvme/options.hpp"

using namespace pollux;
using fuzz::must;

namespace {

bool same(const vfio::Address& a, const vfio::Address& b) {
  return a.scheme == b.scheme && a.target == b.target && a.nsid == b.nsid && a.vf_token == b.vf_token &&
         a.quirks == b.quirks;
}

void try_soft(std::string_view text) {
  const auto options = softnvme::Options::parse(text);
  if (!options) return must(!options.error().what.empty(), "an error says what is wrong");
  using softnvme::Options;
  must(options->size_bytes.value_or(1) != 0 && options->size_bytes.value_or(1) <= Options::kMaxSizeBytes, "size");
  must(options->size_bytes.value_or(0) % options->block_size_bytes == 0, "whole blocks");
  must(options->mdts <= Options::kMaxMdts, "mdts");
  must(options->queues <= softnvme::kMaxIoQueues, "queues");
  must(options->vectors.value_or(1) >= 1 && options->vectors.value_or(1) <= softnvme::kMaxIoQueues + 1, "vectors");
  must(options->entries >= 2 && options->entries <= softnvme::kMaxQueueEntries, "entries");
  must(std::has_single_bit(options->block_size_bytes) && options->block_size_bytes >= softnvme::kMinBlockBytes &&
           options->block_size_bytes <= softnvme::kMaxBlockBytes,
       "blocks");
}

void try_address(std::string_view text) {
  const auto address = vfio::Address::parse(text);
  if (!address) return must(!address.error().what.empty(), "an error says what is wrong");
  must(address->text == text, "the text is kept");
  must(!address->nsid || (*address->nsid >= 1 && *address->nsid < 0xffff'ffff), "a namespace id names one");
  if (address->is_pci()) {
    must(address->target.size() >= 12, "a full BDF");
    std::string full = address->scheme + ":" + address->target;
    if (!address->vf_token.empty()) full += ",vf_token=" + address->vf_token;
    if (!address->quirks.empty()) full += ",quirks=" + address->quirks;
    if (address->nsid) full += fmt::format(",ns={}", *address->nsid);
    const auto again = vfio::Address::parse(full);
    must(again && same(*again, *address), "the full form names the same function");
  } else if (address->scheme == "soft") {
    try_soft(address->target);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try_address(text);
  try_soft(text);
  return 0;
}
