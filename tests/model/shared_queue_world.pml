// Who uses the shared queue pair of shared_queue.pml, which includes this: clients, a thread that only polls, and the
// controller.

#define LOCALS \
  byte i, seen, words, w, bits, j, h, early, r, n, k, back; \
  byte tail_cid[BATCH]; \
  byte tail_number[BATCH]; \
  bool look

proctype client(byte me) {
  LOCALS;
  byte left = COMMANDS;
  byte polls = (me < POLLERS -> POLLS : 0);
  byte rings = RINGS;
#ifdef RING_ONLY
  do
  :: left > 0 -> submit(me * COMMANDS + left); ring()
  :: else -> break
  od;
#else
#ifdef FREEZE_AT_DOORBELLS
end_others_wait:
#endif
  do
  :: left > 0 && free_ != 0 -> submit(me * COMMANDS + left)
  :: polls > 0 -> poll(); polls--
  :: rings > 0 -> ring(); rings--
  :: left == 0 -> break
  od;
#endif
  gone++
}

#ifdef RING_ONLY
// All have called ring() after their last submit(), and nobody polls: whoever was at the doorbells told of everything.
proctype poller(byte me) {
  gone == CLIENTS -> assert(sq_doorbell == TOTAL)
}
#else
// Polls while there is something to poll for. All is done when this one ends.
proctype poller(byte me) {
  LOCALS;
  byte left;
  do
  :: IS_NEW(head) -> poll()
  :: !frozen && (summary != 0 || head != acknowledged) -> poll()
  // What the controller was told of before is answered all the same.
  :: frozen && answered_count == sq_doorbell -> break
  :: answered_count == expected && gone == CLIENTS -> break
  od;
#if !defined(FREEZE_SUBMITTER) && !defined(FREEZE_POLLER) && !defined(FREEZE_AT_DOORBELLS) && LIES == 0
  assert(free_ == ALL && ready[0] == 0 && sq_doorbell == TOTAL)
#endif
}
#endif

inline post(its_cid, number) {
  cq_cid[SLOT(posted)] = its_cid;
  cq_number[SLOT(posted)] = number;
  cq_phase[SLOT(posted)] = PHASE(posted);
  posted++
}

proctype controller() {
  byte fetched;
  byte posted;
  byte pending_number[DEPTH];
  byte pending_cid[DEPTH];
  bool seen[TOTAL + 1];
  byte lies = LIES;
  byte i;
end:
  do
  :: fetched != sq_doorbell ->
    atomic {
      assert(sq_number[SLOT(fetched)] != 0);
      i = sq_cid[SLOT(fetched)] % DEPTH;
#if LIES == 0
      assert(!seen[sq_number[SLOT(fetched)]] && pending_number[i] == 0);
      assert(sq_doorbell - fetched < ENTRIES);
#endif
      seen[sq_number[SLOT(fetched)]] = true;
      pending_number[i] = sq_number[SLOT(fetched)];
      pending_cid[i] = sq_cid[SLOT(fetched)];
      fetched++;
      i = 0
    }
#ifndef RING_ONLY
  :: atomic {
      if
      :: pending_number[0] != 0 -> i = 0
#if DEPTH > 1
      :: pending_number[1] != 0 -> i = 1
#endif
#if DEPTH > 2
      :: pending_number[2] != 0 -> i = 2
#endif
      fi;
#if LIES == 0
      assert(posted - cq_doorbell < ENTRIES - 1);
#else
      posted - cq_doorbell < ENTRIES - 1;
#endif
      post(pending_cid[i], pending_number[i]);
      pending_number[i] = 0;
      pending_cid[i] = 0;
      i = 0
    }
#endif
#if LIES > 0
  :: atomic {
      lies > 0 && posted - cq_doorbell < ENTRIES - 1 ->
      lies--;
      select(i : 0 .. GENERATIONS * DEPTH - 1);
      post(i, 0);
      i = 0
    }
#endif
  od
}

init {
  byte c;
  atomic {
    do
    :: c < CLIENTS -> run client(c); c++
    :: else -> break
    od;
    run poller(NONE);
    run controller()
  }
}
