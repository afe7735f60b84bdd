#include "pollux/tools/softnvme/device.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <random>

#include "pollux/tools/softnvme/space.hpp"
#include "pollux/tools/softnvme/store/memory_store.hpp"
#include "pollux/vfio/abi/interrupt_set.hpp"
#include "pollux/vfio/spin_pause.hpp"
#include "pollux/vfio/thread.hpp"

namespace pollux::softnvme {
namespace {

using vfio::InterruptIndex;
using vfio::RegionIndex;

constexpr vfio::RegionArea kDoorbellArea{nvme::reg::kDoorbells, 4096};

// The same file is the same drive. Drives in memory differ, from those of another process too: their blocks go with it.
std::string serial_of(const Options& options) {
  static const unsigned process = std::random_device()();
  static std::atomic<unsigned> count = 0;
  struct stat info{};
  if (!options.file.empty() && stat(options.file.c_str(), &info) == 0) {
    return fmt::format("PF{:X}-{:X}", info.st_dev, info.st_ino).substr(0, sizeof(nvme::IdentifyController::sn));
  }
  if (options.null) return fmt::format("PN{:08}", ++count);  // which has no blocks to lose
  return fmt::format("PM{:08X}-{:08}", process, ++count);
}

std::unexpected<Error> no_such(const char* what, unsigned index) {
  return fail(fmt::format("soft: the device has no {} {}", what, index));
}

}  // namespace

Result<std::unique_ptr<SoftDeviceThread>> SoftDeviceThread::create(SoftSpace& space, const vfio::Address& address) {
  const Result<Options> options = Options::parse(address.target);
  if (!options) return std::unexpected(options.error());
  if (address.nsid.value_or(1) != 1) {
    return fail(fmt::format("{}: there is no namespace {}", address.text, *address.nsid),
                "a soft: device has one, ns=1");
  }
  std::uint64_t size_bytes = options->size_bytes.value_or(Options::kDefaultSizeBytes);
  std::unique_ptr<Store> store;
  FileStore* file = nullptr;
  if (!options->file.empty()) {
    Result<std::unique_ptr<FileStore>> opened =
        FileStore::open(options->file, options->size_bytes, Options::kDefaultSizeBytes, options->block_size_bytes);
    if (!opened) return std::unexpected(opened.error());
    file = opened->get();
    size_bytes = file->size_bytes();
    store = std::move(*opened);
  } else if (!options->null) {
    Result<std::unique_ptr<MemoryStore>> made = MemoryStore::create(size_bytes);
    if (!made) return std::unexpected(made.error());
    store = std::move(*made);
  }
  Result<std::unique_ptr<DoorbellPage>> doorbells = DoorbellPage::create();
  if (!doorbells) return std::unexpected(doorbells.error());
  return std::unique_ptr<SoftDeviceThread>(
      new SoftDeviceThread(space, address, *options, size_bytes, std::move(store), file, std::move(*doorbells)));
}

SoftDeviceThread::SoftDeviceThread(SoftSpace& space, vfio::Address address, const Options& options,
                                   std::uint64_t size_bytes, std::unique_ptr<Store> store, FileStore* file,
                                   std::unique_ptr<DoorbellPage> doorbells)
    : space_(space),
      address_(std::move(address)),
      vectors_(options.vectors.value_or(options.queues + 1)),
      trap_(options.trap),
      store_(std::move(store)),
      file_(file),
      doorbells_(std::move(doorbells)),
      config_space_(vectors_),
      controller_(controller_config(options, size_bytes, store_.get()), space.table(), doorbells_->words()) {
  if (options.faults_of_a_million == 0) return;
  faults_.emplace(options.faults_of_a_million);
  controller_.set_fault_hook(&*faults_);
}

Config SoftDeviceThread::controller_config(const Options& options, std::uint64_t size_bytes, Store* store) const {
  Config config;
  config.io_queues = options.queues;
  config.max_queue_entries = options.entries;
  config.mdts = options.mdts;
  config.volatile_write_cache = options.vwc;
  config.shadow_doorbells = options.shadow;
  config.shadow_polls = options.shadow_polls;
  config.interrupt_vectors = vectors_;
  config.serial = serial_of(options);
  config.namespaces = {{1, options.block_size_bytes, size_bytes / options.block_size_bytes, store}};
  return config;
}

SoftDeviceThread::~SoftDeviceThread() {
  if (!opener_.is_this_process()) {
    std::construct_at(&thread_);  // the thread did not come along
    return;
  }
  stopping_.store(true, std::memory_order_relaxed);
  if (thread_.joinable()) thread_.join();
  space_.leave(gate_);
}

Result<void> SoftDeviceThread::start() {
  auto thread = vfio::start_thread("soft: the controller's thread", [this] { run(); });
  if (!thread) return std::unexpected(std::move(thread.error()));
  thread_ = std::move(*thread);
  return {};
}

void SoftDeviceThread::run() {
  Clock& clock = steady_clock();
  std::uint64_t idle_since_ns = clock.now_ns();
  std::uint64_t nap_ns = kMinNapNs;
  while (!stopping_.load(std::memory_order_relaxed)) {
    const std::uint64_t now_ns = clock.now_ns();
    const std::optional<unsigned> done = turn(now_ns);
    if (!done) {
      sched_yield();
      continue;
    }
    const std::uint64_t idle_ns = now_ns - idle_since_ns;
    if (*done != 0) {
      idle_since_ns = now_ns;
      nap_ns = kMinNapNs;
    } else if (idle_ns < kSpinNs) {
      spin_pause();
    } else if (idle_ns < kYieldNs) {
      sched_yield();
    } else {
      clock.pause_ns(nap_ns);
      nap_ns = std::min(2 * nap_ns, kMaxNapNs);
    }
  }
}

std::optional<unsigned> SoftDeviceThread::turn(std::uint64_t now_ns) {
  if (!gate_.try_lock_as_owner()) return std::nullopt;
  // Lock and clock would cost as much as a step: once for a few.
  unsigned done = 0;
  for (unsigned steps = 0; steps < kSteps && !gate_.is_wanted(); ++steps) done += controller_.step(now_ns);
  gate_.unlock();
  return done;
}

std::uint64_t SoftDeviceThread::region_size(RegionIndex index) const {
  if (index == RegionIndex::bar0) return kBar0Bytes;
  return index == RegionIndex::config ? kConfigSpaceBytes : 0;
}

Result<vfio::RegionInfo> SoftDeviceThread::region_info(RegionIndex index) {
  if (index > RegionIndex::config) return no_such("region", static_cast<unsigned>(index));
  vfio::RegionInfo info;
  info.size_bytes = region_size(index);
  info.readable = info.writable = info.size_bytes != 0;
  if (index == RegionIndex::bar0 && !trap_) info.mappable = {kDoorbellArea};
  return info;
}

Result<void> SoftDeviceThread::check_access(RegionIndex index, std::uint64_t offset, std::uint64_t size_bytes,
                                            const char* verb) const {
  const std::uint64_t region_bytes = region_size(index);
  if (size_bytes > region_bytes || offset > region_bytes - size_bytes) {
    return fail(fmt::format("{}: {} of {} bytes at offset {:#x} of region {}, which has {}", address_.text, verb,
                            size_bytes, offset, static_cast<unsigned>(index), region_bytes));
  }
  if (index == RegionIndex::bar0 && !config_space_.memory_space()) {
    return fail_errno(
        EIO, fmt::format("{}: {} of BAR0 while memory space is off, or the function in D3hot", address_.text, verb),
        "set bit 1 of the PCI Command register, and PMCSR's power state to 0");
  }
  return {};
}

Result<void> SoftDeviceThread::read(RegionIndex index, std::uint64_t offset, std::span<std::byte> into) {
  const std::lock_guard lock(gate_);
  if (const Result<void> good = check_access(index, offset, into.size(), "read"); !good) return good;
  if (index == RegionIndex::bar0) {
    read_bar0(static_cast<std::uint32_t>(offset), into);
  } else {
    config_space_.read(offset, into);
  }
  return {};
}

Result<void> SoftDeviceThread::write(RegionIndex index, std::uint64_t offset, std::span<const std::byte> from) {
  const std::lock_guard lock(gate_);
  if (const Result<void> good = check_access(index, offset, from.size(), "write"); !good) return good;
  if (index == RegionIndex::bar0) {
    write_bar0(static_cast<std::uint32_t>(offset), from);
    return {};
  }
  if (config_space_.write(offset, from)) controller_.function_reset();
  follow_config_space();
  return {};
}

// What config space says of the function holds from now on. With interrupts off what is posted is not made up for.
void SoftDeviceThread::follow_config_space() {
  controller_.set_bus_master(config_space_.bus_master());
  const bool on = !installed_.empty() && config_space_.interrupts_enabled(installed_kind_);
  controller_.set_interrupts(on || strict_ ? this : nullptr);
  signal_pending();
}

// As the bus would: 8 or 4 aligned bytes at a time, and the dword around anything smaller.
void SoftDeviceThread::read_bar0(std::uint32_t offset, std::span<std::byte> into) {
  constexpr unsigned kDword = 4;
  constexpr unsigned kQword = 8;
  while (!into.empty()) {
    const unsigned width = offset % kQword == 0 && into.size() >= kQword ? kQword : kDword;
    const std::uint32_t skipped = offset % width;
    const std::uint64_t value = controller_.read(offset - skipped, width);
    const std::size_t bytes = std::min<std::size_t>(into.size(), width - skipped);
    std::memcpy(into.data(), reinterpret_cast<const std::byte*>(&value) + skipped, bytes);
    into = into.subspan(bytes);
    offset += static_cast<std::uint32_t>(bytes);
  }
}

// A write keeps its width: what is no register access reaches the core as such, and is a violation there.
void SoftDeviceThread::write_bar0(std::uint32_t offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    const std::size_t bytes = std::min<std::size_t>(from.size(), sizeof(std::uint64_t));
    std::uint64_t value = 0;
    std::memcpy(&value, from.data(), bytes);
    if (offset >= nvme::reg::kDoorbells) ++doorbell_writes_;
    controller_.write(offset, static_cast<unsigned>(bytes), value);
    from = from.subspan(bytes);
    offset += static_cast<std::uint32_t>(bytes);
  }
}

