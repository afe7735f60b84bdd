// Namespaces for a played controller, as NVMe base 2.0c (5.17.2) has Identify tell of them; each part of it can be
// withheld, as older controllers do.
#pragma once

#include "pollux/driver/controller/identify.hpp"
#include "pollux/tests/unit/driver/played_controller.hpp"

namespace pollux::nvme {

struct PlayedNamespace {
  std::uint32_t nsid = 1;
  std::uint64_t blocks = 1024;
  std::uint8_t lbads = 9;
  std::uint16_t metadata = 0;
  CommandSet set = CommandSet::nvm;
  std::array<std::uint8_t, 16> nguid{};
  std::array<std::uint8_t, 8> eui64{};
  std::array<std::uint8_t, 16> uuid{};
};

struct PlayedNamespaces {
  std::vector<PlayedNamespace> all = {};    // ascending
  bool lists = true;                        // CNS 02h
  bool describes = true;                    // CNS 03h
  bool tells_set = true;                    // with a descriptor of the command set
  bool lists_sets = false;                  // CNS 07h
  std::vector<std::uint32_t> refused = {};  // that Identify Namespace (CNS 00h) refuses

  Status operator()(const Command& command, std::byte* page) const {
    const Status no_field = Status::from(StatusCode::invalid_field, true);
    const Status no_ns = Status::from(StatusCode::invalid_namespace_or_format, true);
    const auto list = [&](const auto& belongs) {
      std::size_t at = 0;
      for (const PlayedNamespace& ns : all) {
        if (ns.nsid > command.nsid && belongs(ns)) std::memcpy(page + 4 * at++, &ns.nsid, 4);
      }
      return Status{};
    };
    const auto found = std::ranges::find(all, command.nsid, &PlayedNamespace::nsid);
    switch (cns_of(command)) {
      case Cns::active_ns_list:
        return lists ? list([](const PlayedNamespace&) { return true; }) : no_field;
      case Cns::command_set_active_ns_list: {
        if (!lists_sets) return no_field;
        const auto set = static_cast<CommandSet>(nvme::identify::kCsi.of(command.cdw11));
        return list([set](const PlayedNamespace& ns) { return ns.set == set; });
      }
      case Cns::ns: {
        if (std::ranges::count(refused, command.nsid) != 0) return no_ns;
        if (found == all.end()) return {};
        auto& id = *reinterpret_cast<IdentifyNamespace*>(page);
        id.nsze = id.ncap = found->blocks;
        id.lbaf[0] = {found->metadata, found->lbads, 0};
        std::ranges::copy(found->nguid, id.nguid);
        std::ranges::copy(found->eui64, id.eui64);
        return {};
      }
      case Cns::ns_descriptors:
        if (!describes) return no_field;
        if (found == all.end()) return no_ns;
        if (found->uuid != decltype(found->uuid){}) page = put(page, NsIdType::uuid, found->uuid.data(), 16);
        if (tells_set) put(page, NsIdType::csi, &found->set, 1);
        return {};
      default:
        return no_field;
    }
  }

 private:
  static std::byte* put(std::byte* page, NsIdType type, const void* value, std::uint8_t length) {
    const NsDescriptor header{static_cast<std::uint8_t>(type), length, {}};
    std::memcpy(page, &header, sizeof header);
    std::memcpy(page + sizeof header, value, length);
    return page + sizeof header + length;
  }
};

}  // namespace pollux::nvme
