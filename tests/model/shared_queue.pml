// driver/queue/shared_queue_pair.hpp and index_sets.hpp, for spin. Each access to a word that threads share is a step
// of its own; between two steps any other thread may do any number of its own, so a thread may be suspended anywhere,
// for any time. Steps are sequentially consistent here: README.md of driver/queue argues that the memory orders give
// that.
//
// Clients submit, ring and poll; one thread only polls; the controller fetches in order and posts in any. Checked:
//   - a command comes to the controller once, complete, and while no other has its CID
//   - its completion finds a place; both doorbells move forwards only
//   - it is answered once, with its own completion; an index is given back once
//   - nothing is left undone when nobody has anything more to do (spin's invalid end states)
//
// The algorithm is here, who uses it in shared_queue_world.pml. The words are named as in the source. Positions in the
// rings are counted on and not wrapped, the doorbells' too.
//
// Sizes: CLIENTS, COMMANDS a client, DEPTH, ENTRIES of both rings, PER_WORD indices in a word, BATCH, ROUNDS; each of
// the first POLLERS clients may poll POLLS times, and every client may ring RINGS times.
// Variants: RING_ONLY, LIES (completions that a hostile controller makes up), FREEZE_SUBMITTER, FREEZE_POLLER,
// FREEZE_AT_DOORBELLS.
// BUG_*: planted; `check` looks whether each is found.

#ifndef PER_WORD
#define PER_WORD 1
#endif
#ifndef BATCH
#define BATCH 1
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef POLLS
#define POLLS 1
#endif
#ifndef POLLERS
#define POLLERS CLIENTS
#endif
#ifndef RINGS
#define RINGS 0
#endif
#ifndef LIES
#define LIES 0
#endif
#define TOTAL (CLIENTS * COMMANDS)
#define GENERATIONS 2
#define ALL ((1 << DEPTH) - 1)
#define WORDS ((DEPTH + PER_WORD - 1) / PER_WORD)
#define NONE 255

#define BIT(index) (1 << (index))
#define WORD(index) ((index) / PER_WORD)
#define SLOT(position) ((position) % ENTRIES)
#define PHASE(position) (1 - (((position) / ENTRIES) % 2))
#define IS_NEW(position) (cq_phase[SLOT(position)] == PHASE(position))

// What threads share.
byte free_ = ALL;
byte ready[WORDS];
byte summary;
bool at_doorbells;
byte head;
byte acknowledged;
byte cid[DEPTH] = NONE;

// What belongs to whoever has the index.
byte context[DEPTH];     // the submission's number: 1 ... TOTAL
byte command[DEPTH];     // the same; 0 while it is being written
byte generation[DEPTH];

// What belongs to whoever is at the doorbells.
byte tail;
byte rung;

// The device's side.
byte sq_number[ENTRIES];
byte sq_cid[ENTRIES];
byte sq_doorbell;
byte cq_number[ENTRIES];  // for the check alone
byte cq_cid[ENTRIES];
bit cq_phase[ENTRIES];
byte cq_doorbell;

// The bookkeeping of the check.
byte expected = TOTAL;    // that will be answered in the end
byte answered_count;
bool answered[TOTAL + 1];
byte gone;                // clients that have ended
bool frozen;

inline lowest(bits, bit_number) {
  bit_number = 0;
  do
  :: (bits & BIT(bit_number)) == 0 -> bit_number++
  :: else -> break
  od
}

// FreeIndices::take(), once.
inline take() {
  atomic {
    seen = free_;
    if
    :: seen == 0 -> i = NONE
    :: else -> lowest(seen, i)
    fi
  }
  atomic {
    if
#ifdef BUG_TAKE_BY_STORE
    :: i != NONE -> free_ = seen & ~BIT(i)
#else
    :: i != NONE && free_ == seen -> free_ = seen & ~BIT(i)
#endif
    :: else -> i = NONE
    fi;
    seen = 0
  }
}

// ReadyIndices::put()
#ifdef BUG_SUMMARY_FIRST
#define mark_ready() summary = summary | BIT(WORD(i))
#define mark_summary() ready[WORD(i)] = ready[WORD(i)] | BIT(i)
#else
#define mark_ready() ready[WORD(i)] = ready[WORD(i)] | BIT(i)
inline mark_summary() {
  if
  :: (summary & BIT(WORD(i))) == 0 -> summary = summary | BIT(WORD(i))
  :: else
  fi
}
#endif

inline submit(number) {
  take();
  if
  :: i != NONE ->
#ifdef FREEZE_SUBMITTER
    if
    :: me == 0 ->
      atomic { expected = expected - left; gone++ }
end_frozen_submitter:
      false
    :: else
    fi;
#endif
    atomic { context[i] = number; command[i] = 0; generation[i] = (generation[i] + 1) % GENERATIONS };
#ifdef BUG_READY_BEFORE_FILLED
    mark_ready();
    mark_summary();
    command[i] = number;
#else
#ifdef BUG_CID_BY_SUBMITTER
    atomic { command[i] = number; cid[i] = generation[i] * DEPTH + i };
#endif
    atomic { command[i] = number; mark_ready() };
    mark_summary();
#endif
    left--
  :: else
  fi;
  i = 0
}

inline acknowledge() {
  atomic {
    if
    :: h != acknowledged -> acknowledged = h; assert(h > cq_doorbell); cq_doorbell = h
    :: else
    fi
  }
}

inline ring_submissions() {
  if
  :: tail != rung ->
    atomic { h = tail; rung = h };
#ifdef BUG_LEAVE_BEFORE_DOORBELL
    at_doorbells = false;
#endif
    atomic { assert(h > sq_doorbell); sq_doorbell = h }
  :: else
  fi
}