Result<vfio::MappedArea> SoftDeviceThread::map(RegionIndex index, vfio::RegionArea area) {
  if (index != RegionIndex::bar0 || area != kDoorbellArea || trap_) {
    return fail(fmt::format("{}: {} bytes at offset {:#x} of region {} cannot be mapped", address_.text,
                            area.size_bytes, area.offset, static_cast<unsigned>(index)),
                trap_ ? "with trap=1 nothing can"
                      : fmt::format("{} bytes at {:#x} of BAR0 can", kDoorbellArea.size_bytes, kDoorbellArea.offset));
  }
  auto* const words = reinterpret_cast<volatile std::byte*>(doorbells_->words());
  return vfio::MappedArea(words, area, [page = doorbells_] { static_cast<void>(page); });
}

Result<vfio::InterruptInfo> SoftDeviceThread::interrupt_info(InterruptIndex index) {
  vfio::InterruptInfo info;
  if (index == InterruptIndex::msix) info = {.count = vectors_, .eventfd = true, .noresize = true};
  if (index == InterruptIndex::msi && !strict_)
    info = {.count = msi_vectors(vectors_), .eventfd = true, .noresize = true};
  return info;
}

// The kernel's part too: it enables what it installs.
Result<void> SoftDeviceThread::set_interrupts(InterruptIndex index, std::span<const int> eventfds) {
  if (Result<void> installed = install_eventfds(index, eventfds); !installed) return installed;
  const std::lock_guard lock(gate_);
  if (installed_kind_ == index) config_space_.enable_interrupts(index, !installed_.empty());
  follow_config_space();
  return {};
}

