// The hugepages of a machine, by NUMA node and by size. Source: Documentation/admin-guide/mm/hugetlbpage.rst.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::cli {

struct HugepagePool {
  std::string node;    // "node0"; also where the kernel knows no nodes
  std::string size;    // "2048kB"
  std::string folder;  // in sysfs, where nr_hugepages takes another number
  std::uint64_t free = 0;
  std::uint64_t total = 0;
};

std::vector<HugepagePool> hugepage_pools(const vfio::Sysfs& sysfs);

}  // namespace pollux::cli
