/// What `${{ }}` may name and nobody knows before a run is launched.
public enum RuntimeName: String, Sendable, Hashable, Codable, CaseIterable {
  /// The fresh directory for this attempt's dumps.
  case dumpDirectory = "dump_dir"
  case runDirectory = "run_dir"
  /// Id of the run.
  case run
  /// Id of the sweep.
  case sweep
  /// 1 for the first.
  case attempt
  /// Name of the host in the fleet.
  case host
  /// Which of the cell's repetitions, from 0.
  case repetition = "repeat"
}