Result<void> SoftDeviceThread::install_eventfds(InterruptIndex index, std::span<const int> eventfds) {
  if (index > InterruptIndex::request) return no_such("interrupts", static_cast<unsigned>(index));
  const auto info = interrupt_info(index);
  if (const auto fits = vfio::check_eventfds(address_.text, index, *info, eventfds); !fits) return fits;
  if (info->count == 0) return {};
  std::vector<Vector> next(eventfds.size());
  for (std::size_t v = 0; v < next.size(); ++v) {
    if (eventfds[v] < 0) continue;
    // A descriptor of our own, as the kernel takes a reference: the host may close his.
    next[v].eventfd = vfio::FileDescriptor(fcntl(eventfds[v], F_DUPFD_CLOEXEC, 0));
    if (!next[v].eventfd) {
      return fail_errno(errno, fmt::format("{}: cannot keep the eventfd of vector {}", address_.text, v));
    }
  }
  const std::lock_guard lock(gate_);
  if (!installed_.empty() && installed_kind_ != index) {
    if (eventfds.empty()) return {};
    return fail_errno(EINVAL, fmt::format("{}: interrupts of another kind are installed", address_.text),
                      "take those off first");
  }
  installed_kind_ = index;
  installed_.swap(next);
  const std::vector<Vector>& before = next;
  for (std::size_t v = 0; v < std::min(before.size(), installed_.size()); ++v)
    installed_[v].pending = before[v].pending;
  follow_config_space();
  return {};
}

