import OrderedCollections
import Planning
import Transports

/// The commit of the directory that a job file stands in, for the environment fingerprint of its runs.
enum JobCommit {
  /// `<sha>`, with `-dirty` where tracked files below the directory differ from it; nil where it is in no git
  /// repository, or git does not answer within a few seconds.
  static func read(_ directory: String) async -> String? {
    let place = shellQuote(directory)
    let result = try? await LocalTransport().run(
      """
      exec 2>/dev/null
      git -C \(place) rev-parse HEAD && git -C \(place) status --porcelain --untracked-files=no -- . | head -n 1
      """, input: [], limit: 1 << 16, timeout: .seconds(5))
    guard let result, result.status == 0 else { return nil }
    let lines = String(decoding: result.output, as: UTF8.self).split(separator: "\n")
    guard let commit = lines.first, commit.count >= 40, commit.allSatisfy(\.isHexDigit) else { return nil }
    return lines.count > 1 ? commit + "-dirty" : String(commit)
  }

  /// The plan whose runs bear it as `ROLLCALL_JOB_COMMIT`.
  static func noted(in plan: Plan) async -> Plan {
    guard let commit = await read(plan.baseDirectory) else { return plan }
    var plan = plan
    for cell in plan.cells.indices where plan.cells[cell].run.env["ROLLCALL_JOB_COMMIT"] == nil {
      plan.cells[cell].run.env["ROLLCALL_JOB_COMMIT"] = commit
    }
    return plan
  }
}
