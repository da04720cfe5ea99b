public import Scheduling

/// One row to write; `SweepLedger.apply(_:)` commits many together.
public enum LedgerWrite: Sendable, Hashable {
  /// A new attempt: the intent to launch it. Refused where the run has an attempt of this number already.
  case begin(AttemptRecord)
  /// An attempt as it stands from now on.
  case attempt(AttemptRecord)
  /// A run's state and the reason for it.
  case run(sweep: String, name: String, state: RunState, why: String?)
  /// What was gathered for a run.
  case files(sweep: String, run: String, count: Int, bytes: Int, missing: [String])
  /// A line of the diary.
  case event(EventRecord)
}