inline write_doorbells() {
#ifdef BUG_HEAD_READ_FIRST
  early = head;
#endif
  // ReadyIndices::take_all()
#ifdef BUG_SUMMARY_CLEARED_LAST
  words = summary;
#else
  atomic { words = summary; summary = 0 };
#endif
  w = 0;
  do
  :: w < WORDS ->
    if
    :: (words & BIT(w)) != 0 ->
      atomic { bits = ready[w]; ready[w] = 0 };
      do
      :: bits != 0 ->
        atomic {
          lowest(bits, j);
          bits = bits & ~BIT(j);
          sq_number[SLOT(tail)] = command[j];
          sq_cid[SLOT(tail)] = generation[j] * DEPTH + j;
          tail++;
#ifndef BUG_CID_BY_SUBMITTER
          cid[j] = generation[j] * DEPTH + j;
#endif
          j = 0
        }
      :: else -> break
      od
    :: else
    fi;
    w++
  :: else -> break
  od;
#ifdef BUG_SUMMARY_CLEARED_LAST
  summary = 0;
#endif
  atomic { w = 0; words = 0 };
#ifdef FREEZE_AT_DOORBELLS
  if
  :: me == 0 ->
    atomic { frozen = true; gone++ }
end_frozen_at_doorbells:
    false
  :: else
  fi;
#endif
#ifdef BUG_HEAD_READ_FIRST
  h = early;
#else
  h = head;
#endif
#ifdef BUG_RING_BEFORE_ACKNOWLEDGING
  early = h;
  ring_submissions();
  h = early;
  acknowledge();
#else
  acknowledge();
  ring_submissions();
#endif
  atomic { h = 0; early = 0 }
}

inline has_doorbell_work() {
  look = (summary != 0 || head != acknowledged)
}

inline ring() {
  has_doorbell_work();
  do
  :: !look || r == ROUNDS -> break
  :: else ->
#ifdef BUG_TWO_AT_DOORBELLS
    look = !at_doorbells;
    if
    :: look -> at_doorbells = true
    :: else
    fi;
#else
    atomic { look = !at_doorbells; at_doorbells = true };
#endif
    if
    :: !look -> break
    :: else
    fi;
    write_doorbells();
#ifdef BUG_LOOK_BEFORE_LEAVING
    has_doorbell_work();
    at_doorbells = false;
#else
    at_doorbells = false;
#ifdef BUG_NOT_LOOKING_AGAIN
    look = false;
#else
    has_doorbell_work();
#endif
#endif
    r++
  od;
  atomic { look = false; r = 0 }
}

inline read_ahead() {
  do
  :: n < BATCH ->
    atomic {
      if
      :: IS_NEW(h + n) ->
        tail_cid[n] = cq_cid[SLOT(h + n)];
        tail_number[n] = cq_number[SLOT(h + n)];
        n++
      :: else -> break
      fi
    }
  :: else -> break
  od
}

inline claim() {
  atomic {
    if
#ifdef BUG_HEAD_WITHOUT_LAPS
    // What a head of an index and a phase can tell.
    :: n != 0 && head % (2 * ENTRIES) == h % (2 * ENTRIES) -> head = head + n
#else
    :: n != 0 && head == h -> head = h + n
#endif
    :: else -> n = 0
    fi
  }
}

inline claim_record() {
  if
  :: look -> cid[j] = NONE
  :: else
  fi
}

inline give_back(indices) {
  assert((free_ & (indices)) == 0);
  free_ = free_ | (indices)
}

inline answer() {
  do
  :: k < n ->
    atomic {
      j = tail_cid[k] % DEPTH;
      look = (cid[j] == tail_cid[k]);
#ifdef BUG_ANSWER_WITHOUT_EXCHANGE
    };
    atomic {
#endif
      claim_record();
#ifdef BUG_GIVE_BACK_FIRST
      if
      :: look -> give_back(BIT(j))
      :: else
      fi
    };
    atomic {
#endif
      if
      :: look -> back = back | BIT(j); tail_cid[k] = context[j]
      :: else -> tail_cid[k] = 0  // a stray
      fi;
      k++;
      j = 0;
      look = false
    }
  :: else -> break
  od;
  atomic {
#ifndef BUG_GIVE_BACK_FIRST
    give_back(back);
#endif
    back = 0;
    k = 0;
    do
    :: k < n ->
      if
      :: tail_cid[k] != 0 ->
        assert(!answered[tail_cid[k]]);
#if LIES == 0
        assert(tail_cid[k] == tail_number[k]);
#endif
        answered[tail_cid[k]] = true;
        answered_count++
      :: else -> assert(LIES != 0)
      fi;
      tail_cid[k] = 0;
      tail_number[k] = 0;
      k++
    :: else -> break
    od;
    k = 0;
    n = 0
  }
}

inline poll() {
  h = head;
#ifdef BUG_CLAIM_BEFORE_READING
  if
  :: IS_NEW(h) -> n = 1
  :: else
  fi;
  claim();
  if
  :: n == 1 ->
    atomic { tail_cid[0] = cq_cid[SLOT(h)]; tail_number[0] = cq_number[SLOT(h)] }
  :: else
  fi;
#else
  read_ahead();
  claim();
#endif
  h = 0;
#ifdef FREEZE_POLLER
  if
  :: me == 0 && n != 0 ->
    atomic { expected = expected - left - n; gone++ }
end_frozen_poller:
    false
  :: else
  fi;
#endif
  if
  :: n != 0 -> answer()
  :: else
  fi;
  ring()
}

#include "shared_queue_world.pml"
