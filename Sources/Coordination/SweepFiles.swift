public import Gathering
public import Planning

/// The files that a job ships to its runs.
public enum SweepFiles {
  /// Keeps them as they are now for a new sweep, before it is stored: each of its runs is given these, so that a file
  /// that is edited meanwhile is no difference between its cells.
  /// - Parameters:
  ///   - playbook: Of which the sweep is a step: it is given what was kept for that.
  ///   - begin: Stores the sweep. Where it does not, nothing is left of it.
  /// - Throws: `GatheringError` where one cannot be read or kept; what `begin` throws.
  public static func keep(
    _ plan: Plan, of sweep: String, stepOf playbook: String? = nil, in artifacts: ArtifactStore,
    toBegin begin: () throws -> Void = {}
  ) throws {
    let paths = Set(plan.cells.flatMap(\.run.files))
    do {
      let earlier = try playbook.flatMap { try artifacts.jobFiles(of: $0) }?.filter { paths.contains($0.key) } ?? [:]
      let fresh = paths.subtracting(earlier.keys).map { ($0, place(of: $0, plan)) }
      try artifacts.keep(files: Dictionary(uniqueKeysWithValues: fresh), and: earlier, of: sweep)
      try begin()
    } catch {
      artifacts.forgetFiles(of: sweep)
      throw error
    }
  }

  /// Where a file of the job stands on this machine.
  static func place(of path: String, _ plan: Plan) -> String {
    path.hasPrefix("/") ? path : plan.baseDirectory + "/" + path
  }
}