void SoftDeviceThread::signal(std::uint16_t vector) {
  const bool msix_on = config_space_.interrupts_enabled(InterruptIndex::msix);
  if (strict_ && !msix_on && !config_space_.interrupts_enabled(InterruptIndex::intx)) return;
  if (vector >= installed_.size() || (strict_ && !installed_[vector].eventfd)) {
    if (strict_) controller_.fail();
    return;
  }
  Vector& target = installed_[vector];
  constexpr std::uint64_t kOne = 1;
  const bool masked = !target.eventfd || (installed_kind_ == InterruptIndex::msix && config_space_.msix_masked());
  target.pending = masked || ::write(target.eventfd.get(), &kOne, sizeof kOne) != sizeof kOne;
}

void SoftDeviceThread::signal_pending() {
  if (installed_.empty() || !config_space_.interrupts_enabled(installed_kind_)) return;
  for (std::size_t v = 0; v < installed_.size(); ++v) {
    if (installed_[v].pending) signal(static_cast<std::uint16_t>(v));
  }
}

void SoftDeviceThread::be_strict() {
  const std::lock_guard lock(gate_);
  strict_ = true;
  follow_config_space();
}

// The kernel saves configuration space before a reset and restores it afterwards, bus master included
// (pci_try_reset_function): so does this.
Result<void> SoftDeviceThread::reset() {
  const std::lock_guard lock(gate_);
  controller_.function_reset();
  return {};
}

Result<void> SoftDeviceThread::power_cycle() {
  const std::lock_guard lock(gate_);
  installed_.clear();
  controller_.function_reset();
  if (!strict_) config_space_ = ConfigSpace(vectors_);
  follow_config_space();
  return doorbells_->renew();
}

std::vector<Violation> SoftDeviceThread::violations() const {
  const std::lock_guard lock(gate_);
  return controller_.violations().list();
}

std::uint64_t SoftDeviceThread::violation_count() const {
  const std::lock_guard lock(gate_);
  return controller_.violations().count();
}

void SoftDeviceThread::clear_violations() {
  const std::lock_guard lock(gate_);
  controller_.violations().clear();
}

std::uint64_t SoftDeviceThread::doorbell_writes() const {
  const std::lock_guard lock(gate_);
  return doorbell_writes_;
}

ServedCommands SoftDeviceThread::served() const {
  const std::lock_guard lock(gate_);
  const HealthCounters& counters = controller_.counters();
  return {counters.read_commands, counters.write_commands, counters.other_commands};
}

std::vector<MetFault> SoftDeviceThread::met_faults() const {
  const std::lock_guard lock(gate_);
  std::vector<MetFault> met;
  for (std::size_t kind = 0; faults_ && kind < kRandomFaults; ++kind) {
    met.push_back({name_of(static_cast<RandomFault>(kind)), faults_->counts()[kind]});
  }
  return met;
}

void SoftDeviceThread::set_fault_hook(FaultHook* hook) {
  const std::lock_guard lock(gate_);
  controller_.set_fault_hook(hook);
}

std::string SoftDeviceThread::store_error() const {
  const std::lock_guard lock(gate_);
  return file_ == nullptr ? std::string() : file_->error();
}

}  // namespace pollux::softnvme
