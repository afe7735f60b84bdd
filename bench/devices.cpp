#include "pollux/bench/devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <span>

#include "pollux/bench/random.hpp"
#include "pollux/bench/same_namespace.hpp"
#include "pollux/driver/spec/registers.hpp"
#include "pollux/softnvme.hpp"
#include "pollux/vfio/pci/in_use.hpp"
#include "pollux/vfio/pci/sysfs.hpp"

namespace pollux::bench {
namespace {

constexpr std::size_t kMaxViolationsShown = 8;
constexpr std::uint64_t kMaxReconnectMs = std::numeric_limits<std::uint32_t>::max();

// Functions by their address alone, and paths in one form: either has one owner, whichever way it is named.
std::string key_of(const vfio::Address& given) {
  const vfio::Address address = with_canonical_path(given);
  return address.is_pci() ? address.target : address.scheme + ":" + address.target;
}

// "pci" leaves the way into the kernel open, and a token goes one of them alone.
bool chooses_door(const vfio::Address& address) { return address.scheme != "pci" || !address.vf_token.empty(); }

// The drive's own name, whichever namespaces its jobs want.
std::string text_of(const vfio::Address& address) {
  const std::string token = address.vf_token.empty() ? "" : ",vf_token=" + address.vf_token;
  const std::string quirks = address.quirks.empty() ? "" : ",quirks=" + address.quirks;
  return (address.scheme == "pci" ? "" : address.scheme + ":") + address.target + token + quirks;
}

// What is wrong with one job's part of a drive that others may share.
std::unexpected<Error> of_job(const Job& job, Error error) {
  error.what = fmt::format("job \"{}\": {}", job.name, error.what);
  return std::unexpected(std::move(error));
}

std::optional<unsigned> iommu_group(const vfio::Address& address) {
  if (!address.is_pci()) return std::nullopt;
  const auto function = vfio::Sysfs().function(address.target);  // one that is not there, opening it tells
  return function ? function->group : std::nullopt;
}

// The kernel may have the namespace through another controller, and does not bear that a job writes beside it.
Result<void> free_to_write(const vfio::Address& address, Drive& drive, std::uint32_t nsid) {
  if (!address.is_pci()) return {};
  const nvme::IdentifyController& identity = drive.controller().identity();
  const vfio::NamespaceName name{std::string(identity.subnqn, sizeof identity.subnqn),
                                 std::string(identity.sn, sizeof identity.sn),
                                 std::string(identity.mn, sizeof identity.mn), nsid};
  const auto uses = vfio::uses_of(vfio::Sysfs(), std::span(&name, 1));
  if (uses.empty()) return {};
  return fail(fmt::format("{}: namespace {} is in use by the kernel: {}", address.text, nsid, fmt::join(uses, ", ")),
              "unmount it, swap it off, or stop the volume, loop device, export or program; nothing was written");
}

}  // namespace

Result<Devices> Devices::open(const JobList& list) {
  Devices devices;
  std::vector<std::size_t> drive_of;
  std::vector<std::uint32_t> nsid_of;
  for (const Job& job : list.jobs) {
    if (!job.names_device) {
      devices.note(fmt::format("note: no filename: reading {}, the software controller", job.filename));
    }
    const auto address = vfio::Address::parse(job.filename);
    if (!address) return std::unexpected(address.error());
    const std::string key = key_of(*address);
    const std::string path = path_of(with_canonical_path(*address));
    const auto found = std::ranges::find(devices.drives_, key, &Opened::key);
    drive_of.push_back(static_cast<std::size_t>(found - devices.drives_.begin()));
    nsid_of.push_back(address->nsid.value_or(0));
    if (found == devices.drives_.end()) {
      const auto other = std::ranges::find_if(
          devices.drives_, [&](const Opened& opened) { return !path.empty() && opened.path == path; });
      if (other != devices.drives_.end()) {
        return fail(fmt::format("{} and {} are one file, opened in two ways", other->address.text, job.filename),
                    "name it in one way");
      }
      devices.drives_.push_back({.name = text_of(*address),
                                 .key = key,
                                 .path = path,
                                 .address = *address,
                                 .group = iommu_group(*address),
                                 .jobs = job.numjobs,
                                 .reconnect_ns = job.reconnect_ns,
                                 .drive = nullptr});
      continue;
    }
    found->jobs += job.numjobs;
    found->reconnect_ns = std::max(found->reconnect_ns, job.reconnect_ns);
    if (!address->is_pci() || !chooses_door(*address)) continue;
    if (chooses_door(found->address) && address->scheme != found->address.scheme) {
      return fail(fmt::format("{} and {} are one function, opened in two ways", found->address.text, job.filename),
                  "name it in one way");
    }
    found->address = *address;
  }

  // Who chooses a way into the kernel goes first, as the others of an IOMMU group have to follow.
  for (const bool choosing : {true, false}) {
    for (Opened& opened : devices.drives_) {
      if (chooses_door(opened.address) != choosing) continue;
      if (auto done = devices.open_drive(opened); !done) return std::unexpected(done.error());
    }
  }
  std::vector<ReachedNamespace> places;
  for (std::size_t i = 0; i < list.jobs.size(); ++i) {
    Drive& drive = *devices.drives_[drive_of[i]].drive;
    auto ns = drive.open_namespace(nsid_of[i]);
    if (!ns) return of_job(list.jobs[i], ns.error());
    if (may_write(list.jobs[i].rw)) {
      const vfio::Address& address = devices.drives_[drive_of[i]].address;
      if (auto free = free_to_write(address, drive, ns->nsid); !free) return of_job(list.jobs[i], free.error());
    }
    if (list.jobs[i].reconnect_ns != 0 && !drive.controller().device().may_come_back()) {
      return of_job(list.jobs[i], {"reconnect waits for a server that comes back, and this device has none behind it",
                                   "leave it out, or name a vfio-user: device", 0});
    }
    const std::uint64_t to_ms = nvme::cap::kTo.of(drive.controller().cap()) * nvme::cap::kTimeoutUnitMs;
    const ReachedNamespace reached(*ns, drive.controller().identity());
    const auto same = std::ranges::find_if(places, [&](const ReachedNamespace& one) { return is_same(one, reached); });
    const auto place = static_cast<std::size_t>(same - places.begin());
    if (same == places.end()) places.push_back(reached);
    devices.placed_.push_back({&list.jobs[i], drive_of[i], *ns, 2 * to_ms * kNsPerMs, place});
  }
  return devices;
}

// The kernel gives an IOMMU group to one owner: its drives share one address space.
std::shared_ptr<dma::Space> Devices::space_of_group(const Opened& wanted) const {
  if (!wanted.group) return nullptr;
  const auto found = std::ranges::find_if(drives_, [&](const Opened& other) {
    return other.drive != nullptr && other.group == wanted.group &&
           (other.address.scheme == wanted.address.scheme || !chooses_door(wanted.address));
  });
  return found == drives_.end() ? nullptr : found->drive->space();
}

Result<void> Devices::open_drive(Opened& opened) {
  const vfio::Scheme schemes[] = {softnvme::scheme()};
  const auto wanted = static_cast<std::uint16_t>(std::min(opened.jobs, kMaxJobs));
  const auto reconnect_ms = static_cast<std::uint32_t>(std::min(opened.reconnect_ns / kNsPerMs, kMaxReconnectMs));
  auto drive = Drive::open(
      text_of(opened.address),
      {.schemes = schemes, .space = space_of_group(opened), .io_queues = wanted, .reconnect_ms = reconnect_ms});
  if (!drive) return std::unexpected(drive.error());
  opened.drive = std::move(*drive);
  const std::string warning = opened.drive->space()->io().warning();
  if (!warning.empty()) note("warning: " + opened.name + ": " + warning);
  const unsigned granted = opened.drive->controller().io_queue_limit();
  if (granted != 0 && opened.jobs > granted) {  // none: the first channel says why
    return fail(
        fmt::format("{}: {} jobs want a queue pair each, the controller grants {}", opened.name, opened.jobs, granted),
        fmt::format("nearest valid value: numjobs={}, over all jobs on this drive", granted));
  }
  return {};
}

Result<std::unique_ptr<PolluxEngine>> Devices::engine_for(const PlannedJob& planned) {
  const Job& job = *planned.job;
  Drive& drive = *drives_[planned.drive].drive;
  ChannelOptions options;
  options.depth = static_cast<std::uint16_t>(job.iodepth);
  options.wait = job.wait;
  options.reissue_writes = job.reissue_writes;
  options.timeout_ms = static_cast<std::uint32_t>(job.io_timeout_ns / kNsPerMs);
  auto channel = drive.open_channel(planned.ns, options);
  if (!channel) return of_job(job, channel.error());
  const unsigned depth = (*channel)->depth();
  if (depth < job.iodepth) {
    note(fmt::format("note: iodepth={} of job \"{}\" was lowered to {}, which is what a queue of {} holds", job.iodepth,
                     job.name, depth, job.filename));
  }
  auto buffer = drive.allocate(depth * job.bs);
  if (!buffer) return of_job(job, buffer.error());
  if (buffer->memory().fell_back()) {
    note("note: no 2 MiB hugepages free, using ordinary pages: sysctl vm.nr_hugepages=64, or more, makes some");
  }
  // What requests write without verification: nothing that a drive could compress or recognise as zeros.
  const std::span<std::byte> bytes(buffer->slice().data, depth * job.bs);
  Random random(planned.loop.shape.seed);
  for (std::size_t at = 0; at + sizeof(std::uint64_t) <= bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  const dma::Slice slice = buffer->slice();
  buffers_.push_back(std::move(*buffer));
  return std::make_unique<PolluxEngine>(std::move(*channel), slice, job.bs, job.wait != Wait::poll);
}

std::size_t Devices::soft_count() const {
  return static_cast<std::size_t>(std::ranges::count_if(drives_, [](const Opened& opened) {
    return softnvme::soft_device(opened.drive->controller().device()) != nullptr;
  }));
}

Result<void> Devices::poll() {
  for (Opened& opened : drives_) {
    if (auto polled = opened.drive->poll(); !polled) return polled;
  }
  return {};
}

std::vector<DriveReport> Devices::close() {
  std::vector<DriveReport> reports;
  for (Opened& opened : drives_) {
    DriveReport report{.address = opened.name, .violations = {}, .met_faults = {}, .texts = {}};
    if (auto down = opened.drive->shutdown(); !down) report.texts.push_back(down.error().message());
    if (auto* soft = softnvme::soft_device(opened.drive->controller().device()); soft != nullptr) {
      report.violations = soft->violation_count();
      report.met_faults = soft->met_faults();
      for (const auto& violation : soft->violations()) {
        if (report.texts.size() == kMaxViolationsShown) break;
        report.texts.push_back(fmt::format("{}: violation: {}", opened.name, violation.text));
      }
      if (const std::string error = soft->store_error(); !error.empty())
        report.texts.push_back(opened.name + ": " + error);
    }
    reports.push_back(std::move(report));
  }
  return reports;
}

void Devices::note(std::string text) {
  if (std::ranges::find(notes_, text) == notes_.end()) notes_.push_back(std::move(text));
}

}  // namespace pollux::bench
