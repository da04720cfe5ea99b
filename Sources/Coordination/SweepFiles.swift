public import Gathering
public import Planning

/// The files that a job ships to its runs.
public enum SweepFiles {
  /// Keeps them as they are now for a new sweep, before it is stored: each of its runs is given these, so that a file
  /// that is edited meanwhile is no difference between its cells.
  /// - Throws: `GatheringError` where one cannot be read or kept.
  public static func keep(_ plan: Plan, of sweep: String, in artifacts: ArtifactStore) throws(GatheringError) {
    let paths = Set(plan.cells.flatMap(\.run.files))
    try artifacts.keep(
      files: Dictionary(uniqueKeysWithValues: paths.map { ($0, place(of: $0, plan)) }), of: sweep)
  }

  /// Where a file of the job stands on this machine.
  static func place(of path: String, _ plan: Plan) -> String {
    path.hasPrefix("/") ? path : plan.baseDirectory + "/" + path
  }
}
