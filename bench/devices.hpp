// The drives of a run: each distinct address opened once, a channel and memory for each job, and an orderly end. The
// one place here that knows which backends there are. The main thread's; a channel goes to its job's thread and comes
// back before close().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pollux/bench/engine_pollux.hpp"
#include "pollux/bench/job.hpp"
#include "pollux/bench/plan.hpp"
#include "pollux/bench/report.hpp"
#include "pollux/driver/block/drive.hpp"
#include "pollux/vfio/address.hpp"

namespace pollux::bench {

class Devices {
 public:
  // Opens what the jobs name, the drives of one IOMMU group in one address space. Errors: those of Drive::open and
  // open_namespace; one function named by two doors; more jobs than the controller grants queue pairs; reconnect for a
  // device that never comes back.
  static Result<Devices> open(const JobList& list);

  // Where each job of the list was placed, in the list's order.
  const std::vector<PlacedJob>& placed() const { return placed_; }

  // A queue pair and memory for one job. Errors: no memory, no queue. Adds to notes() what the user should know.
  Result<std::unique_ptr<PolluxEngine>> engine_for(const PlannedJob& job);

  // How many of the drives are software controllers, each with a thread of its own.
  std::size_t soft_count() const;

  // Drive::poll() of each. Error: one is lost.
  Result<void> poll();

  // Shuts the controllers down and reads the violation logs. After the engines are gone, once.
  std::vector<DriveReport> close();

  // For people: hugepages that were missing, depths that were lowered. One line each.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Opened {
    std::string name;               // its address without a namespace, for messages
    std::string key;                // what two names of one device have in common
    std::string path;               // in canonical form, of its socket or file; empty: it has none
    vfio::Address address;          // the one to open, which says most
    std::optional<unsigned> group;  // of the IOMMU
    std::uint64_t jobs;             // queue pairs wanted
    std::uint64_t reconnect_ns;     // the longest that a job wants
    std::unique_ptr<Drive> drive;
  };

  Devices() = default;
  Result<void> open_drive(Opened& opened);
  std::shared_ptr<dma::Space> space_of_group(const Opened& wanted) const;
  void note(std::string text);

  // Last to go: memory that a device may still reach, when requests never came back, outlives the drives.
  std::vector<dma::Buffer> buffers_;
  std::vector<Opened> drives_;
  std::vector<PlacedJob> placed_;
  std::vector<std::string> notes_;
};

}  // namespace pollux::bench
