public import Scheduling

/// What a person may like to see while a sweep runs.
public enum Progress: Sendable {
  case hostReady(host: String, summary: String)
  case hostTrouble(host: String, message: String)
  /// There is no room in the store: all waits for some, with the figures.
  case storeFull(String)
  case storeHasRoom
  case run(name: String, state: RunState, host: String?, why: String?)
  case comparing(done: Int, of: Int, pair: String)
}
