/// What has ended leaves the core, however long others go on: the ledger has it, and whoever opens a sweep again brings
/// its rows.
extension CoordinatorCore {
  mutating func watch(_ attempt: Int) {
    hosts[attempts[attempt].host].watched.append(attempt)
    tie(attempt, by: 1)
  }

  mutating func unwatch(_ attempt: Int) {
    let host = attempts[attempt].host
    guard let place = hosts[host].watched.firstIndex(of: attempt) else { return }
    hosts[host].watched.remove(at: place)
    tie(attempt, by: -1)
  }

  mutating func tie(_ attempt: Int, by change: Int) {
    if let run = attempts[attempt].run { sweeps[runs[run].sweep]?.ties += change }
  }

  /// Frees the places of the sweeps that are over and to whose attempts nothing refers any more: no host is to be asked
  /// about them, and no answer is to come. What lives on at a host that cannot be reached keeps its sweep here.
  ///
  /// To be called when the scheduler was told of all that has changed: of these it was told that they hold nothing.
  mutating func forgetFinished() {
    for place in sweeps.indices where sweeps[place]?.isFinished == true && sweeps[place]?.ties == 0 {
      guard let sweep = sweeps[place] else { continue }
      book.forget(sweep.id, runs: sweep.runs)
      for attempt in attempts.indices(of: place + 1) where attemptIndex[id(attempt)] == attempt {
        attemptIndex[id(attempt)] = nil
      }
      attempts.removePage(place + 1)
      runs.removePage(place)
      sweeps[place] = nil
    }
  }
}
